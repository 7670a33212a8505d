//! Which events start which files: the `reactor` option.
//!
//! Pure: the caller reads the configuration and passes in the values.

use std::collections::HashSet;

use brine_wire::matching::{MatchError, MatchType, TagMatch};
use brine_wire::{Map, Value, python_text};

/// Events of some tags, and the files that react to them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The shell pattern for the whole tag, in which `*` crosses `/`.
    pub glob: String,
    /// The files: absolute paths, which may contain shell patterns, or `salt://…`.
    pub files: Vec<String>,
    tag: TagMatch,
}

/// An entry of `reactor` that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadEntry {
    /// Which one, from 0.
    pub nth: usize,
    /// Its pattern, if it has one.
    pub glob: Option<String>,
    /// What is wrong, with what was expected.
    pub fault: String,
}

impl Rule {
    /// A rule.
    ///
    /// # Errors
    /// [`MatchError`] for a pattern that cannot be used.
    pub fn new(glob: &str, files: Vec<String>) -> Result<Self, MatchError> {
        Ok(Self {
            glob: glob.to_owned(),
            files,
            tag: TagMatch::new(MatchType::Fnmatch, glob)?,
        })
    }

    /// Whether it is for events of this tag.
    #[must_use]
    pub fn matches(&self, tag: &str) -> bool {
        self.tag.matches(tag)
    }

    /// What every matching tag begins with.
    #[must_use]
    pub fn prefix(&self) -> String {
        self.tag.literal_prefix()
    }

    /// As `salt-run reactor.list` shows it.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let files: Vec<Value> = self.files.iter().map(|file| file.as_str().into()).collect();
        let mut map = Map::new();
        map.insert(self.glob.as_str(), files);
        map.into()
    }
}

/// Names of rules, by which the record knows them.
#[derive(Debug, Default)]
pub struct Names(HashSet<String>);

impl Names {
    /// Those that are taken.
    #[must_use]
    pub const fn taken(names: HashSet<String>) -> Self {
        Self(names)
    }

    /// A name that no other rule has: the pattern, with a number from the second rule of that pattern on. A pattern
    /// that ends as such a name does always gets a number, so that no rule ever takes the name that a rule of another
    /// pattern had.
    pub fn give(&mut self, glob: &str) -> String {
        let mut nth = 1;
        loop {
            let name = match nth {
                1 if pattern_of(glob) == glob => glob.to_owned(),
                nth => format!("{glob}#{nth}"),
            };
            if self.0.insert(name.clone()) {
                return name;
            }
            nth += 1;
        }
    }

    /// Gives each of these rules a name.
    #[must_use]
    pub fn give_all(mut self, rules: Vec<Rule>) -> Vec<(Rule, String)> {
        let name = |rule: Rule| {
            let name = self.give(&rule.glob);
            (rule, name)
        };
        rules.into_iter().map(name).collect()
    }
}

/// The pattern of a rule by its name.
#[must_use]
pub fn pattern_of(name: &str) -> &str {
    match name.rsplit_once('#') {
        Some((glob, nth)) if !nth.is_empty() && nth.bytes().all(|byte| byte.is_ascii_digit()) => {
            glob
        }
        _ => name,
    }
}

/// Reads a list of rules. Entries that Salt would skip in silence are faults here.
///
/// # Errors
/// All entries that cannot be used.
pub fn parse(value: &Value) -> Result<Vec<Rule>, Vec<BadEntry>> {
    let entries = match value {
        Value::Nil => return Ok(Vec::new()),
        Value::Array(entries) => entries,
        other => {
            return Err(vec![BadEntry {
                nth: 0,
                glob: None,
                fault: format!(
                    "expected a list of {{PATTERN: [FILES]}}, or the name of a file with such a list, found {}",
                    python_text::class_name(other)
                ),
            }]);
        }
    };
    let (mut rules, mut faults) = (Vec::new(), Vec::new());
    for (nth, entry) in entries.iter().enumerate() {
        match rule(entry) {
            Ok(rule) => rules.push(rule),
            Err((glob, fault)) => faults.push(BadEntry { nth, glob, fault }),
        }
    }
    match faults.is_empty() {
        true => Ok(rules),
        false => Err(faults),
    }
}

