//! Who may read, fire and run what: `brine: {acl: [{group: ops, read: ['salt/job/*'], …}, …]}`.
//!
//! Root and the bus's own user may do everything. Others may do the sum of what the rules for them and for their
//! groups permit. Patterns are shell patterns: for tags in `read` and `fire`, for functions in `run` (`test.*`,
//! `@runner/jobs.*`, `@wheel`), for consumers' names in `consume`. Nothing here knows how a subject was
//! authenticated.
//!
//! Users of the HTTP API are not this machine's users of the same name: rules name them with `api_user` and
//! `api_group`. As long as no rule does, they may read every event and fire every webhook, as with Salt;
//! `external_auth` decides which functions they may run.

use brine_wire::matching::{MatchError, MatchType, TagFilter, TagMatch};
use brine_wire::{Map, Value};

use crate::subject::{Origin, Subject};

/// The list of permissions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acl {
    /// The number of the user the bus runs as.
    owner: u32,
    rules: Vec<Rule>,
}

/// Why a value is not a list of permissions.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AclError {
    /// It is not a list of mappings.
    #[error("brine: acl: expected a list of rules such as {{group: ops, read: ['salt/job/*']}}")]
    NotAList,
    /// A rule names no user or group, or more than one.
    #[error(
        "brine: acl: rule {number}: expected one of user, group, api_user and api_group, with a name"
    )]
    NamesNobody {
        /// Which rule, from 1.
        number: usize,
    },
    /// A rule has an unknown key.
    #[error(
        "brine: acl: rule {number}: {key}: no such key; there are user, group, api_user, api_group, read, fire, run and consume"
    )]
    UnknownKey {
        /// Which rule, from 1.
        number: usize,
        /// The key.
        key: String,
    },
    /// What users of the HTTP API may run is not said here.
    #[error(
        "brine: acl: rule {number}: run: external_auth says what users of the HTTP API may run; remove run here"
    )]
    RunsByExternalAuth {
        /// Which rule, from 1.
        number: usize,
    },
    /// The permissions of a rule are not a list of patterns.
    #[error("brine: acl: rule {number}: {key}: expected a list of patterns")]
    NotPatterns {
        /// Which rule, from 1.
        number: usize,
        /// The key.
        key: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    who: Who,
    read: Vec<String>,
    fire: Vec<String>,
    run: Vec<String>,
    consume: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Who {
    User(String),
    Group(String),
    /// A user of the HTTP API; `*` for all.
    ApiUser(String),
    ApiGroup(String),
}

/// Whom of this machine a rule names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LocalName<'a> {
    User(&'a str),
    Group(&'a str),
}

impl Who {
    const fn is_of_api(&self) -> bool {
        matches!(self, Self::ApiUser(_) | Self::ApiGroup(_))
    }
}

/// What to say to a subject that may read no events.
pub(crate) fn may_not_read(subject: &Subject) -> String {
    let user = &subject.user;
    let (who, key) = match subject.origin {
        Origin::Peer { uid, .. } => (format!("user {user} (uid {uid})"), "user"),
        Origin::Token | Origin::Login => (format!("API user {user}"), "api_user"),
    };
    format!(
        "{who} may not read events: no rule of acl, below brine in the bus's configuration, permits it; add one there, such \
         as {{{key}: {user}, read: ['*']}}, and restart the bus"
    )
}

/// What one subject may do.
#[derive(Debug, Clone)]
pub struct Access {
    /// Whether it may do everything.
    pub is_full: bool,
    /// The tags it may read.
    pub read: Permitted,
    /// The tags it may fire.
    pub fire: Permitted,
    /// The functions it may run.
    pub run: Permitted,
    /// The consumers it may make, read and move.
    pub consume: Permitted,
}

/// Which names are permitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Permitted {
    /// Every name.
    All,
    /// Names that match.
    Some(TagFilter),
    /// None.
    Nothing,
}

impl Permitted {
    /// Whether a name is permitted.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Some(filter) => filter.matches(name),
            Self::Nothing => false,
        }
    }

    /// Whether no name is.
    #[must_use]
    pub const fn is_nothing(&self) -> bool {
        matches!(self, Self::Nothing)
    }

    /// Whether every name is.
    pub(crate) fn is_everything(&self) -> bool {
        *self == Self::All || self.patterns().contains(&"*")
    }

    /// The patterns of the names that are permitted.
    pub(crate) fn patterns(&self) -> Vec<&str> {
        match self {
            Self::All => vec!["*"],
            Self::Some(filter) => filter.wanted().map(TagMatch::pattern).collect(),
            Self::Nothing => Vec::new(),
        }
    }

    fn of<'a>(patterns: impl Iterator<Item = &'a String>) -> Self {
        let compiled: Result<Vec<_>, MatchError> = patterns
            .map(|pattern| TagMatch::new(MatchType::Fnmatch, pattern.as_str()))
            .collect();
        match compiled {
            Ok(patterns) if !patterns.is_empty() => Self::Some(TagFilter::of(patterns, Vec::new())),
            // A shell pattern is never malformed; if one were, it would permit nothing.
            _ => Self::Nothing,
        }
    }
}

