//! Which minions a target selects: by glob, list, regular expression, grains, pillar, addresses, or all of these
//! combined.
//!
//! Pure: ids and data in, yes or no out. A master uses it to find the minions of a job, a minion to check that it is
//! one of them. Facts: `docs/protocol/network.md` §10.2, and the matchers of Salt 3008.3 by running them.

mod compound;
mod data;
mod ipcidr;
mod patterns;

use brine_wire::matching::RegexMatch;
use brine_wire::network::MinionId;
use brine_wire::nodegroup::NodeGroupError;
use brine_wire::{Map, Value};

use self::compound::Compound;
use self::ipcidr::Addresses;
pub(crate) use self::patterns::Patterns;

/// What separates the keys of a grain target by default.
pub const DELIMITER: &str = ":";

/// A parsed target.
#[derive(Debug)]
pub struct Target {
    kind: Kind,
    patterns: Patterns,
}

#[derive(Debug)]
enum Kind {
    Glob(String),
    Pcre(RegexMatch),
    List(Vec<String>),
    Data(DataTarget),
    Addresses(Addresses),
    Compound(Compound),
}

/// A target that compares a minion's grains or pillar.
#[derive(Debug)]
struct DataTarget {
    source: Source,
    comparison: Comparison,
    expression: String,
    delimiter: String,
}

/// Which data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Grains,
    Pillar,
}

/// How a value is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Glob,
    Pcre,
    Exact,
}

/// A target that cannot be parsed: no minion matches.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TargetError {
    /// An unknown target type.
    #[error(
        "unknown target type {found:?}: expected glob, list, pcre, grain, grain_pcre, pillar, ipcidr or compound"
    )]
    Type {
        /// The text.
        found: String,
    },
    /// The target is neither text nor a list of texts.
    #[error("a target must be a text or a list of texts")]
    Form,
    /// A grain or pillar target without a value.
    #[error("invalid target {found:?}: expected key{delimiter}value")]
    NoDelimiter {
        /// The text.
        found: String,
        /// What separates key and value.
        delimiter: String,
    },
    /// Not an address.
    #[error("invalid target {found:?}: not an IP address or network")]
    Address {
        /// The text.
        found: String,
    },
    /// Not a regular expression.
    #[error("invalid target {found:?}: bad regular expression: {why}")]
    Regex {
        /// The text.
        found: String,
        /// What is wrong.
        why: String,
    },
    /// An unknown or circular node group.
    #[error(transparent)]
    NodeGroup(#[from] NodeGroupError),
    /// Not an expression of `and`, `or`, `not` and parentheses.
    #[error("invalid target {found:?}: {why}")]
    Compound {
        /// The text.
        found: String,
        /// What is wrong.
        why: &'static str,
    },
}

/// A minion, as targets see it.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    /// Its id.
    pub id: &'a MinionId,
    /// Its grains.
    pub grains: &'a Map,
    /// Its pillar.
    pub pillar: &'a Map,
}

impl Target {
    /// Parses a target of a type such as `glob`; `delimiter` separates the keys of grain and pillar targets,
    /// `nodegroups` is Salt's option of that name.
    ///
    /// # Errors
    /// [`TargetError`].
    pub fn parse(
        tgt: &Value,
        tgt_type: &str,
        delimiter: &str,
        nodegroups: &Map,
    ) -> Result<Self, TargetError> {
        let kind = Kind::parse(tgt, tgt_type, delimiter, nodegroups)?;
        Ok(Self {
            kind,
            patterns: Patterns::default(),
        })
    }

    /// The same target when a minion names it: its patterns are not compared with long texts, since a minion could
    /// have the master match an expensive pattern against its own grains.
    #[must_use]
    pub fn for_minions(mut self) -> Self {
        self.patterns = Patterns::for_minions();
        self
    }

    /// Whether the target selects a minion. A target that is too much work selects none any more, not even by `not`.
    #[must_use]
    pub fn matches(&self, minion: Candidate<'_>) -> bool {
        self.kind.matches(minion, &self.patterns) && !self.is_spent()
    }

    /// Whether the target turned out to be too much work: it names wildcards in more levels than anybody needs.
    #[must_use]
    pub fn is_spent(&self) -> bool {
        self.patterns.is_spent()
    }

    /// The ids a list names, in its order; `None` for all other types.
    #[must_use]
    pub fn named(&self) -> Option<&[String]> {
        match &self.kind {
            Kind::List(ids) => Some(ids),
            _ => None,
        }
    }

    /// Whether grains or pillar of minions are needed, not only their ids.
    #[must_use]
    pub fn needs_data(&self) -> bool {
        matches!(
            self.kind,
            Kind::Data(_) | Kind::Addresses(_) | Kind::Compound(_)
        )
    }
}

