//! `--format '{time} {tag} {data.id}'`: a custom line.

use brine_wire::{Map, Value, json};

use crate::facts::Facts;
use crate::line;
use crate::text::visible;

/// A parsed format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Field(Field),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Field {
    Time,
    Date,
    Stamp,
    Tag,
    Seq,
    Position,
    Minion,
    Fun,
    Jid,
    User,
    Ok,
    Line,
    /// Keys from the outermost inwards; none for all of the data.
    Data(Vec<String>),
}

/// The text is no format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// No such field.
    #[error(
        "unknown field {{{found}}}; fields are {FIELDS}; write a literal brace as {{{{ or }}}}"
    )]
    UnknownField {
        /// What stands between the braces.
        found: String,
    },
    /// A brace without its partner.
    #[error("expected {{FIELD}}, found a single {found}; write a literal brace as {{{{ or }}}}")]
    SingleBrace {
        /// The brace.
        found: char,
    },
}

/// The fields, for people.
const FIELDS: &str = "{time} {date} {stamp} {tag} {seq} {position} {minion} {fun} {jid} {user} {ok} {line} {data} {data.PATH}";

/// What is known of an event beside its tag and data.
#[derive(Debug, Clone, Copy, Default)]
pub struct Context<'a> {
    /// The time of day, in the zone that is shown.
    pub time: &'a str,
    /// The date, in the zone that is shown.
    pub date: &'a str,
    /// Its number in the log.
    pub seq: Option<u64>,
    /// Its position, as text.
    pub position: &'a str,
}

impl Template {
    /// Parses a format. `\t` and `\n` are a tab and a line end.
    ///
    /// # Errors
    /// [`TemplateError`] names what is wrong.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                '{' | '}' if chars.peek() == Some(&c) => {
                    chars.next();
                    plain.push(c);
                }
                '{' => {
                    let mut name = String::new();
                    let is_closed = loop {
                        match chars.next() {
                            Some('}') => break true,
                            Some('{') | None => break false,
                            Some(c) => name.push(c),
                        }
                    };
                    if !is_closed {
                        return Err(TemplateError::SingleBrace { found: '{' });
                    }
                    if !plain.is_empty() {
                        parts.push(Part::Text(std::mem::take(&mut plain)));
                    }
                    parts.push(Part::Field(field(&name)?));
                }
                '}' => return Err(TemplateError::SingleBrace { found: '}' }),
                '\\' => match chars.peek() {
                    Some(letter @ ('t' | 'n' | '\\')) => {
                        plain.push(match letter {
                            't' => '\t',
                            'n' => '\n',
                            _ => '\\',
                        });
                        chars.next();
                    }
                    _ => plain.push('\\'),
                },
                c => plain.push(c),
            }
        }
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        Ok(Self { parts })
    }

    /// Appends an event in this format. What the event does not have is `-`; what a terminal would obey is escaped.
    pub fn write(&self, tag: &str, data: &Map, context: &Context<'_>, out: &mut String) {
        let facts = Facts::of(tag, data);
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Field(field) => {
                    let value = field.value(tag, data, facts, context);
                    let value = value.filter(|value| !value.is_empty());
                    out.push_str(&visible(value.as_deref().unwrap_or("-")));
                }
            }
        }
    }
}

fn field(name: &str) -> Result<Field, TemplateError> {
    Ok(match name {
        "time" => Field::Time,
        "date" => Field::Date,
        "stamp" => Field::Stamp,
        "tag" => Field::Tag,
        "seq" => Field::Seq,
        "position" => Field::Position,
        "minion" => Field::Minion,
        "fun" => Field::Fun,
        "jid" => Field::Jid,
        "user" => Field::User,
        "ok" => Field::Ok,
        "line" => Field::Line,
        "data" => Field::Data(Vec::new()),
        other => match other.strip_prefix("data.") {
            Some(path) if path.split('.').all(|key| !key.is_empty()) => {
                Field::Data(path.split('.').map(str::to_owned).collect())
            }
            _ => {
                return Err(TemplateError::UnknownField {
                    found: other.to_owned(),
                });
            }
        },
    })
}

