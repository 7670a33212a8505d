//! From a rendered reaction file to single reactions: what Salt's state compiler does with reactions.
//!
//! Pure. The rules are Salt's (`salt.state.Compiler` of 3008.3), with one intended difference: reactions run in the
//! order in which they are written, not in the alphabetical order of their kinds and names.

use brine_wire::{Map, Value, python_text};

use crate::order::{Chunk, in_order};

/// One reaction, before its arguments are looked at.
#[derive(Debug, Clone, PartialEq)]
pub struct Low {
    /// The ID it stands under.
    pub id: String,
    /// The file it is in.
    pub sls: String,
    /// `local`, `runner`, `wheel` or `caller`; `cmd` has become `local`.
    pub kind: String,
    /// `module.function`
    pub fun: String,
    /// Everything in its list.
    pub args: Map,
    /// `names:` gives one reaction for each.
    pub name: String,
}

/// A file, rendered and read as YAML.
#[derive(Debug, Clone, PartialEq)]
pub struct Rendered {
    /// The file's name.
    pub sls: String,
    /// What it holds.
    pub high: Value,
}

/// What a file, or several that react to the same event together, says to do.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Compiled {
    /// In the order in which they are to run.
    pub reactions: Vec<Low>,
    /// Files that were left out, and things that have no effect.
    pub warnings: Vec<String>,
}

/// Why none of the reactions to an event can run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("; "))]
pub struct CompileErrors(pub Vec<String>);

/// Compiles the files that react to one event.
///
/// # Errors
/// [`CompileErrors`]: then none of them runs, as in Salt.
pub fn compile(files: Vec<Rendered>) -> Result<Compiled, CompileErrors> {
    let mut compiled = Compiled::default();
    let mut high: Vec<Declaration> = Vec::new();
    for file in files {
        match declarations(&file) {
            Ok(declared) => {
                for declaration in declared {
                    // A later file's ID takes the place of an earlier one's.
                    match high.iter_mut().find(|own| own.id == declaration.id) {
                        Some(own) => {
                            compiled.warnings.push(format!(
                                "ID {:?} of {} replaces that of {}",
                                own.id, declaration.sls, own.sls
                            ));
                            *own = declaration;
                        }
                        None => high.push(declaration),
                    }
                }
            }
            Err(why) => compiled
                .warnings
                .push(format!("{}: {why}; the file is left out", file.sls)),
        }
    }
    let mut errors = Vec::new();
    for declaration in &mut high {
        declaration.pad(&mut compiled.warnings);
        declaration.verify(&mut errors);
    }
    if !errors.is_empty() {
        return Err(CompileErrors(errors));
    }
    let mut chunks = Vec::new();
    for declaration in &high {
        declaration.chunks(&mut chunks);
    }
    compiled.reactions = in_order(chunks)?;
    Ok(compiled)
}

/// One ID with its contents.
#[derive(Debug)]
struct Declaration {
    id: Value,
    sls: String,
    body: Vec<(String, Value)>,
}

/// The IDs of a file. Where Salt fails with an exception, the file is left out.
fn declarations(file: &Rendered) -> Result<Vec<Declaration>, String> {
    let high = match &file.high {
        Value::Map(high) => high,
        nothing if !nothing.is_true() => return Ok(Vec::new()),
        other => {
            let found = python_text::class_name(other);
            return Err(format!("expected a mapping of IDs, found {found}"));
        }
    };
    let mut all = Vec::new();
    for (id, body) in high {
        let body = match body {
            Value::Map(body) => {
                let mut own = Vec::new();
                for (key, value) in body {
                    let key = key.as_str().ok_or_else(|| {
                        format!(
                            "ID {}: expected a function, found {}",
                            shown(id),
                            shown(key)
                        )
                    })?;
                    own.push((key.to_owned(), value.clone()));
                }
                own
            }
            Value::Str(short) => match short.split_once('.') {
                Some((kind, fun)) => vec![(kind.to_owned(), Value::from(vec![fun.into()]))],
                None => {
                    return Err(format!(
                        "ID {}: expected a function, found {short:?}",
                        shown(id)
                    ));
                }
            },
            other => {
                let found = python_text::class_name(other);
                return Err(format!(
                    "ID {}: expected a function with its arguments, found {found}",
                    shown(id)
                ));
            }
        };
        all.push(Declaration {
            id: id.clone(),
            sls: file.sls.clone(),
            body,
        });
    }
    Ok(all)
}