impl Acl {
    /// The list without rules: root and the user `owner` may do everything, others nothing.
    #[must_use]
    pub const fn closed(owner: u32) -> Self {
        Self {
            owner,
            rules: Vec::new(),
        }
    }

    /// Reads the value of `brine: {acl: …}`.
    ///
    /// # Errors
    /// [`AclError`] names the rule. Nothing is guessed: a mistake here must not open a door.
    pub fn parse(value: Option<&Value>, owner: u32) -> Result<Self, AclError> {
        let rules = match value {
            None | Some(Value::Nil) => &[][..],
            Some(Value::Array(rules)) => rules,
            Some(_) => return Err(AclError::NotAList),
        };
        let rules = (1..).zip(rules).map(|(number, rule)| match rule {
            Value::Map(rule) => Rule::parse(rule, number),
            _ => Err(AclError::NotAList),
        });
        Ok(Self {
            owner,
            rules: rules.collect::<Result<_, _>>()?,
        })
    }

    /// Whether anybody of this machine but root and the bus's own user is admitted.
    #[must_use]
    pub fn admits_others(&self) -> bool {
        self.rules.iter().any(|rule| !rule.who.is_of_api())
    }

    /// The users and groups of this machine that may read every event: those with `*` among their patterns. Only they
    /// can be let in where nothing looks at single events.
    #[must_use]
    pub fn reads_everything(&self) -> (Vec<&str>, Vec<&str>) {
        let (mut users, mut groups) = (Vec::new(), Vec::new());
        let everything = |rule: &&Rule| rule.read.iter().any(|pattern| pattern == "*");
        for rule in self.rules.iter().filter(everything) {
            match &rule.who {
                Who::User(user) => users.push(user.as_str()),
                Who::Group(group) => groups.push(group.as_str()),
                Who::ApiUser(_) | Who::ApiGroup(_) => {}
            }
        }
        (users, groups)
    }

    /// The rules that name a user or a group of this machine: the number of each, the name, and whether it permits
    /// nothing.
    pub(crate) fn local_rules(&self) -> impl Iterator<Item = (usize, LocalName<'_>, bool)> {
        (1..).zip(&self.rules).filter_map(|(number, rule)| {
            let name = match &rule.who {
                Who::User(user) => LocalName::User(user),
                Who::Group(group) => LocalName::Group(group),
                Who::ApiUser(_) | Who::ApiGroup(_) => return None,
            };
            let mut permitted = [&rule.read, &rule.fire, &rule.run, &rule.consume].into_iter();
            Some((number, name, permitted.all(|patterns| patterns.is_empty())))
        })
    }

    /// Whether a rule names a user or a group of the HTTP API; until one does, they may fire every event.
    pub(crate) fn restricts_api_users(&self) -> bool {
        self.rules.iter().any(|rule| rule.who.is_of_api())
    }

    /// Whether a user of this machine may do everything, whatever the rules say.
    #[must_use]
    pub const fn is_trusted(&self, uid: u32) -> bool {
        uid == 0 || uid == self.owner
    }

