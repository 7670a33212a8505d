//! Authentication by Salt's `external_auth`, for the HTTP API, `salt -a` and other clients of a master.
//!
//! An [`Authority`] checks a [`Login`] with one of its back ends, makes [`Token`]s and keeps them in the files that
//! Salt's own programs read and write, and knows which permissions a user has. The master decides what a permission
//! allows; HTTP, sessions and socket addresses are the API's. Everything here may block on disk and processor: call
//! it on a thread that may block. Facts: `salt/auth` of Salt 3008.3 and 3006.28, by running it.

mod attempts;
mod authority;
mod backend;
mod config;
mod login;
mod permissions;
mod token;

pub use attempts::{Attempts, network_of};
pub use authority::{Authority, LoginError, whole_seconds};
#[cfg(feature = "pam")]
pub use backend::pam::helper as pam_helper;
pub use backend::{has_backend, hash_password};
pub use config::{AuthConfig, PamOptions};
pub use login::Login;
pub use permissions::{auth_list, shown};
pub use token::{Token, TokenError, TokenLayout, TokenStore, is_token};
