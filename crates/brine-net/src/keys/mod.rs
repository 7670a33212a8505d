//! Keys on disk, in the layout of Salt's `pki_dir` and `cachedir`.
//!
//! An existing master's keys keep working, and real `salt-key` may work on the same files: no
//! state is assumed to be unchanged between two looks. Facts: `docs/protocol/network.md` §5.

pub mod accepted;
pub mod autosign;
pub(crate) mod counted;
pub mod decide;
pub mod dropfile;
mod file;
pub mod local;
pub mod master;
pub mod minion;
pub mod sessions;
pub mod shared;
pub mod store;

use std::io;
use std::path::PathBuf;

use crate::crypto::NoRandom;
use crate::crypto::rsa::{KeyError, RsaError};

/// Keys could not be read or stored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A file cannot be read or written.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A file holds no valid key.
    #[error("{path}: {source}", path = path.display())]
    Key {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        source: KeyError,
    },
    /// An RSA operation failed.
    #[error(transparent)]
    Rsa(#[from] RsaError),
    /// No random numbers.
    #[error(transparent)]
    NoRandom(#[from] NoRandom),
}

impl StoreError {
    pub(crate) fn file(path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::File {
            path: path.into(),
            source,
        }
    }
}
