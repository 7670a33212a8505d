//! Logins by `ldap`, against a directory of this file's: as much of the protocol as logging in needs.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use brine_auth::{AuthConfig, Authority, Login, LoginError, TokenLayout, TokenStore};
use brine_wire::{Map, Value, json};

const PEOPLE: &str = "ou=people,dc=example,dc=org";

/// An entry: its name, its password if somebody may log in as it, its attributes.
type Entry = (
    &'static str,
    &'static str,
    &'static [(&'static str, &'static [&'static str])],
);

const DIRECTORY: &[Entry] = &[
    ("cn=search,dc=example,dc=org", "find", &[]),
    (
        "uid=ann,ou=people,dc=example,dc=org",
        "annpass",
        &[("uid", &["ann"]), ("objectClass", &["person"])],
    ),
    (
        "uid=bob,ou=people,dc=example,dc=org",
        "bobpass",
        &[
            ("uid", &["bob"]),
            ("mail", &["twice"]),
            ("objectClass", &["person"]),
        ],
    ),
    (
        "uid=eve,ou=people,dc=example,dc=org",
        "evepass",
        &[("uid", &["eve"]), ("mail", &["twice"])],
    ),
    (
        "cn=ops,ou=Groups,dc=example,dc=org",
        "",
        &[
            ("cn", &["ops"]),
            ("memberUid", &["ann", "eve"]),
            ("objectClass", &["posixGroup"]),
        ],
    ),
    (
        "cn=windows,dc=example,dc=org",
        "",
        &[
            ("cn", &["windows"]),
            ("member", &["uid=ann,ou=people,dc=example,dc=org"]),
            ("objectClass", &["group"]),
        ],
    ),
];

/// Serves the directory; its address.
fn directory() -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let url = format!("ldap://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(move || serve(&mut stream.unwrap()));
        }
    });
    url
}

/// Answers requests until the client leaves.
fn serve(stream: &mut TcpStream) {
    let mut bytes = Vec::new();
    loop {
        while let Some((_, message, length)) = element(&bytes) {
            let (_, id, after) = element(message).unwrap();
            let (operation, request, _) = element(&message[after..]).unwrap();
            let fields = elements(request);
            let answers = match operation {
                0x60 => vec![put(0x61, &result(bind(&fields)))],
                0x63 => {
                    let mut answers: Vec<_> = DIRECTORY
                        .iter()
                        .filter(|entry| is_found(entry, &fields))
                        .map(|(name, _, attributes)| put(0x64, &shown(name, attributes)))
                        .collect();
                    answers.push(put(0x65, &result(0)));
                    answers
                }
                _ => return,
            };
            for answer in answers {
                let message = [put(0x02, id), answer].concat();
                stream.write_all(&put(0x30, &message)).unwrap();
            }
            bytes.drain(..length);
        }
        let mut piece = [0; 4096];
        match stream.read(&mut piece) {
            Ok(read) if read > 0 => bytes.extend_from_slice(&piece[..read]),
            _ => return,
        }
    }
}

/// The code of a login; as real directories, no password lets anybody in.
fn bind(fields: &[(u8, &[u8])]) -> u8 {
    let (name, password) = (fields[1].1, fields[2].1);
    let mut entries = DIRECTORY.iter();
    let is_known = entries.any(|(own, secret, _)| {
        own.as_bytes() == name && secret.as_bytes() == password && !secret.is_empty()
    });
    if is_known || password.is_empty() {
        0
    } else {
        49
    }
}

fn is_found((name, _, attributes): &Entry, fields: &[(u8, &[u8])]) -> bool {
    let base = std::str::from_utf8(fields[0].1).unwrap();
    name.ends_with(base) && matches(attributes, fields[6])
}

fn matches(attributes: &[(&str, &[&str])], (kind, filter): (u8, &[u8])) -> bool {
    match kind {
        0xa0 => elements(filter)
            .into_iter()
            .all(|part| matches(attributes, part)),
        0xa3 => {
            let parts = elements(filter);
            let mut attributes = attributes.iter();
            attributes.any(|(name, values)| {
                name.as_bytes() == parts[0].1
                    && values.iter().any(|value| value.as_bytes() == parts[1].1)
            })
        }
        other => panic!("filter {other:#x}"),
    }
}

fn shown(name: &str, attributes: &[(&str, &[&str])]) -> Vec<u8> {
    let attributes: Vec<u8> = attributes
        .iter()
        .flat_map(|(name, values)| {
            let values: Vec<u8> = values
                .iter()
                .flat_map(|value| put(0x04, value.as_bytes()))
                .collect();
            put(
                0x30,
                &[put(0x04, name.as_bytes()), put(0x31, &values)].concat(),
            )
        })
        .collect();
    [put(0x04, name.as_bytes()), put(0x30, &attributes)].concat()
}

fn result(code: u8) -> Vec<u8> {
    [put(0x0a, &[code]), put(0x04, b""), put(0x04, b"")].concat()
}

/// An element of BER.
fn put(kind: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap().to_be_bytes();
    [&[kind, 0x82][..], &length, content].concat()
}