impl Kind {
    fn parse(
        tgt: &Value,
        tgt_type: &str,
        delimiter: &str,
        nodegroups: &Map,
    ) -> Result<Self, TargetError> {
        let text = || tgt.as_str().map(str::to_owned).ok_or(TargetError::Form);
        let data = |source, comparison| DataTarget::parse(source, comparison, text()?, delimiter);
        Ok(match tgt_type {
            "glob" => Self::Glob(text()?),
            "pcre" => Self::Pcre(pcre(&text()?)?),
            "list" => Self::List(list(tgt)?),
            "grain" => Self::Data(data(Source::Grains, Comparison::Glob)?),
            "grain_pcre" => Self::Data(data(Source::Grains, Comparison::Pcre)?),
            "pillar" => Self::Data(data(Source::Pillar, Comparison::Glob)?),
            "pillar_pcre" => Self::Data(data(Source::Pillar, Comparison::Pcre)?),
            "pillar_exact" => Self::Data(data(Source::Pillar, Comparison::Exact)?),
            "ipcidr" => Self::Addresses(Addresses::parse(&text()?)?),
            "compound" => Self::Compound(Compound::parse(tgt, nodegroups)?),
            "nodegroup" => Self::Compound(Compound::of_nodegroup(&text()?, nodegroups)?),
            other => {
                return Err(TargetError::Type {
                    found: other.to_owned(),
                });
            }
        })
    }

    fn matches(&self, minion: Candidate<'_>, patterns: &Patterns) -> bool {
        match self {
            Self::Glob(pattern) => patterns.glob(pattern, minion.id.as_str()),
            Self::Pcre(pattern) => pattern.matches(minion.id.as_str()),
            Self::List(ids) => ids.iter().any(|id| id == minion.id.as_str()),
            Self::Data(target) => target.matches(minion, patterns),
            Self::Addresses(addresses) => addresses.matches(minion.grains),
            Self::Compound(compound) => compound.matches(minion, patterns),
        }
    }
}

impl DataTarget {
    fn parse(
        source: Source,
        comparison: Comparison,
        expression: String,
        delimiter: &str,
    ) -> Result<Self, TargetError> {
        if delimiter.is_empty() || !expression.contains(delimiter) {
            return Err(TargetError::NoDelimiter {
                found: expression,
                delimiter: delimiter.to_owned(),
            });
        }
        Ok(Self {
            source,
            comparison,
            expression,
            delimiter: delimiter.to_owned(),
        })
    }

    fn matches(&self, minion: Candidate<'_>, patterns: &Patterns) -> bool {
        let map = match self.source {
            Source::Grains => minion.grains,
            Source::Pillar => minion.pillar,
        };
        let compare = |pattern: &str, value: &str| match self.comparison {
            Comparison::Glob => patterns.glob(pattern, value),
            Comparison::Pcre => patterns.pcre(pattern, value),
            Comparison::Exact => pattern == value,
        };
        let search = data::Search {
            compare: &compare,
            spend: &|steps| patterns.spend(steps),
        };
        search.matches(map, &self.expression, &self.delimiter)
    }
}

fn pcre(pattern: &str) -> Result<RegexMatch, TargetError> {
    RegexMatch::new(pattern).map_err(|error| TargetError::Regex {
        found: error.pattern,
        why: error.reason,
    })
}

