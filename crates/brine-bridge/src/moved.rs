//! Remembers across restarts that a consumer was moved and that the other side, which keeps a position too, does not
//! know it yet. Without this, the other side's position would take effect again, and the move would be lost.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::dead::make_private;
use crate::sink::SinkError;

/// A file that is there as long as the other side does not know.
#[derive(Debug)]
pub(crate) struct Moved(PathBuf);

impl Moved {
    /// Beside the consumer's dead letters. No name of a consumer has this character.
    pub(crate) fn beside(dead_letters: &Path) -> Self {
        let mut name = dead_letters.as_os_str().to_owned();
        name.push("~moved");
        Self(name.into())
    }

    /// The other side must still be told.
    pub(crate) fn note(&self) {
        let directory = self.0.parent().map_or(Ok(()), make_private);
        let noted = directory.and_then(|()| fs::write(&self.0, ""));
        if let Err(error) = noted {
            tracing::warn!(
                file = %self.0.display(), %error,
                "cannot record that the consumer was moved; a restart forgets it"
            );
        }
    }

    pub(crate) fn is_noted(&self) -> bool {
        self.0.exists()
    }

    /// The other side knows.
    pub(crate) fn settle(&self) -> Result<(), SinkError> {
        match fs::remove_file(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(SinkError::unavailable(
                format!("{}: {error}", self.0.display()),
            )),
            _ => Ok(()),
        }
    }
}
