//! Rewrites a template as Salt's users write it into one that our engine can run, and notes what it uses, with lines.
//!
//! Works on text only. Rewritten parts keep their lines, so that errors name the right one: lists and mappings
//! written in the template become Python's, which can be changed (`_list([…])`, `_dict({…})`); `'…' % x` becomes a
//! filter; Salt's tags `load_yaml`, `import_yaml` and the like become `set`.

use super::tokens::{self, Token};

/// A template for our engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Prepared {
    pub(super) text: String,
    pub(super) uses: Vec<Use>,
}

/// Something that a template needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Use {
    pub(super) what: What,
    pub(super) name: String,
    pub(super) line: usize,
}

/// What kind of thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    Filter,
    Test,
    /// `salt['…']`
    Function,
    Tag,
}

/// Rewrites a template.
pub(super) fn prepare(source: &str) -> Prepared {
    let mut prepared = Preparation {
        source,
        at: 0,
        out: String::with_capacity(source.len() + 64),
        uses: Vec::new(),
        loads: Vec::new(),
    };
    prepared.run();
    Prepared {
        text: prepared.out,
        uses: prepared.uses,
    }
}

struct Preparation<'a> {
    source: &'a str,
    /// What has been copied or rewritten.
    at: usize,
    out: String,
    uses: Vec<Use>,
    /// The `load_*` blocks that are open: the variable, and how its text is read.
    loads: Vec<(String, &'static str)>,
}

impl<'a> Preparation<'a> {
    fn run(&mut self) {
        while let Some(found) = self.rest().find('{') {
            self.copy(found);
            match self.rest().as_bytes().get(1) {
                Some(b'#') => {
                    let end = self
                        .rest()
                        .find("#}")
                        .map_or(self.rest().len(), |at| at + 2);
                    self.copy(end);
                }
                Some(b'{') => {
                    self.copy(2);
                    self.expression("}}");
                }
                Some(b'%') => self.block(),
                _ => self.copy(1),
            }
        }
        let rest = self.rest().len();
        self.copy(rest);
    }

