//! Parses command lines as Python's `optparse` does, which Salt's commands use: options anywhere
//! between words, unique prefixes of long names, joined short options, and its error texts. Facts: Python 3.11, seen through Salt's commands.

use std::fmt::Write;

/// An option of a command; `K` is the type that identifies it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Opt<K> {
    pub(super) key: K,
    /// All its names, dashes included.
    pub(super) names: &'static [&'static str],
    pub(super) takes: Takes,
    pub(super) help: &'static str,
}

/// The value of an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    Nothing,
    /// A text; the help calls it this.
    Text(&'static str),
    /// An integer.
    Number(&'static str),
    /// A number, with a fraction or without.
    Decimal(&'static str),
    /// One of these.
    OneOf(&'static str, &'static [&'static str]),
}

/// A command's options and its usage line.
#[derive(Debug, Clone, Copy)]
pub(super) struct Syntax<K: 'static> {
    /// The command's name.
    pub(super) program: &'static str,
    /// Its arguments, as the usage line shows them.
    pub(super) usage: &'static str,
    pub(super) about: &'static str,
    /// In groups, since commands share most of them.
    pub(super) options: &'static [&'static [Opt<K>]],
}

/// A parsed command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Parsed<K> {
    options: Vec<Given<K>>,
    /// The words that are not options.
    pub(super) words: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Given<K> {
    key: K,
    /// The option's first name.
    name: &'static str,
    value: String,
}

impl<K: Copy + PartialEq> Parsed<K> {
    /// Whether an option was given.
    pub(super) fn has(&self, key: K) -> bool {
        self.value(key).is_some()
    }

    /// The last value of an option.
    pub(super) fn value(&self, key: K) -> Option<&str> {
        let mut given = self.options.iter().rev();
        let last = given.find(|given| given.key == key)?;
        Some(&last.value)
    }

    /// All values of an option.
    pub(super) fn values(&self, key: K) -> impl Iterator<Item = &str> {
        let given = self.options.iter();
        given
            .filter(move |given| given.key == key)
            .map(|given| given.value.as_str())
    }

    /// The names by which the options with this key were given.
    pub(super) fn names(&self, key: K) -> impl Iterator<Item = &'static str> {
        let given = self.options.iter();
        given
            .filter(move |given| given.key == key)
            .map(|given| given.name)
    }

    fn push(&mut self, option: &Opt<K>, value: String) {
        self.options.push(Given {
            key: option.key,
            name: option.names.first().copied().unwrap_or_default(),
            value,
        });
    }
}

impl<K: Copy + PartialEq> Syntax<K> {
    /// Parses a command line.
    ///
    /// # Errors
    /// `optparse`'s error text.
    pub(super) fn parse(&self, words: &[String]) -> Result<Parsed<K>, String> {
        let mut parsed = Parsed {
            options: Vec::new(),
            words: Vec::new(),
        };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            if word == "--" {
                parsed.words.extend(words.cloned());
                break;
            }
            if word.starts_with("--") {
                self.long(word, &mut words, &mut parsed)?;
            } else if word.len() > 1 && word.starts_with('-') {
                self.short(word, &mut words, &mut parsed)?;
            } else {
                parsed.words.push(word.clone());
            }
        }
        Ok(parsed)
    }

    fn long<'a>(
        &self,
        word: &str,
        rest: &mut impl Iterator<Item = &'a String>,
        parsed: &mut Parsed<K>,
    ) -> Result<(), String> {
        let (name, joined) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (word, None),
        };
        let (name, option) = self.by_beginning(name)?;
        let value = match (option.takes, joined) {
            (Takes::Nothing, None) => String::new(),
            (Takes::Nothing, Some(_)) => {
                return Err(format!("{name} option does not take a value"));
            }
            (_, Some(value)) => value.to_owned(),
            (_, None) => next(name, rest)?,
        };
        option.check(name, &value)?;
        parsed.push(option, value);
        Ok(())
    }

    fn short<'a>(
        &self,
        word: &str,
        rest: &mut impl Iterator<Item = &'a String>,
        parsed: &mut Parsed<K>,
    ) -> Result<(), String> {
        for (at, letter) in word.char_indices().skip(1) {
            let name = format!("-{letter}");
            let option = self
                .named(&name)
                .ok_or_else(|| format!("no such option: {name}"))?;
            if option.takes == Takes::Nothing {
                parsed.push(option, String::new());
                continue;
            }
            let joined = &word[at + letter.len_utf8()..];
            let value = match joined {
                "" => next(&name, rest)?,
                joined => joined.to_owned(),
            };
            option.check(&name, &value)?;
            parsed.push(option, value);
            break;
        }
        Ok(())
    }

    fn options(&self) -> impl Iterator<Item = &'static Opt<K>> {
        self.options.iter().copied().flatten()
    }

    fn named(&self, name: &str) -> Option<&'static Opt<K>> {
        self.options().find(|option| option.names.contains(&name))
    }

    /// The long option with a name or unique prefix of one.
    fn by_beginning<'a>(&self, name: &'a str) -> Result<(&'a str, &'static Opt<K>), String>
    where
        'static: 'a,
    {
        if let Some(option) = self.named(name) {
            return Ok((name, option));
        }
        let names = self.options().flat_map(|option| {
            let names = option.names.iter();
            names.map(move |name| (*name, option))
        });
        let mut meant: Vec<_> = names.filter(|(own, _)| own.starts_with(name)).collect();
        meant.sort_by_key(|(own, _)| *own);
        match meant.as_slice() {
            [] => Err(format!("no such option: {name}")),
            [only] => Ok(*only),
            several => {
                let names: Vec<_> = several.iter().map(|(name, _)| *name).collect();
                Err(format!("ambiguous option: {name} ({}?)", names.join(", ")))
            }
        }
    }

    /// The usage line and the error.
    pub(super) fn complaint(&self, error: &str) -> String {
        let Self { program, usage, .. } = self;
        format!("Usage: {program} {usage}\n\n{program}: error: {error}\n")
    }

    /// The text of `--help`.
    pub(super) fn help(&self) -> String {
        let Self { program, usage, .. } = self;
        let mut help = format!("Usage: {program} {usage}\n\n{}\n\nOptions:\n", self.about);
        // Options without help are internal: this program passes them to itself.
        let shown = self.options().filter(|option| !option.help.is_empty());
        let (idle, useful): (Vec<&Opt<K>>, Vec<&Opt<K>>) =
            shown.partition(|option| option.is_idle());
        useful.iter().for_each(|option| option.describe(&mut help));
        if !idle.is_empty() {
            help.push_str("\nOptions of Salt's that do nothing here:\n");
        }
        idle.iter().for_each(|option| option.describe(&mut help));
        help
    }
}

