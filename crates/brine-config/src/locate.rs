//! Where an unusable option is written: the file and the line.
//!
//! It is looked up only once something is wrong, in the files as they are then.

use crate::error::ConfigError;
use crate::yaml;

/// The error with the place of its option in one of these files. As it is, if the option is in none of them.
pub(crate) fn locate(error: ConfigError, files: &[String]) -> ConfigError {
    match place(&error.keys(), files) {
        Some((file, line)) => ConfigError::At {
            file,
            line,
            error: Box::new(error),
        },
        None => error,
    }
}

/// Where the option stands that these keys lead to, outermost first, or what of it is there: the file, of which the last
/// counts most, and the line.
pub(crate) fn place(keys: &[&str], files: &[String]) -> Option<(String, usize)> {
    let places = files.iter().filter_map(|file| {
        let text = std::fs::read(file).ok()?;
        let (depth, line) = yaml::line_of(&text, keys)?;
        Some((depth, line, file))
    });
    // Of equally deep ones the last.
    let (_, line, file) = places.max_by_key(|(depth, ..)| *depth)?;
    Some((file.clone(), line))
}
