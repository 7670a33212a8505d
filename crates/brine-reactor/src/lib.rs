//! The reactor: which events start which reactions, how their files are rendered, and what became of each.
