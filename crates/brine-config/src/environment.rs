//! The process and machine that a configuration depends on, in addition to its files.
//!
//! Always a parameter, so that tests can control it. Only [`Environment::current`] reads the real environment.

use std::collections::BTreeMap;
use std::fs;

/// The environment in which a configuration is read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Environment {
    /// Environment variables. Read are `SALT_MASTER_CONFIG`, `SALT_MINION_CONFIG`,
    /// `SALT_CLIENT_CONFIG`, `SALT_CONFIG_DIR`, `HOME` and `XDG_CONFIG_HOME`.
    pub variables: BTreeMap<String, String>,
    /// The directory that a relative `root_dir` is relative to.
    pub current_dir: String,
    /// The effective user's name: the default of `user`.
    pub user: String,
    /// Possible names of this host, best first: the id of a minion without a configured one.
    pub host_names: Vec<String>,
    /// Physical memory in bytes, for `ipc_write_buffer: dynamic`.
    pub memory: u64,
}

impl Environment {
    /// This process's environment. Unknown values are empty or 0.
    #[must_use]
    pub fn current() -> Self {
        let variables = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        });
        let current_dir = std::env::current_dir().unwrap_or_default();
        let hosts = read("/etc/hosts");
        Self {
            variables: variables.collect(),
            current_dir: current_dir.to_string_lossy().into_owned(),
            user: user_name(rustix::process::geteuid().as_raw(), &read("/etc/passwd")),
            host_names: host_names(read("/proc/sys/kernel/hostname").trim(), &hosts),
            memory: memory(&read("/proc/meminfo")),
        }
    }

    /// A variable that is set to something.
    pub(crate) fn variable(&self, name: &str) -> Option<&str> {
        let value = self.variables.get(name)?;
        (!value.is_empty()).then_some(value)
    }

    /// `~` and `~/…` with the home directory; other users' homes stay as they are.
    pub(crate) fn expand_home(&self, path: &str) -> String {
        match (path.strip_prefix('~'), self.variable("HOME")) {
            (Some(rest), Some(home)) if rest.is_empty() || rest.starts_with('/') => {
                format!("{}{rest}", home.trim_end_matches('/'))
            }
            _ => path.to_owned(),
        }
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// The name that the password file has for a user id; without one, the id.
fn user_name(uid: u32, passwd: &str) -> String {
    let uid = uid.to_string();
    let entry = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid).then_some(name)
    });
    entry.unwrap_or(&uid).to_owned()
}

/// The full name first, then the short one, then the loopback address's other names.
///
/// The resolver is not queried: the full name is the one the hosts file gives. A minion that has
/// run before remembers its id in a file anyway.
fn host_names(host_name: &str, hosts: &str) -> Vec<String> {
    let lines: Vec<Vec<&str>> = hosts
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default())
        .map(|line| line.split_whitespace().collect())
        .collect();
    let own_line = lines
        .iter()
        .find(|line| line.iter().skip(1).any(|name| *name == host_name));
    let full_name = own_line.and_then(|line| line.iter().skip(1).find(|name| name.contains('.')));
    let loopback = lines.iter().filter(|line| {
        line.first()
            .is_some_and(|ip| ip.starts_with("127.") || ip.starts_with("::1"))
    });
    let names = full_name.into_iter().copied().chain([host_name]);
    let names = names.chain(loopback.flatten().copied());
    names
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

fn memory(meminfo: &str) -> u64 {
    let total = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"));
    let kilobytes =
        total.and_then(|total| total.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_full_host_name_comes_before_the_short_one() {
        let hosts = "127.0.0.1 localhost # here\n127.0.1.1 web1.example.org web1\n";
        assert_eq!(
            host_names("web1", hosts)[..2],
            ["web1.example.org", "web1"].map(str::to_owned)
        );
        assert_eq!(host_names("web2", "")[..], ["web2"].map(str::to_owned));
    }

    #[test]
    fn the_user_has_the_name_of_the_password_file() {
        let passwd = "root:x:0:0::/root:/bin/sh\nsalt:x:450:450::/opt/salt:/bin/false\n";
        assert_eq!(user_name(450, passwd), "salt");
        assert_eq!(user_name(7, passwd), "7");
    }

    #[test]
    fn home_is_put_in_for_a_tilde() {
        let environment = Environment {
            variables: [("HOME".to_owned(), "/home/a".to_owned())].into(),
            ..Environment::default()
        };
        for (path, expanded) in [
            ("~", "/home/a"),
            ("~/x", "/home/a/x"),
            ("~b/x", "~b/x"),
            ("a~", "a~"),
        ] {
            assert_eq!(environment.expand_home(path), expanded);
        }
    }
}