impl Field {
    fn value(
        &self,
        tag: &str,
        data: &Map,
        facts: Facts<'_>,
        context: &Context<'_>,
    ) -> Option<String> {
        match self {
            Self::Time => Some(context.time.to_owned()),
            Self::Date => Some(context.date.to_owned()),
            Self::Stamp => data.get("_stamp").map(scalar),
            Self::Tag => Some(tag.to_owned()),
            Self::Seq => context.seq.map(|seq| seq.to_string()),
            Self::Position => Some(context.position.to_owned()),
            Self::Minion => facts.minion.map(str::to_owned),
            Self::Fun => facts.fun.map(str::to_owned),
            Self::Jid => facts.jid.map(str::to_owned),
            Self::User => facts.user.map(str::to_owned),
            Self::Ok => facts.ok.map(|ok| ok.to_string()),
            Self::Line => Some(line::describe(tag, data).to_string()),
            Self::Data(path) => at(data, path).map(|value| scalar(&value)),
        }
    }
}

/// The value at a path: a key of a mapping, a number into a list.
fn at(data: &Map, path: &[String]) -> Option<Value> {
    let Some((first, rest)) = path.split_first() else {
        return Some(Value::Map(data.clone()));
    };
    let mut value = data.get(first)?;
    for key in rest {
        value = match value {
            Value::Map(map) => map.get(key)?,
            Value::Array(items) => items.get(key.parse::<usize>().ok()?)?,
            _ => return None,
        };
    }
    Some(value.clone())
}

/// Text as it is, all else as JSON.
fn scalar(value: &Value) -> String {
    match value {
        Value::Str(text) => text.clone(),
        value => {
            let mut text = String::new();
            json::to_line(value, &mut text);
            text
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format(text: &str) -> Result<String, TemplateError> {
        let inner: Map = [("list", Value::from(vec![Value::from("x"), 5.into()]))]
            .into_iter()
            .collect();
        let data: Map = [
            ("id", Value::from("web1")),
            ("fun", "test.ping".into()),
            ("jid", "1".into()),
            ("return", true.into()),
            ("retcode", 0.into()),
            ("inner", Value::Map(inner)),
            ("bad", "a\nb".into()),
            ("_stamp", "2026-11-29T10:00:01".into()),
        ]
        .into_iter()
        .collect();
        let context = Context {
            time: "10:00:01",
            date: "2026-11-29",
            seq: Some(42),
            position: "7f3a-42",
        };
        let mut out = String::new();
        Template::parse(text)?.write("salt/job/1/ret/web1", &data, &context, &mut out);
        Ok(out)
    }

    #[test]
    fn fields_are_filled_in() {
        for (text, shown) in [
            (
                "{stamp} {tag} {data.id}",
                "2026-11-29T10:00:01 salt/job/1/ret/web1 web1",
            ),
            (
                "{date}T{time} #{seq} {position}",
                "2026-11-29T10:00:01 #42 7f3a-42",
            ),
            (
                "{minion} {fun} {jid} {ok} {user}",
                "web1 test.ping 1 true -",
            ),
            ("{line}", "web1 test.ping ok true"),
            (
                "{data.inner.list.1}\\t{data.inner}",
                "5\t{\"list\": [\"x\", 5]}",
            ),
            ("{data.no.such}|{data.id.deeper}", "-|-"),
            ("{data.bad}", "a\\nb"),
            ("{{{tag}}}", "{salt/job/1/ret/web1}"),
            ("no field \\d", "no field \\d"),
        ] {
            assert_eq!(format(text).as_deref(), Ok(shown), "{text}");
        }
    }

    #[test]
    fn errors_say_what_there_is() {
        for (text, error) in [
            ("{nosuch}", "unknown field {nosuch}; fields are {time} "),
            ("{data.}", "unknown field {data.}"),
            ("{tag", "expected {FIELD}, found a single {"),
            ("tag}", "expected {FIELD}, found a single }"),
        ] {
            let found = format(text).unwrap_err().to_string();
            assert!(found.starts_with(error), "{text}: {found}");
        }
    }
}
