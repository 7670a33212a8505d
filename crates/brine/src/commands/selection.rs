//! Which events a command selects: tags, match types and fields, in the words that `brine watch`, `brine history`,
//! `brine log` and `brine consumer` share.

use std::io::{self, IsTerminal};

use anyhow::Context as _;
use brine_bus::client::EventRef;
use brine_bus::client::local::EventQuery;
use brine_log::Expected;
use brine_log::history::TagQuery;
use brine_wire::field_filter::FieldFilter;
use brine_wire::json;
use brine_wire::matching::{MatchType, RegexSearch, TagFilter, TagMatch};

use crate::show;
use crate::usage::wrong_usage;

/// How tags are compared with a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum MatchKind {
    /// Shell pattern for the whole tag; * crosses /
    #[default]
    Glob,
    /// The tag begins with it
    Startswith,
    /// The tag ends with it
    Endswith,
    /// The tag contains it
    Find,
    /// Python regular expression, matched at the tag's start
    Regex,
}

impl MatchKind {
    const fn match_type(self) -> MatchType {
        match self {
            Self::Glob => MatchType::Fnmatch,
            Self::Startswith => MatchType::StartsWith,
            Self::Endswith => MatchType::EndsWith,
            Self::Find => MatchType::Find,
            Self::Regex => MatchType::Regex,
        }
    }
}

/// The options that choose events.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct SelectionArgs {
    /// Tags to show; all if none is given
    #[arg(value_name = "TAG")]
    pub(crate) tags: Vec<String>,
    /// How tags are compared
    #[arg(
        short,
        long = "match",
        value_name = "TYPE",
        value_enum,
        default_value_t
    )]
    pub(crate) match_kind: MatchKind,
    /// Tags to leave out, compared in the same way
    #[arg(short = 'x', long, value_name = "TAG")]
    pub(crate) exclude: Vec<String>,
    /// Only events with all of these fields: 'minion:web* fun:state.* ok:false data.PATH:PATTERN'
    #[arg(long, value_name = "FIELD:PATTERN …")]
    pub(crate) filter: Option<String>,
    /// Only events with this Python regular expression in their tag or in their data as JSON
    #[arg(short, long, value_name = "REGEX")]
    pub(crate) grep: Option<String>,
}

/// The events that were chosen.
#[derive(Debug)]
pub(crate) struct Selection {
    tags: TagFilter,
    fields: FieldFilter,
    grep: Option<RegexSearch>,
    query: TagQuery,
    /// All of it but the regular expression, as a local socket takes it.
    asked: EventQuery,
}

impl SelectionArgs {
    /// Compiles the patterns. One that is wrong ends the program, as any wrong argument does.
    pub(crate) fn compile(&self) -> Selection {
        let compiled = self.try_compile();
        compiled.unwrap_or_else(|error| wrong_usage(&show::one_line(&error)))
    }

    fn try_compile(&self) -> anyhow::Result<Selection> {
        let kind = self.match_kind.match_type();
        let is_empty = |(_, tags): &(&str, &Vec<String>)| tags.iter().any(String::is_empty);
        if let Some((option, _)) = [("", &self.tags), ("--exclude: ", &self.exclude)]
            .iter()
            .find(|one| is_empty(one))
        {
            anyhow::bail!(
                "{option}a tag is empty: no event has such a tag; for every event, leave it out"
            );
        }
        let patterns = self.tags.iter().map(|tag| TagMatch::new(kind, tag));
        Ok(Selection {
            tags: TagFilter::new(kind, &self.tags, &self.exclude)?,
            fields: FieldFilter::parse(self.filter.as_deref().unwrap_or_default())
                .context("--filter")?,
            grep: (self.grep.as_deref().map(RegexSearch::new).transpose()).context("--grep")?,
            query: TagQuery::new(&patterns.collect::<Result<Vec<_>, _>>()?),
            asked: EventQuery {
                tags: self.tags.clone(),
                match_type: kind.to_string(),
                excludes: self.exclude.clone(),
                filter: self.filter.clone().unwrap_or_default(),
                ..EventQuery::default()
            },
        })
    }
}

impl SelectionArgs {
    /// Tells people that a tag without a wildcard is the whole tag, where Salt's own library takes
    /// it for a prefix.
    pub(crate) fn warn_of_exact_tags(&self) {
        if io::stderr().is_terminal() {
            self.say_which_tags_are_exact();
        }
    }

    /// The same where nobody watched the terminal, once nothing has matched.
    pub(crate) fn explain_silence(&self) {
        if !io::stderr().is_terminal() {
            self.say_which_tags_are_exact();
        }
    }

    fn say_which_tags_are_exact(&self) {
        if self.match_kind != MatchKind::Glob {
            return;
        }
        for tag in self
            .tags
            .iter()
            .filter(|tag| !tag.contains(['*', '?', '[']))
        {
            let below = tag.trim_end_matches('/');
            show::complain(&format_args!(
                "only events with exactly the tag {tag}; for all below it: '{below}/*'"
            ));
        }
    }
}

impl Selection {
    /// Whether an event was chosen.
    pub(crate) fn wants(&self, event: EventRef<'_>) -> bool {
        self.tags.matches(event.tag())
            && (self.fields.is_any() || self.fields.matches(event.tag(), event.data()))
            && self.greps(event)
    }

    /// What is told as missing if retention has removed it: nothing is known of its data.
    pub(crate) fn expected(&self) -> Expected {
        let tags = self.tags.clone();
        Expected::tags(move |tag| tags.matches(tag))
    }

    /// Whether the regular expression, if there is one, is in an event.
    pub(crate) fn greps(&self, event: EventRef<'_>) -> bool {
        let Some(grep) = &self.grep else {
            return true;
        };
        grep.is_in(event.tag())
            || event.decode().is_ok_and(|data| {
                let mut text = String::new();
                json::to_line(&data, &mut text);
                grep.is_in(&text)
            })
    }

    /// Whether there is a regular expression, which a local socket does not know.
    pub(crate) const fn has_grep(&self) -> bool {
        self.grep.is_some()
    }

    /// The rest of it, as a local socket takes it.
    pub(crate) fn asked(&self) -> EventQuery {
        self.asked.clone()
    }

    /// What a store can use to pass over blocks without a wanted event.
    pub(crate) const fn query(&self) -> &TagQuery {
        &self.query
    }
}
