//! Files of users: Salt's back end `file` with all its types, and Brine's own users.
//!
//! The file is read at each login, so that a change takes effect at once.

use std::cell::Cell;
use std::fs;
use std::path::Path;

use argon2::password_hash::PasswordHash;
use argon2::{Argon2, PasswordVerifier};
use brine_wire::{Map, Value};

use super::BackendError;
use super::hashes::{self, same};
use crate::login::Login;

/// The largest file, in bytes.
const MAX_FILE: u64 = 16 << 20;

/// Salt's back end.
pub(super) fn check(login: &Login, options: &Map) -> Result<bool, BackendError> {
    let text = |name: &str, default: &'static str| match options.get(name) {
        Some(Value::Str(text)) => text.clone(),
        Some(Value::Int(number)) => number.to_string(),
        _ => default.to_owned(),
    };
    let path = text("^filename", "");
    if path.is_empty() {
        return Err(BackendError::Option {
            option: "external_auth: {file: {^filename: …}}",
            expected: "the path of a file",
        });
    }
    let path = Path::new(&path);
    let file = read(path)?;
    match text("^filetype", "text").as_str() {
        "htpasswd" => by_fields(&file, login, path, |rest| {
            hashes::htpasswd(&login.password, rest)
        }),
        "htdigest" => {
            let realm = text("^realm", "");
            if realm.is_empty() {
                return Err(BackendError::Option {
                    option: "external_auth: {file: {^realm: …}}",
                    expected: "the realm of the htdigest file",
                });
            }
            htdigest(&file, login, path, &realm)
        }
        "text" => {
            let field = |name: &'static str, default| -> Result<usize, BackendError> {
                let number = text(name, default).parse::<usize>().ok();
                let number = number.and_then(|number| number.checked_sub(1));
                number.ok_or(BackendError::Option {
                    option: name,
                    expected: "a number from 1",
                })
            };
            let form = TextForm {
                user: field("^username_field", "1")?,
                password: field("^password_field", "2")?,
                separator: text("^field_separator", ":"),
                hash: text("^hashtype", "plaintext"),
            };
            form.check(&file, login, path)
        }
        _ => Err(BackendError::Option {
            option: "external_auth: {file: {^filetype: …}}",
            expected: "text, htpasswd or htdigest",
        }),
    }
}

/// Brine's own users: lines of a name and an argon2 hash.
pub(super) fn check_own(login: &Login, path: &Path) -> Result<bool, BackendError> {
    let verify = |hash: &str| {
        let hash = PasswordHash::new(hash).ok()?;
        let verified = Argon2::default().verify_password(login.password.as_bytes(), &hash);
        Some(verified.is_ok())
    };
    let is_known = Cell::new(false);
    let is_right = by_fields(&read(path)?, login, path, |rest| {
        is_known.set(true);
        verify(rest)
    })?;
    if !is_known.get() {
        // So that nobody learns from the time it takes which users there are.
        let _ = verify(NOBODY);
    }
    Ok(is_right)
}

/// The hash of a password that nobody knows.
const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$\
    AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Lines `user:REST`; comments begin with `#`.
fn by_fields(
    file: &str,
    login: &Login,
    path: &Path,
    verify: impl Fn(&str) -> Option<bool>,
) -> Result<bool, BackendError> {
    for (number, line) in (1..).zip(file.lines()) {
        let line = line.trim();
        if line.starts_with('#') {
            continue;
        }
        if let Some((user, rest)) = line.split_once(':')
            && same(user.as_bytes(), login.username.as_bytes())
        {
            return verify(rest).ok_or_else(|| BackendError::Line {
                path: path.to_owned(),
                line: number,
                what: "a hash of this form is not supported",
            });
        }
    }
    Ok(false)
}

/// Lines `user:realm:MD5(user:realm:password)`.
fn htdigest(file: &str, login: &Login, path: &Path, realm: &str) -> Result<bool, BackendError> {
    let user = login.username.as_str();
    if user.contains(':') {
        return Ok(false);
    }
    let of_realm: String = file
        .lines()
        .filter_map(|line| {
            let (user, rest) = line.trim().split_once(':')?;
            let (of, digest) = rest.split_once(':')?;
            (of == realm).then(|| format!("{user}:{digest}\n"))
        })
        .collect();
    by_fields(&of_realm, login, path, |digest| {
        let text = format!("{user}:{realm}:{}", *login.password);
        hashes::digest("md5", &text, digest)
    })
}

