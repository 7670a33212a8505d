//! Sinks: consumers that hand every event to another system, and move their saved position only when that has it.