/// The ids of a list target: a list, or text with commas.
fn list(tgt: &Value) -> Result<Vec<String>, TargetError> {
    match tgt {
        Value::Str(ids) => Ok(ids.split(',').map(str::to_owned).collect()),
        Value::Array(ids) => Ok(ids
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect()),
        _ => Err(TargetError::Form),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grains() -> Map {
        let roles: Value = vec!["web".into(), "db".into()].into();
        let addresses: Value = vec!["10.0.0.7".into(), "127.0.0.1".into()].into();
        let nested: Map = [("b", Value::from("C")), ("n", 5.into())]
            .into_iter()
            .collect();
        [
            ("os", Value::from("Debian")),
            ("roles", roles),
            ("ipv4", addresses),
            ("a", nested.into()),
            ("virtual", true.into()),
        ]
        .into_iter()
        .collect()
    }

    fn selects(tgt: impl Into<Value>, tgt_type: &str) -> bool {
        let groups: Map = [
            ("g", "G@os:Debian and m*"),
            ("loop", "N@loop"),
            ("either", "x or m1"),
            ("ids", "m2 m1"),
            ("expression", "m?x?1"),
        ]
        .into_iter()
        .collect();
        let Ok(target) = Target::parse(&tgt.into(), tgt_type, DELIMITER, &groups) else {
            return false;
        };
        let id = MinionId::parse("m1").unwrap();
        target.matches(Candidate {
            id: &id,
            grains: &grains(),
            pillar: &Map::new(),
        })
    }

    #[test]
    fn each_type_selects_the_right_minions() {
        for (tgt, tgt_type, expected) in [
            ("m*", "glob", true),
            ("M*", "glob", false),
            ("m[12]", "glob", true),
            ("x|m1", "pcre", true),
            ("1", "pcre", false),
            ("(?i)x|M1", "pcre", true),
            ("(?i)x|1", "pcre", false),
            ("m1|(", "pcre", false),
            ("m1,m2", "list", true),
            ("m,m2", "list", false),
            ("os:deb*", "grain", true),
            ("os", "grain", false),
            ("roles:db", "grain", true),
            ("a:b:c", "grain", true),
            ("a:n:5", "grain", true),
            ("a:*", "grain", true),
            ("nope:*", "grain", false),
            ("*:*", "grain", true),
            ("*:*", "pillar", false),
            ("virtual:True", "grain", true),
            ("os:(Debian|Red)", "grain_pcre", true),
            ("10.0.0.0/24", "ipcidr", true),
            ("10.0.0.7", "ipcidr", true),
            ("10.0.1.0/24", "ipcidr", false),
            ("10.0.0.7/24", "ipcidr", false),
            ("x", "nosuch", false),
        ] {
            assert_eq!(selects(tgt, tgt_type), expected, "{tgt_type} {tgt}");
        }
        assert!(selects(vec!["m2".into(), "m1".into()], "list"));
    }

    /// A chain of maps within maps and a pattern of as many wildcards: each level doubles the ways to try.
    #[test]
    fn wildcards_through_deep_data_end() {
        let mut deep: Map = [("end", 1)].into_iter().collect();
        for _ in 0..40 {
            deep = [("in", Value::from(deep)), ("x", 1.into())]
                .into_iter()
                .collect();
        }
        let pattern = format!("{}nope", "*:".repeat(40));
        let id = MinionId::parse("m1").unwrap();
        let parse = |tgt: &str, tgt_type| {
            let target = Target::parse(&tgt.into(), tgt_type, DELIMITER, &Map::new());
            target.unwrap().for_minions()
        };
        let selects = |target: &Target, grains: &Map| {
            target.matches(Candidate {
                id: &id,
                grains,
                pillar: &Map::new(),
            })
        };
        for (tgt, tgt_type) in [
            (pattern.clone(), "grain"),
            (format!("not G@{pattern}"), "compound"),
            (format!("m1 or not G@{pattern}"), "compound"),
        ] {
            let target = parse(&tgt, tgt_type);
            assert_eq!(selects(&target, &deep), tgt.starts_with("m1"), "{tgt}");
            assert_eq!(target.is_spent(), !tgt.starts_with("m1"), "{tgt}");
            // From then on it selects nobody.
            assert_eq!(selects(&target, &grains()), tgt.starts_with("m1"), "{tgt}");
        }
        // What anybody needs is far from the limit.
        let target = parse("in:*:*:*:*:x:1", "grain");
        for _ in 0..100 {
            assert!(selects(&target, &deep));
        }
    }

    #[test]
    fn compound_targets_follow_pythons_precedence() {
        for (tgt, expected) in [
            ("m* and not G@os:RedHat", true),
            ("x or m1 and E@m\\d", true),
            ("not x", true),
            ("not ( m1 or x )", false),
            ("m1 x", false),
            ("and m1", false),
            ("m1 and", false),
            ("( m1", false),
            ("G@os:Debian and ( L@m1,m2 or S@10.0.0.0/8 )", true),
            ("G|@os|Debian", true),
            ("N@g", true),
            ("not N@g", false),
            ("N@loop", false),
            ("N@nosuch", false),
            ("Q@x", false),
            ("m1 not x", true),
            ("x or not not m1", false),
            ("m1 or ( )", false),
            ("m1 or x ( x )", false),
            ("m1 or E@(", false),
            ("not E@(", false),
            ("m1 or R@x", false),
            ("not S@x and not G@os", true),
            ("m* and M@m1", true),
            ("m* and M@m*", false),
            ("m* and not T@x", true),
            ("M@m1", false), // its resources, not itself
            ("not ( T@x or M@x )", false),
            ("N@nosuch m1", true),
            ("m1 or N@nosuch", false),
            ("not N@either", true), // without parentheses: not x or m1
            ("N@ids", true),
            ("N@expression", true),
            ("", false),
        ] {
            assert_eq!(selects(tgt, "compound"), expected, "{tgt}");
        }
    }
}