/// The first element of some bytes: its kind, its content, its whole length.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], usize)> {
    let (&kind, &length) = (bytes.first()?, bytes.get(1)?);
    let (length, begins) = match length {
        0..0x80 => (usize::from(length), 2),
        many => {
            let begins = 2 + usize::from(many & 0x7f);
            let digits = bytes.get(2..begins)?.iter();
            (
                digits.fold(0, |length, digit| length << 8 | usize::from(*digit)),
                begins,
            )
        }
    };
    let end = begins + length;
    Some((kind, bytes.get(begins..end)?, end))
}

fn elements(mut bytes: &[u8]) -> Vec<(u8, &[u8])> {
    let mut all = Vec::new();
    while let Some((kind, content, length)) = element(bytes) {
        all.push((kind, content));
        bytes = &bytes[length..];
    }
    all
}

/// Logs in; the user's permissions, which say the groups.
fn log_in(options: &[(&str, &str)], user: &str, password: &str) -> Result<Vec<Value>, LoginError> {
    let place = tempfile::tempdir().unwrap();
    let all = r#"{"ldap": {"ann": ["own"], "ops%": ["of.ops"], "windows%": ["of.windows"]}}"#;
    let config = AuthConfig {
        external_auth: json::parse(all.as_bytes())
            .unwrap()
            .as_map()
            .unwrap()
            .clone(),
        ldap: options.iter().copied().collect(),
        ..AuthConfig::default()
    };
    let tokens = TokenStore::new(place.path(), TokenLayout::Cache, "sha256");
    let authority = Authority::new(config, tokens);
    let login: Map = [
        ("username", user),
        ("password", password),
        ("eauth", "ldap"),
    ]
    .into_iter()
    .collect();
    let token = authority.log_in(&Login::from_map(&login).unwrap(), None)?;
    let kept = authority
        .token(&token.token)
        .unwrap()
        .expect("a token is kept");
    Ok(authority.auth_list(&kept))
}

#[test]
fn an_account_finds_the_user_and_the_directory_lets_in() {
    let url = directory();
    let options = [
        ("uri", url.as_str()),
        ("basedn", "dc=example,dc=org"),
        ("binddn", "cn=search,dc=example,dc=org"),
        ("bindpw", "find"),
        ("filter", "uid={{ username }}"),
    ];
    let own = || vec![Value::from("own"), Value::from("of.ops")];
    assert_eq!(log_in(&options, "ann", "annpass"), Ok(own()));
    assert_eq!(log_in(&options, "bob", "bobpass"), Ok(Vec::new()));
    for (user, password) in [
        ("ann", "bobpass"),
        ("ann", ""),
        ("nobody", "annpass"),
        ("*", "annpass"),
        ("ann)(uid=*", "annpass"),
    ] {
        assert_eq!(
            log_in(&options, user, password),
            Err(LoginError::Wrong),
            "{user}"
        );
    }
    // A filter that matches several entries identifies no user.
    let mut several = options;
    several[4].1 = "mail=twice";
    assert_eq!(log_in(&several, "bob", "bobpass"), Err(LoginError::Wrong));
    let mut wrong = options;
    wrong[3].1 = "lost";
    let refused = log_in(&wrong, "ann", "annpass");
    assert!(matches!(refused, Err(LoginError::Broken(_))), "{refused:?}");
}

#[test]
fn a_name_is_made_of_the_users() {
    let url = directory();
    let name = format!("uid={{{{ username }}}},{PEOPLE}");
    let options = [
        ("uri", url.as_str()),
        ("basedn", "dc=example,dc=org"),
        ("binddn", name.as_str()),
    ];
    let own = || vec![Value::from("own"), Value::from("of.ops")];
    assert_eq!(log_in(&options, "ann", "annpass"), Ok(own()));
    assert_eq!(log_in(&options, "ann", "x"), Err(LoginError::Wrong));
    assert_eq!(
        log_in(&options, "eve,ou=people", "evepass"),
        Err(LoginError::Wrong)
    );
}

#[test]
fn groups_of_active_directory_count() {
    let url = directory();
    let name = format!("uid={{{{ username }}}},{PEOPLE}");
    let mut options: Vec<(&str, &str)> = vec![
        ("uri", &url),
        ("basedn", "dc=example,dc=org"),
        ("binddn", &name),
        ("accountattributename", "uid"),
        ("groupclass", "group"),
    ];
    options.push(("activedirectory", "yes"));
    let own = vec![Value::from("own"), Value::from("of.windows")];
    assert_eq!(log_in(&options, "ann", "annpass"), Ok(own));
}

#[test]
fn a_directory_that_is_not_there_is_not_the_users_fault() {
    let nowhere = {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        format!("ldap://{}", listener.local_addr().unwrap())
    };
    let options = [
        ("uri", nowhere.as_str()),
        ("binddn", "{{ username }}@example.org"),
    ];
    let refused = log_in(&options, "ann", "annpass");
    assert!(matches!(refused, Err(LoginError::Broken(_))), "{refused:?}");
}