fn rule(entry: &Value) -> Result<Rule, (Option<String>, String)> {
    const EXPECTED: &str = "expected a mapping with one key, {PATTERN: [FILES]}";
    let map = entry.as_map().ok_or_else(|| {
        let found = python_text::repr(entry);
        (
            entry.as_str().map(str::to_owned),
            format!("{EXPECTED}, found {found}"),
        )
    })?;
    let Some((glob, files)) = map.iter().next().filter(|_| map.len() == 1) else {
        let keys: Vec<_> = map.iter().map(|(key, _)| python_text::str(key)).collect();
        let fault = format!("{EXPECTED}, found {} keys: {}", keys.len(), keys.join(", "));
        return Err((keys.first().cloned(), fault));
    };
    let glob = glob.as_str().ok_or_else(|| {
        let found = python_text::repr(glob);
        (
            None,
            format!("expected a pattern for tags, found {found}; put it in quotes"),
        )
    })?;
    let bad = |fault: String| (Some(glob.to_owned()), fault);
    if glob.is_empty() {
        return Err(bad(
            "expected a pattern for tags, found an empty one".to_owned()
        ));
    }
    let files = match files {
        Value::Str(file) => vec![file.clone()],
        Value::Array(files) => {
            let texts = files.iter().map(|file| {
                file.as_str().map(str::to_owned).ok_or_else(|| {
                    bad(format!(
                        "expected the names of files, found {}",
                        python_text::repr(file)
                    ))
                })
            });
            texts.collect::<Result<_, _>>()?
        }
        other => {
            return Err(bad(format!(
                "expected a file or a list of files, found {}",
                python_text::repr(other)
            )));
        }
    };
    if let Some(relative) = files
        .iter()
        .find(|file| !file.starts_with('/') && !file.starts_with("salt://"))
    {
        return Err(bad(format!(
            "{relative}: expected an absolute path, or salt://…"
        )));
    }
    Rule::new(glob, files).map_err(|error| bad(error.to_string()))
}

#[cfg(test)]
mod tests {
    use brine_config::yaml;

    use super::*;

    fn parsed(text: &str) -> Result<Vec<Rule>, Vec<BadEntry>> {
        parse(&yaml::load(text.as_bytes()).unwrap())
    }

    #[test]
    fn no_two_rules_have_one_name() {
        let mut names = Names::default();
        let globs = ["x", "x", "x#2", "x#2", "x", "x#2#2", "x#"];
        let given: Vec<_> = globs.iter().map(|glob| names.give(glob)).collect();
        assert_eq!(
            given,
            ["x", "x#2", "x#2#1", "x#2#2", "x#3", "x#2#2#1", "x#"]
        );
        let patterns: Vec<_> = given.iter().map(|name| pattern_of(name)).collect();
        assert_eq!(patterns, globs);
        // Nor when one of them has gone.
        let mut names = Names::taken(HashSet::from(["x#2".to_owned()]));
        assert_eq!([names.give("x"), names.give("x")], ["x", "x#3"]);
    }

    #[test]
    fn files_come_alone_or_in_lists() {
        let rules =
            parsed("- 'salt/*/start': /a.sls\n- x: [/b.sls, 'salt://c.sls']\n- y: []\n").unwrap();
        assert_eq!(rules.len(), 3);
        assert_eq!(rules[1].files, ["/b.sls", "salt://c.sls"]);
        assert!(rules[0].matches("salt/minion/web1/start"));
        assert!(!rules[0].matches("salt/minion/web1/stop"));
        assert_eq!(parsed("").unwrap(), []);
    }

    #[test]
    fn what_salt_skips_in_silence_is_a_fault() {
        for (text, fault) in [
            ("- a", "one key"),
            ("- {a: /x, b: /y}", "found 2 keys: a, b"),
            ("- {a: 1}", "expected a file"),
            ("- {a: [1]}", "names of files"),
            ("- {1: /x}", "in quotes"),
            ("- {'': /x}", "an empty one"),
            ("- {a: x.sls}", "absolute"),
            ("{a: /x}", "expected a list"),
        ] {
            let faults = parsed(text).unwrap_err();
            assert!(faults[0].fault.contains(fault), "{text}: {faults:?}");
        }
        let faults = parsed("- a: /x\n- b: 1\n- c\n").unwrap_err();
        let nth: Vec<_> = faults.iter().map(|fault| fault.nth).collect();
        assert_eq!(nth, [1, 2]);
    }
}