/// How a text file is laid out.
struct TextForm {
    user: usize,
    password: usize,
    separator: String,
    hash: String,
}

impl TextForm {
    fn check(&self, file: &str, login: &Login, path: &Path) -> Result<bool, BackendError> {
        if self.separator.is_empty() {
            return Err(BackendError::Option {
                option: "^field_separator",
                expected: "a text that is not empty",
            });
        }
        for (number, line) in (1..).zip(file.lines()) {
            let fields: Vec<&str> = line.trim().split(self.separator.as_str()).collect();
            let (Some(user), Some(password)) = (fields.get(self.user), fields.get(self.password))
            else {
                return Err(BackendError::Line {
                    path: path.to_owned(),
                    line: number,
                    what: "the field of the user or the password is not there",
                });
            };
            if same(user.as_bytes(), login.username.as_bytes()) {
                let is_right = hashes::digest(&self.hash, &login.password, password);
                return is_right.ok_or(BackendError::Option {
                    option: "external_auth: {file: {^hashtype: …}}",
                    expected: "plaintext, md5, sha1, sha256 or sha512",
                });
            }
        }
        Ok(false)
    }
}

fn read(path: &Path) -> Result<String, BackendError> {
    let refused = |error| BackendError::File {
        path: path.to_owned(),
        error,
    };
    let about = fs::metadata(path).map_err(refused)?;
    if !about.is_file() || about.len() > MAX_FILE {
        return Err(refused(std::io::ErrorKind::InvalidInput.into()));
    }
    let bytes = fs::read(path).map_err(refused)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash_password;

    fn login(user: &str, password: &str) -> Login {
        let fields = [
            ("username", user),
            ("password", password),
            ("eauth", "file"),
        ];
        Login::from_map(&fields.into_iter().collect()).unwrap()
    }

    fn options(path: &Path, more: &[(&str, &str)]) -> Map {
        let path = path.display().to_string();
        let mut options: Map = more.iter().copied().collect();
        options.insert("^filename", path);
        options
    }

    #[test]
    fn text_files_have_the_fields_that_options_say() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("users");
        fs::write(&path, "46|trey|5ebe2294ecd0e0f08eab7690d2a6ee69\n").unwrap();
        let more = [
            ("^hashtype", "md5"),
            ("^username_field", "2"),
            ("^password_field", "3"),
            ("^field_separator", "|"),
        ];
        let options = options(&path, &more);
        assert!(check(&login("trey", "secret"), &options).unwrap());
        assert!(!check(&login("trey", "other"), &options).unwrap());
        assert!(!check(&login("46", "secret"), &options).unwrap());
        fs::write(&path, "only\n").unwrap();
        assert!(check(&login("trey", "secret"), &options).is_err());
    }

    #[test]
    fn htdigest_knows_the_realm() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("users");
        let digest = md5_of("fred:here:secret");
        fs::write(&path, format!("fred:there:0\nfred:here:{digest}\n")).unwrap();
        let options = |realm| options(&path, &[("^filetype", "htdigest"), ("^realm", realm)]);
        assert!(check(&login("fred", "secret"), &options("here")).unwrap());
        assert!(!check(&login("fred", "secret"), &options("there")).unwrap());
        assert!(!check(&login("fred:here", "secret"), &options("here")).unwrap());
        assert!(check(&login("fred", "secret"), &options("")).is_err());
    }

    fn md5_of(text: &str) -> String {
        use md5::{Digest, Md5};
        Md5::digest(text)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    #[test]
    fn own_users_have_argon2() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("users");
        let line = hash_password("fred", "secret").unwrap();
        assert!(line.starts_with("fred:$argon2id$"), "{line}");
        fs::write(&path, format!("# users\n{line}\nann:plain\n")).unwrap();
        assert!(check_own(&login("fred", "secret"), &path).unwrap());
        assert!(!check_own(&login("fred", "secreT"), &path).unwrap());
        assert!(!check_own(&login("bob", "secret"), &path).unwrap());
        assert!(PasswordHash::new(NOBODY).is_ok());
        assert!(check_own(&login("ann", "plain"), &path).is_err());
        assert!(check_own(&login("ann", "plain"), Path::new("/nowhere")).is_err());
    }
}