    fn rest(&self) -> &'a str {
        &self.source[self.at..]
    }

    fn copy(&mut self, bytes: usize) {
        self.out.push_str(&self.rest()[..bytes]);
        self.at += bytes;
    }

    fn line(&self) -> usize {
        1 + self.source[..self.at].matches('\n').count()
    }

    fn note(&mut self, what: What, name: &str) {
        let line = self.line();
        self.uses.push(Use {
            what,
            name: name.to_owned(),
            line,
        });
    }

    /// From `{%` on.
    fn block(&mut self) {
        let start = self.rest();
        let opening = if start[2..].starts_with(['-', '+']) {
            3
        } else {
            2
        };
        let Some((space, Token::Name(tag), length)) = tokens::next(&start[opening..]) else {
            return self.copy(2);
        };
        let after = opening + length;
        match tag {
            "raw" => {
                let end = raw_end(start).unwrap_or(start.len());
                self.copy(end);
            }
            "load_yaml" | "load_json" | "load_text" => {
                self.at += after;
                let Some((_, Token::Name("as"), skipped)) = tokens::next(self.rest()) else {
                    return;
                };
                self.at += skipped;
                let Some((_, Token::Name(name), skipped)) = tokens::next(self.rest()) else {
                    return;
                };
                self.at += skipped;
                let reader = match tag {
                    "load_yaml" => "load_yaml",
                    "load_json" => "load_json",
                    _ => "string",
                };
                self.loads.push((name.to_owned(), reader));
                self.out
                    .push_str(&format!("{} set _text_of_{name}", &start[..opening]));
                self.expression("%}");
            }
            "endload" => {
                let (name, reader) = self.loads.pop().unwrap_or_default();
                self.at += after;
                self.out.push_str(&format!(
                    "{} endset %}}{{% set {name} = _text_of_{name} | {reader}",
                    &start[..opening]
                ));
                self.expression("%}");
            }
            "import_yaml" | "import_json" | "import_text" => {
                self.at += after;
                self.import(&start[..opening], tag);
            }
            "profile" => {
                self.out
                    .push_str(&format!("{} if true %}}", &start[..opening]));
                let end = self
                    .rest()
                    .find("%}")
                    .map_or(self.rest().len(), |at| at + 2);
                self.at += end;
            }
            "endprofile" => {
                self.at += after;
                self.out.push_str(&format!("{} endif", &start[..opening]));
                self.expression("%}");
            }
            _ => {
                if !is_known_tag(tag) {
                    self.note(What::Tag, tag);
                }
                if tag == "filter"
                    && let Some((_, Token::Name(name), _)) = tokens::next(&start[after..])
                {
                    self.note(What::Filter, name);
                }
                self.out.push_str(&start[..opening]);
                self.out.push_str(space);
                self.out.push_str(tag);
                self.at += after;
                self.expression("%}");
            }
        }
    }

    /// `import_yaml 'file' as name`: the rest of it, behind the tag's name.
    fn import(&mut self, opening: &str, tag: &str) {
        let mut path = String::new();
        let mut name = None;
        while let Some((space, token, length)) = tokens::next(self.rest()) {
            match token {
                Token::Name("as") => {
                    self.at += length;
                    if let Some((_, Token::Name(own), length)) = tokens::next(self.rest()) {
                        self.at += length;
                        name = Some(own.to_owned());
                    }
                    break;
                }
                Token::Sign("%" | "-") => break,
                _ => {
                    path.push_str(space);
                    path.push_str(&self.rest()[space.len()..length]);
                    self.at += length;
                }
            }
        }
        // `with context` and `without context` mean nothing to what is not a template's macros.
        while let Some((_, Token::Name("with" | "without" | "context"), length)) =
            tokens::next(self.rest())
        {
            self.at += length;
        }
        let name = name.unwrap_or_else(|| "_".to_owned());
        self.out
            .push_str(&format!("{opening} set {name} = _{tag}({path})"));
        self.expression("%}");
    }

    /// An expression up to and with its end.
    fn expression(&mut self, end: &str) {
        let mut walk = Walk::default();
        loop {
            let blank = self.rest().len() - self.rest().trim_start().len();
            let ahead = &self.rest()[blank..];
            let is_over = walk.open.is_empty()
                && (ahead.starts_with(end)
                    || (ahead.starts_with(['-', '+']) && ahead[1..].starts_with(end)));
            let token = tokens::next(self.rest()).filter(|_| !is_over);
            let Some((space, token, length)) = token else {
                self.out.push_str(&walk.leave_percent());
                // At the end of the template, or in a text that does not end: the engine says what is wrong.
                let at = ahead.find(end).map_or(ahead.len(), |at| at + end.len());
                self.copy(blank + at);
                return;
            };
            let is_operand = !walk.previous.is_some_and(Token::ends_operand);
            if walk.ends_percent(token) {
                self.out.push(')');
                walk.percent = None;
            }
            self.out.push_str(space);
            self.at += length;
            self.note_use(&walk, token);
            match token {
                Token::Open(bracket) => {
                    let wrapper = match bracket {
                        '[' if is_operand => "_list(",
                        '{' => "_dict(",
                        _ => "",
                    };
                    self.out.push_str(wrapper);
                    self.out.push(bracket);
                    walk.open.push(!wrapper.is_empty());
                }
                Token::Close(bracket) => {
                    self.out.push(bracket);
                    if walk.open.pop() == Some(true) {
                        self.out.push(')');
                    }
                }
                Token::Sign("%") if matches!(walk.previous, Some(Token::Text(_))) => {
                    self.out.push_str("|_percent(");
                    walk.percent = Some(walk.open.len());
                }
                Token::Name(text) | Token::Number(text) | Token::Text(text) | Token::Sign(text) => {
                    self.out.push_str(text);
                }
            }
            walk.before = walk.previous;
            walk.previous = Some(token);
        }
    }

    /// Notes filters, tests and Salt's functions.
    fn note_use(&mut self, walk: &Walk<'a>, token: Token<'a>) {
        match (walk.before, walk.previous, token) {
            (_, Some(Token::Sign("|")), Token::Name(name)) => self.note(What::Filter, name),
            (Some(Token::Name("is")), Some(Token::Name("not")), Token::Name(name)) => {
                self.note(What::Test, name);
            }
            (_, Some(Token::Name("is")), Token::Name(name)) if name != "not" => {
                self.note(What::Test, name);
            }
            (before, _, Token::Name("salt" | "__salt__")) if before != Some(Token::Sign(".")) => {
                if walk.previous == Some(Token::Sign(".")) {
                    return;
                }
                let name = called(self.rest());
                self.note(What::Function, &name);
            }
            _ => {}
        }
    }
}

/// Where an expression is.
#[derive(Default)]
struct Walk<'a> {
    previous: Option<Token<'a>>,
    before: Option<Token<'a>>,
    /// The brackets around it, and whether each was wrapped.
    open: Vec<bool>,
    /// The number of brackets around the right side of a `%` that is open.
    percent: Option<usize>,
}

impl<'a> Walk<'a> {
    /// Whether the right side of a `%` ends before this token.
    fn ends_percent(&self, token: Token<'a>) -> bool {
        let Some(depth) = self.percent else {
            return false;
        };
        if self.open.len() > depth || self.previous == Some(Token::Sign("%")) {
            return false;
        }
        match token {
            Token::Open('(' | '[') | Token::Sign("." | "|") => false,
            Token::Name(_) => !matches!(self.previous, Some(Token::Sign("." | "|"))),
            _ => true,
        }
    }

