//! The token that replaces peer credentials on a loopback port.
//!
//! Its file holds one line, `127.0.0.1:PORT TOKEN`, and only the bus's user can read it.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::unistd::{User, geteuid};

/// How many random bytes a token is made of.
const TOKEN_BYTES: usize = 32;

/// A token and its file, which goes with it.
pub(super) struct Token {
    text: String,
    user: String,
    path: PathBuf,
}

impl Token {
    /// Draws a token and writes it with an address into a file, which replaces one of that name.
    pub(super) fn create(path: &Path, address: SocketAddr) -> io::Result<Self> {
        let mut random = [0; TOKEN_BYTES];
        fill_random(&mut random)?;
        let text: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let temporary = path.with_file_name(format!(".{name}.{}", std::process::id()));
        let _ = fs::remove_file(&temporary); // left by a process of the same number
        // Created with its final mode, so that at no time another user can open it.
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)?;
        let written =
            writeln!(file, "{address} {text}").and_then(|()| fs::rename(&temporary, path));
        written.inspect_err(|_| {
            let _ = fs::remove_file(&temporary); // nothing more can be done about it
        })?;
        let user = User::from_uid(geteuid()).ok().flatten();
        Ok(Self {
            text,
            user: user.map_or_else(|| geteuid().to_string(), |user| user.name),
            path: path.to_owned(),
        })
    }

    /// Whether a request's `Authorization` holds it. Takes the same time however much of it is right.
    pub(super) fn is_given(&self, authorization: &[u8]) -> bool {
        let Some(given) = authorization.strip_prefix(b"Bearer ") else {
            return false;
        };
        if given.len() != self.text.len() {
            return false;
        }
        let pairs = given.iter().zip(self.text.as_bytes());
        std::hint::black_box(pairs.fold(0, |differences, (a, b)| differences | (a ^ b))) == 0
    }

    /// Who may know it.
    pub(super) fn user(&self) -> &str {
        &self.user
    }
}

fn fill_random(mut bytes: &mut [u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let filled = rustix::rand::getrandom(&mut *bytes, rustix::rand::GetRandomFlags::empty())?;
        bytes = &mut bytes[filled..];
    }
    Ok(())
}

impl std::fmt::Debug for Token {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Token")
            .field("text", &"[redacted]")
            .finish_non_exhaustive()
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path); // a leftover names a port where nobody knows the token
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_token_is_in_a_file_of_its_users_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("brine.token");
        fs::write(&path, "old").unwrap();
        let address = "127.0.0.1:4711".parse().unwrap();
        let token = Token::create(&path, address).unwrap();
        let line = fs::read_to_string(&path).unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let text = line.trim_end().strip_prefix("127.0.0.1:4711 ").unwrap();
        assert_eq!(text.len(), 64);
        assert!(token.is_given(format!("Bearer {text}").as_bytes()));
        for wrong in [
            "",
            "Bearer ",
            text,
            &format!("Bearer {text}0"),
            &format!("Bearer {}", "0".repeat(64)),
        ] {
            assert!(!token.is_given(wrong.as_bytes()));
        }
        drop(token);
        assert!(!path.exists());
    }
}
