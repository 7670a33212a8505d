//! `ldap`: a directory service says whether user and password belong together, and which groups the user is in.
//!
//! A search finds the user's entry (`binddn`, `bindpw`, `filter`), or the entry's name is made from the user's
//! (`binddn` with `{{ username }}`); then we bind to the directory as that user. Directories accept a bind with a
//! name and no password, so an empty password is refused here. Facts: `salt.auth.ldap` of Salt 3008.3 and 3006.28, by
//! running it. Not supported: permissions that name `ldap(…)` for minions.

use brine_wire::{Map, Value};
use ldap3::result::{LdapError, Result as LdapResult};
use ldap3::{LdapConn, LdapConnSettings, Scope, SearchEntry, dn_escape, ldap_escape};

use super::{ANSWER_WITHIN, BackendError, Known};
use crate::login::Login;

/// The result code of a directory that refuses a user or a password.
const INVALID_CREDENTIALS: u32 = 49;

/// The options, with Salt's defaults.
struct Options<'a>(&'a Map);

impl Options<'_> {
    fn text(&self, name: &str, default: &str) -> String {
        match self.0.get(name) {
            Some(Value::Str(text)) => text.clone(),
            Some(Value::Int(number)) => number.to_string(),
            _ => default.to_owned(),
        }
    }

    fn flag(&self, name: &str) -> bool {
        self.0.get(name).is_some_and(Value::is_true)
    }

    fn url(&self) -> String {
        match self.text("uri", "") {
            uri if !uri.is_empty() => uri,
            _ => format!(
                "{}://{}:{}",
                if self.flag("tls") { "ldaps" } else { "ldap" },
                self.text("server", "localhost"),
                self.text("port", "389")
            ),
        }
    }

    fn scope(&self) -> Scope {
        match self.text("scope", "2").as_str() {
            "0" => Scope::Base,
            "1" => Scope::OneLevel,
            _ => Scope::Subtree,
        }
    }

    /// The account that searches, if there is one.
    fn searcher(&self) -> Option<(String, String)> {
        let (name, password) = (self.text("binddn", ""), self.text("bindpw", ""));
        (!name.is_empty() && !password.is_empty()).then_some((name, password))
    }
}

/// Asks the directory.
pub(super) fn check(login: &Login, options: &Map) -> Result<Option<Known>, BackendError> {
    let options = Options(options);
    let directory = Directory {
        url: options.url(),
        options,
    };
    directory.check(login)
}

struct Directory<'a> {
    url: String,
    options: Options<'a>,
}

