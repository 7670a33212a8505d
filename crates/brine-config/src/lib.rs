//! Salt's configuration files and argument syntax as plain data.
//!
//! The only crate that reads YAML. It prints nothing, reads neither its process's arguments nor
//! its environment, and imports nothing of ours but the value type.

mod arguments;
pub mod yaml;

pub use arguments::{Arguments, parse_arguments, parse_value};