    /// What a subject may do.
    #[must_use]
    pub fn access(&self, subject: &Subject) -> Access {
        let is_full = match subject.origin {
            Origin::Peer { uid, .. } => self.is_trusted(uid),
            Origin::Token => true,
            Origin::Login => false,
        };
        let is_unruled = subject.origin == Origin::Login && !self.restricts_api_users();
        if is_unruled {
            return Access {
                is_full,
                read: Permitted::All,
                fire: Permitted::All,
                run: Permitted::Nothing,
                consume: Permitted::Nothing,
            };
        }
        if is_full {
            return Access {
                is_full,
                read: Permitted::All,
                fire: Permitted::All,
                run: Permitted::All,
                consume: Permitted::All,
            };
        }
        let rules: Vec<&Rule> = self
            .rules
            .iter()
            .filter(|rule| rule.names(subject))
            .collect();
        Access {
            is_full,
            read: Permitted::of(rules.iter().flat_map(|rule| &rule.read)),
            fire: Permitted::of(rules.iter().flat_map(|rule| &rule.fire)),
            run: Permitted::of(rules.iter().flat_map(|rule| &rule.run)),
            consume: Permitted::of(rules.iter().flat_map(|rule| &rule.consume)),
        }
    }
}

impl Rule {
    fn parse(rule: &Map, number: usize) -> Result<Self, AclError> {
        let mut all = Vec::new();
        let (mut read, mut fire, mut run) = (Vec::new(), Vec::new(), Vec::new());
        let mut consume = Vec::new();
        for (key, value) in rule {
            let key = key.as_str().unwrap_or_default();
            let named = || name(value).ok_or(AclError::NamesNobody { number });
            match key {
                "user" => all.push(Who::User(named()?)),
                "group" => all.push(Who::Group(named()?)),
                "api_user" => all.push(Who::ApiUser(named()?)),
                "api_group" => all.push(Who::ApiGroup(named()?)),
                "read" => read = patterns(value, key, number)?,
                "fire" => fire = patterns(value, key, number)?,
                "run" => run = functions(patterns(value, key, number)?),
                "consume" => consume = patterns(value, key, number)?,
                _ => {
                    return Err(AclError::UnknownKey {
                        number,
                        key: key.to_owned(),
                    });
                }
            }
        }
        let Some(who) = all.pop().filter(|_| all.is_empty()) else {
            return Err(AclError::NamesNobody { number });
        };
        if who.is_of_api() && !run.is_empty() {
            return Err(AclError::RunsByExternalAuth { number });
        }
        Ok(Self {
            who,
            read,
            fire,
            run,
            consume,
        })
    }

    fn names(&self, subject: &Subject) -> bool {
        let is_of_api = subject.origin == Origin::Login;
        match &self.who {
            who if who.is_of_api() != is_of_api => false,
            Who::User(user) => {
                *user == subject.user || subject.uid().is_some_and(|uid| *user == uid.to_string())
            }
            Who::ApiUser(user) => user == "*" || *user == subject.user,
            Who::Group(group) | Who::ApiGroup(group) => subject.groups.contains(group),
        }
    }
}

/// A user's or group's name, or its number.
fn name(value: &Value) -> Option<String> {
    match value {
        Value::Str(name) if !name.is_empty() => Some(name.clone()),
        Value::Int(number) if *number >= 0 => Some(number.to_string()),
        _ => None,
    }
}

fn patterns(value: &Value, key: &str, number: usize) -> Result<Vec<String>, AclError> {
    let refused = || AclError::NotPatterns {
        number,
        key: key.to_owned(),
    };
    let Value::Array(items) = value else {
        return Err(refused());
    };
    let texts = items.iter().map(|item| item.as_str().map(str::to_owned));
    texts.collect::<Option<_>>().ok_or_else(refused)
}