impl<K> Opt<K> {
    fn check(&self, name: &str, value: &str) -> Result<(), String> {
        match self.takes {
            Takes::Number(_) if value.trim().parse::<i64>().is_err() => {
                Err(format!("option {name}: invalid integer value: '{value}'"))
            }
            Takes::Decimal(_) if value.trim().parse::<f64>().is_err() => Err(format!(
                "option {name}: invalid floating-point value: '{value}'"
            )),
            Takes::OneOf(_, choices) if !choices.contains(&value) => {
                let choices: Vec<_> = choices.iter().map(|choice| format!("'{choice}'")).collect();
                let choices = choices.join(", ");
                Err(format!(
                    "option {name}: invalid choice: '{value}' (choose from {choices})"
                ))
            }
            _ => Ok(()),
        }
    }

    /// Whether the option is here only because Salt has it.
    fn is_idle(&self) -> bool {
        let says = ["Ignored", "Not supported", "No effect", "Refused"];
        says.iter().any(|says| self.help.starts_with(says))
    }

    /// Writes its heading and its help, for a terminal of 80 columns.
    fn describe(&self, out: &mut String) {
        const COLUMN: usize = 24;
        let mut at = usize::MAX;
        // Writing to a String cannot fail.
        let _ = write!(out, "  {}", self.heading());
        for word in self.help.split(' ') {
            if at.saturating_add(word.len() + 1) > 80 {
                let _ = write!(out, "\n{:COLUMN$}{word}", "");
                at = COLUMN + word.len();
            } else {
                let _ = write!(out, " {word}");
                at += word.len() + 1;
            }
        }
        out.push('\n');
    }

