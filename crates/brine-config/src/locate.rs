//! Where an option that cannot be used is written: the file and the line.
//!
//! Looked for only once something is wrong, in the files as they are then.

use crate::error::ConfigError;
use crate::yaml;

/// The error with the place of its option in one of these files, of which the last counts most. As it is, if the
/// option is in none of them.
pub(crate) fn locate(error: ConfigError, files: &[String]) -> ConfigError {
    let keys = error.keys();
    let places = files.iter().filter_map(|file| {
        let text = std::fs::read(file).ok()?;
        let (depth, line) = yaml::line_of(&text, &keys)?;
        Some((depth, line, file))
    });
    // Of equally deep ones the last.
    match places.max_by_key(|(depth, ..)| *depth) {
        Some((_, line, file)) => ConfigError::At {
            file: file.clone(),
            line,
            error: Box::new(error),
        },
        None => error,
    }
}
