//! What people see of events: one line per event, and a model of what goes on at a site.