fn shown(value: &Value) -> String {
    python_text::str(value)
}

impl Declaration {
    /// Makes `kind: [.., function]` of `kind.function: [..]`. Of several functions of one kind under one ID, the first
    /// in the alphabet runs, and the others never do.
    fn pad(&mut self, warnings: &mut Vec<String>) {
        let mut keys: Vec<String> = self.body.iter().map(|(key, _)| key.clone()).collect();
        keys.sort();
        let mut taken: Vec<String> = Vec::new();
        for key in keys {
            let Some((own, items)) = self.body.iter_mut().find(|(own, _)| *own == key) else {
                continue;
            };
            let Value::Array(items) = items else { continue };
            if key.starts_with('_') {
                continue;
            }
            let Some((kind, fun)) = key.split_once('.') else {
                taken.push(key);
                continue;
            };
            if taken.iter().any(|taken| taken == kind) {
                warnings.push(format!(
                    "{}: ID {} has several {kind} functions, of which one runs; {key} does not: give it an ID of its own",
                    self.sls,
                    shown(&self.id)
                ));
                continue;
            }
            items.push(fun.into());
            kind.clone_into(own);
            taken.push(own.clone());
        }
    }

    fn verify(&self, errors: &mut Vec<String>) {
        let id = shown(&self.id);
        let sls = &self.sls;
        if self.id.as_str().is_none() {
            let found = python_text::class_name(&self.id);
            errors.push(format!(
                "expected a text as name of a reaction in '{sls}', found {id} ({found}): put it in quotes"
            ));
        }
        for (state, items) in self
            .body
            .iter()
            .filter(|(state, _)| !state.starts_with("__"))
        {
            let items = match items {
                Value::Array(items) => items,
                Value::Nil => {
                    errors.push(format!(
                        "reaction '{id}' in '{sls}': nothing follows '{state}:'; add arguments, or remove the colon"
                    ));
                    continue;
                }
                _ => {
                    errors.push(format!(
                        "reaction '{id}' in '{sls}': expected a list of arguments below '{state}', found {}",
                        python_text::class_name(items)
                    ));
                    continue;
                }
            };
            let named = items.iter().filter_map(Value::as_str);
            for function in named.clone().filter(|name| name.trim().contains(' ')) {
                errors.push(format!(
                    "reaction '{id}' in '{sls}': '{function}' is not a function; if it is an argument, write a colon after its name"
                ));
            }
            match named.count() + usize::from(state.contains('.')) {
                0 if state == "require" || state.is_empty() => {}
                0 => errors.push(format!(
                    "reaction '{id}' in '{sls}': '{state}' names no function, as 'local.test.ping' does"
                )),
                1 => {}
                _ => errors.push(format!(
                    "reaction '{id}' in '{sls}': '{state}' names more than one function"
                )),
            }
        }
    }