    /// What closes a `%` at the end of the expression.
    fn leave_percent(&mut self) -> String {
        self.percent
            .take()
            .map_or_else(String::new, |_| ")".to_owned())
    }
}

/// The function in `salt['a.b']`, `salt["a.b"]` or `salt.a.b`, behind `salt`; `*` if it is not known before it is run.
fn called(rest: &str) -> String {
    let mut rest = rest;
    let mut take = || {
        let (_, token, length) = tokens::next(rest)?;
        rest = &rest[length..];
        Some(token)
    };
    match (take(), take(), take(), take()) {
        (Some(Token::Open('[')), Some(Token::Text(text)), Some(Token::Close(']')), _) => {
            text[1..text.len() - 1].to_owned()
        }
        (
            Some(Token::Sign(".")),
            Some(Token::Name(module)),
            Some(Token::Sign(".")),
            Some(Token::Name(function)),
        ) => format!("{module}.{function}"),
        _ => "*".to_owned(),
    }
}

/// The end of a `raw` block that begins here.
fn raw_end(text: &str) -> Option<usize> {
    let mut at = 0;
    while let Some(found) = text[at..].find("{%") {
        let tag = at + found + 2;
        let inner = text[tag..].trim_start_matches(['-', '+']).trim_start();
        if inner.starts_with("endraw") {
            return text[tag..].find("%}").map(|end| tag + end + 2);
        }
        at = tag;
    }
    None
}

fn is_known_tag(tag: &str) -> bool {
    matches!(
        tag,
        "if" | "elif"
            | "else"
            | "endif"
            | "for"
            | "endfor"
            | "set"
            | "endset"
            | "do"
            | "with"
            | "endwith"
            | "macro"
            | "endmacro"
            | "call"
            | "endcall"
            | "filter"
            | "endfilter"
            | "include"
            | "import"
            | "from"
            | "extends"
            | "block"
            | "endblock"
            | "break"
            | "continue"
            | "autoescape"
            | "endautoescape"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(source: &str, expected: &str) {
        assert_eq!(prepare(source).text, expected, "{source}");
    }

    #[test]
    fn lists_and_mappings_in_templates_can_be_changed() {
        check("{% set x = [] %}", "{% set x = _list([]) %}");
        check(
            "{{ {'a': [1, b[0]]} }}",
            "{{ _dict({'a': _list([1, b[0]])}) }}",
        );
        check("{{ x[1:2][0] }}", "{{ x[1:2][0] }}");
        check(
            "{% for x in [1] if x not in [2] %}",
            "{% for x in _list([1]) if x not in _list([2]) %}",
        );
        check("a: [1] {{ b }} {c: d}", "a: [1] {{ b }} {c: d}");
    }

    #[test]
    fn percent_formats_text() {
        check(
            "{{ '%s-%s' % (a, b.c[0]) ~ 'x' }}",
            "{{ '%s-%s' |_percent( (a, b.c[0])) ~ 'x' }}",
        );
        check("{{ '%s' % data.id }}", "{{ '%s' |_percent( data.id) }}");
        check(
            "{{ '%s' % x|upper == 'A' }}",
            "{{ '%s' |_percent( x|upper) == 'A' }}",
        );
        check("{{ 7 % 2 }}", "{{ 7 % 2 }}");
        check("{% set x = '%s' % y %}", "{% set x = '%s' |_percent( y) %}");
    }

    #[test]
    fn salts_own_tags_become_set() {
        check(
            "{%- load_yaml as x -%}\na: 1\n{%- endload -%}",
            "{%- set _text_of_x -%}\na: 1\n{%- endset %}{% set x = _text_of_x | load_yaml -%}",
        );
        check(
            "{% import_yaml 'map.yaml' as map with context %}",
            "{% set map = _import_yaml( 'map.yaml') %}",
        );
    }

    #[test]
    fn raw_text_and_comments_stay() {
        let text = "{% raw %}{{ [] }}{% endraw %}{# [] {{ #}[";
        check(text, text);
    }

    #[test]
    fn what_a_template_uses_is_noted_with_its_line() {
        let source = "{{ a | json }}\n{% if b is not match('x') and salt['cmd.run']('id') %}\n{{ salt.pillar.get('x')|d }}{% frob %}";
        let uses = prepare(source).uses;
        let uses: Vec<_> = uses
            .iter()
            .map(|one| (one.what, &*one.name, one.line))
            .collect();
        assert_eq!(
            uses,
            [
                (What::Filter, "json", 1),
                (What::Test, "match", 2),
                (What::Function, "cmd.run", 2),
                (What::Function, "pillar.get", 3),
                (What::Filter, "d", 3),
                (What::Tag, "frob", 3),
            ]
        );
    }

    #[test]
    fn broken_templates_are_left_for_the_engine_to_refuse() {
        for text in ["{{ 'a", "{% if", "{{ (", "{{", "{%", "{% raw %}", "{#"] {
            let _ = prepare(text);
        }
    }
}