    /// `-c DIR, --config-dir=DIR`
    fn heading(&self) -> String {
        let value = match self.takes {
            Takes::Nothing => None,
            Takes::Text(name)
            | Takes::Number(name)
            | Takes::Decimal(name)
            | Takes::OneOf(name, _) => Some(name),
        };
        let names = self.names.iter().map(|name| match value {
            None => (*name).to_owned(),
            Some(value) if name.starts_with("--") => format!("{name}={value}"),
            Some(value) => format!("{name} {value}"),
        });
        names.collect::<Vec<_>>().join(", ")
    }
}

fn next<'a>(name: &str, rest: &mut impl Iterator<Item = &'a String>) -> Result<String, String> {
    rest.next()
        .cloned()
        .ok_or_else(|| format!("{name} option requires 1 argument"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYNTAX: Syntax<char> = Syntax {
        program: "salt-x",
        usage: "[options] <function>",
        about: "About.",
        options: &[&[
            opt('c', &["-c", "--config-dir"], Takes::Text("DIR")),
            opt('t', &["-t", "--timeout"], Takes::Number("N")),
            opt(
                'l',
                &["-l", "--log-level"],
                Takes::OneOf("L", &["info", "error"]),
            ),
            opt('f', &["--log-file"], Takes::Text("FILE")),
            opt('d', &["-d", "--doc"], Takes::Nothing),
            opt('a', &["--async"], Takes::Nothing),
        ]],
    };

    const fn opt(key: char, names: &'static [&'static str], takes: Takes) -> Opt<char> {
        Opt {
            key,
            names,
            takes,
            help: "",
        }
    }

    fn parse(line: &str) -> Result<Parsed<char>, String> {
        let words: Vec<_> = line.split(' ').map(str::to_owned).collect();
        SYNTAX.parse(&words)
    }

    #[test]
    fn options_stand_anywhere_and_are_joined_or_not() {
        for line in [
            "-c x a b -d",
            "a -cx b --doc",
            "a b -dcx",
            "--config-dir=x a --do b",
            "--config-dir x -d -- a b",
        ] {
            let parsed = parse(line).unwrap();
            assert_eq!(parsed.words, ["a", "b"], "{line}");
            assert_eq!(parsed.value('c'), Some("x"), "{line}");
            assert!(parsed.has('d'), "{line}");
        }
        assert_eq!(parse("-c x -c y").unwrap().value('c'), Some("y"));
        assert_eq!(parse("-- -d").unwrap().words, ["-d"]);
        assert_eq!(parse("-").unwrap().words, ["-"]);
    }

    #[test]
    fn errors_are_worded_as_by_optparse() {
        for (line, error) in [
            ("--bogus", "no such option: --bogus"),
            ("-dx", "no such option: -x"),
            ("-c", "-c option requires 1 argument"),
            ("--doc=1", "--doc option does not take a value"),
            ("-t x", "option -t: invalid integer value: 'x'"),
            (
                "-l x",
                "option -l: invalid choice: 'x' (choose from 'info', 'error')",
            ),
            (
                "--lo info",
                "ambiguous option: --lo (--log-file, --log-level?)",
            ),
        ] {
            assert_eq!(parse(line).unwrap_err(), error, "{line}");
        }
        assert_eq!(
            SYNTAX.complaint("no"),
            "Usage: salt-x [options] <function>\n\nsalt-x: error: no\n"
        );
    }
}