    /// The reactions under this ID.
    fn chunks(&self, chunks: &mut Vec<Chunk>) {
        let id = shown(&self.id);
        if id.starts_with("__") {
            return;
        }
        for (state, items) in self
            .body
            .iter()
            .filter(|(state, _)| !state.starts_with("__"))
        {
            let items = items.as_array().unwrap_or_default();
            let Some(fun) = items.iter().find_map(Value::as_str) else {
                continue;
            };
            let mut args = Map::new();
            let mut names = Vec::new();
            for item in items.iter().filter_map(Value::as_map) {
                for (key, value) in item {
                    match (key.as_str(), value) {
                        (Some("names"), Value::Array(own)) => names.extend(own.iter().cloned()),
                        (Some("names"), _) => {}
                        _ => args.insert(key.clone(), value.clone()),
                    }
                }
            }
            let low = Low {
                name: args.get("name").map_or_else(|| id.clone(), shown),
                id: id.clone(),
                sls: self.sls.clone(),
                kind: state.clone(),
                fun: fun.to_owned(),
                args,
            };
            if names.is_empty() {
                chunks.push(Chunk::of(low, 0));
                continue;
            }
            for (nth, name) in names.iter().enumerate() {
                let mut own = low.clone();
                let mut set_name = |name: &Value| own.name = shown(name);
                match name.as_map().and_then(|map| map.iter().next()) {
                    Some((name, more)) => {
                        set_name(name);
                        for (key, value) in more
                            .as_array()
                            .unwrap_or_default()
                            .iter()
                            .filter_map(Value::as_map)
                            .flatten()
                        {
                            own.args.insert(key.clone(), value.clone());
                        }
                    }
                    None => set_name(name),
                }
                chunks.push(Chunk::of(own, nth + 1));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use brine_config::yaml;

    use super::*;

    fn compiled(text: &str) -> Result<Compiled, CompileErrors> {
        compile(vec![Rendered {
            sls: "/srv/r.sls".to_owned(),
            high: yaml::load(text.as_bytes()).unwrap(),
        }])
    }

    fn order_of(text: &str) -> Vec<String> {
        let reactions = compiled(text).unwrap().reactions;
        reactions
            .iter()
            .map(|low| format!("{} {}.{}", low.id, low.kind, low.fun))
            .collect()
    }

    #[test]
    fn reactions_run_in_the_order_of_writing() {
        let text = "z:\n  runner.b.c: []\n  local.a.b:\n  - tgt: x\na:\n  cmd.x.y: []\n";
        assert_eq!(
            order_of(text),
            ["z runner.b.c", "z local.a.b", "a local.x.y"]
        );
    }

    #[test]
    fn order_is_honoured() {
        let text = "a:\n  local.a.b:\n  - order: last\nb:\n  local.a.b: []\nc:\n  local.a.b:\n  - order: 1\nd:\n  local.a.b:\n  - order: -1\n";
        assert_eq!(
            order_of(text),
            ["c local.a.b", "b local.a.b", "d local.a.b", "a local.a.b"]
        );
    }

    #[test]
    fn of_two_functions_of_a_kind_the_first_in_the_alphabet_runs() {
        let text = "a:\n  local.state.sls: []\n  local.cmd.run: []\n  cmd.test.ping: []\n";
        assert_eq!(order_of(text), ["a local.cmd.run", "a local.test.ping"]);
        let warnings = compiled(text).unwrap().warnings;
        assert!(
            warnings[0].contains("local.state.sls does not"),
            "{warnings:?}"
        );
    }

    #[test]
    fn short_forms_are_reactions_too() {
        assert_eq!(
            order_of("a: runner.jobs.active\nb:\n  runner:\n  - jobs.active\n"),
            ["a runner.jobs.active", "b runner.jobs.active"]
        );
    }

    #[test]
    fn names_give_a_reaction_each() {
        let text = "a:\n  local.test.echo:\n  - tgt: '*'\n  - names:\n    - x\n    - y:\n      - arg: [1]\n";
        let reactions = compiled(text).unwrap().reactions;
        let names: Vec<_> = reactions.iter().map(|low| low.name.as_str()).collect();
        assert_eq!(names, ["x", "y"]);
        assert!(reactions[1].args.get("arg").is_some());
    }

    #[test]
    fn one_fault_stops_all_reactions_to_the_event() {
        for (text, error) in [
            ("a:\n  local.x.y:\n", "remove the colon"),
            ("a:\n  local.x.y: {tgt: x}\n", "expected a list"),
            ("a:\n  local:\n  - tgt: x\n", "names no function"),
            ("1:\n  local.x.y: []\n", "put it in quotes"),
            ("a:\n  local.x.y:\n  - b c\n", "write a colon"),
            (
                "a:\n  local.x.y:\n  - require:\n    - local: b\n",
                "is not there",
            ),
            (
                "a:\n  local.x.y:\n  - require:\n    - local: a\n",
                "require each other",
            ),
        ] {
            let found = compiled(text).unwrap_err().to_string();
            assert!(found.contains(error), "{text}: {found}");
        }
    }

    #[test]
    fn required_reactions_go_first() {
        let text = "a:\n  local.x.y:\n  - require:\n    - runner: b\nb:\n  runner.x.y: []\n";
        assert_eq!(order_of(text), ["b runner.x.y", "a local.x.y"]);
    }

    #[test]
    fn a_file_that_is_no_mapping_is_left_out() {
        for text in ["[1]", "include: [x]", "a: b"] {
            let compiled = compiled(text).unwrap();
            assert!(compiled.reactions.is_empty());
            assert_eq!(compiled.warnings.len(), 1, "{text}");
        }
        assert!(compiled("").unwrap().warnings.is_empty());
    }
}