/// `@runner` and `@wheel` alone mean all of their functions, as in Salt.
fn functions(patterns: Vec<String>) -> Vec<String> {
    let all = |pattern: String| match pattern.as_str() {
        "@runner" | "@wheel" => format!("{pattern}/*"),
        _ => pattern,
    };
    patterns.into_iter().map(all).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use brine_wire::json;

    const OWNER: u32 = 500;

    fn acl(text: &str) -> Result<Acl, String> {
        let value = json::parse(text.as_bytes()).unwrap();
        Acl::parse(Some(&value), OWNER).map_err(|error| error.to_string())
    }

    fn subject(user: &str, uid: u32, groups: &[&str]) -> Subject {
        Subject {
            origin: Origin::Peer { pid: Some(1), uid },
            user: user.to_owned(),
            groups: groups.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn root_and_the_buss_user_may_do_everything() {
        for uid in [0, OWNER] {
            let access = Acl::closed(OWNER).access(&subject("x", uid, &[]));
            assert!(access.is_full && access.run.contains("@wheel/key.accept"));
        }
        let access = Acl::closed(OWNER).access(&subject("x", 1000, &[]));
        assert!(!access.is_full && access.read.is_nothing() && !access.fire.contains("a"));
        assert!(!Acl::closed(OWNER).admits_others());
    }

    #[test]
    fn rules_of_a_user_and_of_groups_add_up() {
        let acl = acl(
            r#"[{"group": "ops", "read": ["salt/job/*"], "fire": ["ops/*"], "run": []},
                {"user": "ann", "read": ["my/*"], "run": ["test.*", "@runner"], "consume": ["ann-*"]},
                {"user": 1001, "fire": ["deploy/*"]}]"#,
        )
        .unwrap();
        assert!(acl.admits_others());
        let ann = acl.access(&subject("ann", 1000, &["ops", "staff"]));
        assert!(ann.read.contains("salt/job/1/new") && ann.read.contains("my/tag"));
        assert!(!ann.read.contains("salt/auth") && ann.fire.contains("ops/x"));
        assert!(ann.consume.contains("ann-1") && !ann.consume.contains("audit"));
        assert!(ann.run.contains("test.ping") && ann.run.contains("@runner/jobs.active"));
        assert!(!ann.run.contains("@wheel/key.accept") && !ann.run.contains("cmd.run"));
        let ben = acl.access(&subject("ben", 1001, &["staff"]));
        assert!(ben.fire.contains("deploy/x") && ben.read.is_nothing() && ben.run.is_nothing());
    }

    #[test]
    fn api_users_are_others_than_users_of_the_machine() {
        let login = |user: &str, groups: &[&str]| Subject {
            origin: Origin::Login,
            ..subject(user, 0, groups)
        };
        let unruled = acl(r#"[{"user": "ann", "read": ["my/*"]}]"#).unwrap();
        let access = unruled.access(&login("ann", &[]));
        assert!(access.read.contains("salt/job/1/new") && access.fire.contains("salt/netapi/hook"));
        assert!(access.run.is_nothing() && !access.is_full);
        let ruled = acl(
            r#"[{"user": "ann", "read": ["my/*"]}, {"group": "ops", "read": ["ops/*"]},
                {"api_user": "ann", "read": ["api/*"]}, {"api_group": "ops", "fire": ["hook/*"]},
                {"api_user": "*", "read": ["all/*"]}]"#,
        )
        .unwrap();
        let ann = ruled.access(&login("ann", &["ops"]));
        assert!(ann.read.contains("api/1") && ann.read.contains("all/1"));
        assert!(ann.fire.contains("hook/1"));
        assert!(!ann.read.contains("my/1") && !ann.read.contains("ops/1"));
        let root = ruled.access(&login("root", &[]));
        assert!(!root.is_full && root.read.contains("all/1") && !root.read.contains("api/1"));
        let local = ruled.access(&subject("ann", 1000, &["ops"]));
        assert!(local.read.contains("my/1") && local.read.contains("ops/1"));
        assert!(!local.read.contains("api/1") && !local.read.contains("all/1"));
        let closed = acl(r#"[{"api_user": "ann"}]"#).unwrap();
        assert!(!closed.admits_others());
    }

    #[test]
    fn a_mistake_is_named_and_opens_nothing() {
        for (text, error) in [
            ("{}", "expected a list"),
            ("[1]", "expected a list"),
            ("[{}]", "rule 1: expected one of user, group"),
            (
                r#"[{"user": "a", "group": "b"}]"#,
                "rule 1: expected one of",
            ),
            (r#"[{"user": ""}]"#, "rule 1: expected one of"),
            (
                r#"[{"user": "a"}, {"user": "b", "reads": []}]"#,
                "rule 2: reads: no such key",
            ),
            (r#"[{"user": "a", "read": "*"}]"#, "read: expected a list"),
            (r#"[{"user": "a", "run": [1]}]"#, "run: expected a list"),
            (r#"[{"api_user": "a", "run": ["x"]}]"#, "external_auth"),
        ] {
            let found = acl(text).unwrap_err();
            assert!(found.contains(error), "{text}: {found}");
        }
    }
}