impl Directory<'_> {
    fn check(&self, login: &Login) -> Result<Option<Known>, BackendError> {
        if login.password.is_empty() {
            return Ok(None);
        }
        let searcher = self.options.searcher();
        let mut search = match &searcher {
            Some((name, password)) => Some(self.search_as(name, password)?),
            None => None,
        };
        let name = match &mut search {
            Some(search) => self.find(search, &login.username)?,
            None => Some(self.composed(&login.username)?),
        };
        let Some(name) = name else { return Ok(None) };
        let mut own = self.connect()?;
        if !self.lets_in(&mut own, &name, &login.password)? {
            return Ok(None);
        }
        let groups = self.groups(search.as_mut().unwrap_or(&mut own), &login.username);
        Ok(Some(Known {
            groups: groups?,
            ..Known::default()
        }))
    }

    fn connect(&self) -> Result<LdapConn, BackendError> {
        let (starts_tls, tls) = (self.options.flag("starttls"), self.options.flag("tls"));
        if starts_tls && tls {
            return Err(BackendError::Option {
                option: "auth.ldap.starttls",
                expected: "one of starttls and tls",
            });
        }
        let settings = LdapConnSettings::new()
            .set_conn_timeout(ANSWER_WITHIN)
            .set_starttls(starts_tls)
            .set_no_tls_verify(self.options.flag("no_verify"));
        let connected = LdapConn::with_settings(settings, &self.url);
        connected.map_err(|error| self.broken(&error))
    }

    /// A connection that may search.
    fn search_as(&self, name: &str, password: &str) -> Result<LdapConn, BackendError> {
        let mut search = self.connect()?;
        if self.lets_in(&mut search, name, password)? {
            return Ok(search);
        }
        Err(BackendError::Option {
            option: "auth.ldap.binddn",
            expected: "an account of the directory with the password auth.ldap.bindpw",
        })
    }

    fn lets_in(
        &self,
        connection: &mut LdapConn,
        name: &str,
        password: &str,
    ) -> Result<bool, BackendError> {
        let bound = connection
            .with_timeout(ANSWER_WITHIN)
            .simple_bind(name, password);
        match bound.and_then(ldap3::LdapResult::success) {
            Ok(_) => Ok(true),
            Err(LdapError::LdapResult { result }) if result.rc == INVALID_CREDENTIALS => Ok(false),
            Err(error) => Err(self.broken(&error)),
        }
    }

    /// The name of the user's entry, if there is exactly one.
    fn find(&self, search: &mut LdapConn, user: &str) -> Result<Option<String>, BackendError> {
        let filter = self.options.text("filter", "");
        if filter.is_empty() {
            return Err(BackendError::Option {
                option: "auth.ldap.filter",
                expected: "a filter such as uid={{ username }}",
            });
        }
        let filter = rendered(&filter, &ldap_escape(user), "auth.ldap.filter")?;
        let base = self.options.text("basedn", "");
        let found = entries(search, &base, self.options.scope(), &filter, &["1.1"]);
        let mut found = found.map_err(|error| self.broken(&error))?.into_iter();
        Ok(match (found.next(), found.next()) {
            (Some(entry), None) => Some(entry.dn),
            (None, _) => None,
            (Some(_), Some(_)) => {
                tracing::error!("auth.ldap.filter finds several entries for a user");
                None
            }
        })
    }

    /// The name of the user's entry, made of the user's.
    fn composed(&self, user: &str) -> Result<String, BackendError> {
        let name = self.options.text("binddn", "");
        if name.is_empty() {
            return Err(BackendError::Option {
                option: "auth.ldap.binddn",
                expected: "an account that searches, or a name with {{ username }}",
            });
        }
        // `{{ username }}@example.org` is not a distinguished name, so it is not escaped as one.
        let is_entry = name.contains('=');
        let user = if is_entry {
            dn_escape(user)
        } else {
            user.into()
        };
        rendered(&name, &user, "auth.ldap.binddn")
    }

    /// The groups a user is in: of entries that list members, of those of Active Directory, or of FreeIPA.
    fn groups(&self, search: &mut LdapConn, user: &str) -> Result<Vec<String>, BackendError> {
        let options = &self.options;
        let base = options.text("basedn", "");
        let account = options.text("accountattributename", "memberUid");
        let class = options.text("groupclass", "posixGroup");
        let escaped = ldap_escape(user);
        let found = if options.flag("activedirectory") {
            let person = options.text("persontype", "person");
            let filter = format!("(&({account}={escaped})(objectClass={person}))");
            entries(search, &base, Scope::Subtree, &filter, &["1.1"]).and_then(|found| {
                let Some(person) = found.into_iter().next() else {
                    return Ok(Vec::new());
                };
                let member = ldap_escape(person.dn);
                let filter = format!("(&(member={member})(objectClass={class}))");
                let groups = entries(search, &base, Scope::Subtree, &filter, &["cn"])?;
                Ok(groups.into_iter().filter_map(common_name).collect())
            })
        } else {
            let of_users = options.text("groupattribute", "memberOf");
            let wanted = [account.as_str(), &of_users, "cn"];
            let (base, filter) = if options.flag("freeipa") {
                let filter = options.text("group_filter", "");
                let filter = rendered(&filter, &escaped, "auth.ldap.group_filter")?;
                (options.text("group_basedn", &base), filter)
            } else {
                let ou = options.text("groupou", "Groups");
                let base = if ou.is_empty() {
                    base
                } else {
                    format!("ou={ou},{base}")
                };
                (
                    base,
                    format!("(&({account}={escaped})(objectClass={class}))"),
                )
            };
            let found = entries(search, &base, Scope::Subtree, &filter, &wanted);
            found.map(|found| {
                let groups = found.into_iter().flat_map(|entry| {
                    groups_of(&entry, user, (&account, &of_users), options.flag("freeipa"))
                });
                groups.collect()
            })
        };
        match found {
            // As in Salt: a directory without groups has users all the same.
            Err(LdapError::LdapResult { result }) => {
                tracing::warn!(reason = %result, "auth.ldap: no groups");
                Ok(Vec::new())
            }
            found => found.map_err(|error| self.broken(&error)),
        }
    }

    fn broken(&self, error: &LdapError) -> BackendError {
        BackendError::Server {
            server: self.url.clone(),
            reason: error.to_string(),
        }
    }
}

/// The groups that an entry puts a user in: as a group that lists the user, or as the user's own that lists groups.
fn groups_of(
    entry: &SearchEntry,
    user: &str,
    (account, of_users): (&str, &str),
    is_freeipa: bool,
) -> Vec<String> {
    let values = |name: &str| entry.attrs.get(name).map_or(&[][..], Vec::as_slice);
    if is_freeipa {
        let mut members = values(account).iter().chain(values(of_users));
        let is_member = members.any(|member| first_value(member) == user);
        return is_member
            .then(|| first_value(&entry.dn).to_owned())
            .into_iter()
            .collect();
    }
    let mut groups = Vec::new();
    if values(account).iter().any(|member| member == user) {
        groups.extend(values("cn").first().cloned());
    }
    if first_value(&entry.dn) == user {
        let own = values(of_users).iter();
        groups.extend(own.map(|group| first_value(group).to_owned()));
    }
    groups
}

fn common_name(entry: SearchEntry) -> Option<String> {
    let mut attributes = entry.attrs;
    attributes.remove("cn")?.into_iter().next()
}

/// `ann` of `uid=ann,ou=people,dc=example,dc=org`, as Salt reads it.
fn first_value(name: &str) -> &str {
    let first = name.split(',').next().unwrap_or_default();
    first.rsplit('=').next().unwrap_or_default()
}

fn entries(
    search: &mut LdapConn,
    base: &str,
    scope: Scope,
    filter: &str,
    attributes: &[&str],
) -> LdapResult<Vec<SearchEntry>> {
    let search = search.with_timeout(ANSWER_WITHIN);
    let found = search.search(base, scope, filter, attributes.to_vec())?;
    let (found, _) = found.success()?;
    // Referrals to other directories are not followed.
    let entries = found.into_iter().filter(|entry| !entry.is_ref());
    Ok(entries.map(SearchEntry::construct).collect())
}

/// A text of the configuration with the user's name in place of `{{ username }}`.
fn rendered(template: &str, user: &str, option: &'static str) -> Result<String, BackendError> {
    let mut text = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        let inner = after.split_once("}}");
        let inner = inner.filter(|(inner, _)| inner.trim() == "username");
        let (_, after) = inner.ok_or(BackendError::Option {
            option,
            expected: "{{ username }} and no other template",
        })?;
        text.push_str(before);
        text.push_str(user);
        rest = after;
    }
    text.push_str(rest);
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_filters_are_made_of_the_users_name() {
        let options: Map = [("binddn", "uid={{username}},dc=x")].into_iter().collect();
        let directory = |options| Directory {
            url: String::new(),
            options: Options(options),
        };
        let name = directory(&options).composed("a,ou=admins").unwrap();
        assert_eq!(name, "uid=a\\2cou\\3dadmins,dc=x");
        let options: Map = [("binddn", "{{ username }}@example.org")]
            .into_iter()
            .collect();
        assert_eq!(
            directory(&options).composed("ann").unwrap(),
            "ann@example.org"
        );
        for template in ["{{ user }}", "{{ username", "{{ username | upper }}"] {
            assert!(rendered(template, "a", "x").is_err(), "{template}");
        }
        assert!(directory(&Map::new()).composed("ann").is_err());
    }

    #[test]
    fn a_login_without_a_password_is_refused() {
        let fields = [("username", "ann"), ("password", ""), ("eauth", "ldap")];
        let login = Login::from_map(&fields.into_iter().collect()).unwrap();
        assert_eq!(check(&login, &Map::new()).unwrap(), None);
    }

    #[test]
    fn addresses_are_salts() {
        let url = |options: &[(&str, &str)]| Options(&options.iter().copied().collect()).url();
        assert_eq!(url(&[]), "ldap://localhost:389");
        assert_eq!(url(&[("server", "d"), ("port", "1")]), "ldap://d:1");
        assert_eq!(url(&[("uri", "ldapi:///x"), ("server", "d")]), "ldapi:///x");
    }
}
