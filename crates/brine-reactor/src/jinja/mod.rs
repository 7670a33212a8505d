//! Jinja as Salt's reactions use it.
//!
//! The engine is minijinja. This module adds what it lacks: Python's lists and dictionaries, which a template can
//! change, their methods and those of strings, Salt's filters and tags. [`examine`] says before anything runs what a
//! template uses that is not here; real Salt must render such a file. Templates are limited in their steps and their
//! memory, and do no I/O: the caller passes in what they include.

mod base64;
mod dates;
mod filters;
mod format;
mod hashes;
mod methods;
mod prepare;
mod salt;
mod tokens;
mod values;
mod yaml_text;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, LazyLock, Mutex};

use brine_wire::Value as Data;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Value;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior};

pub use salt::Surroundings;

use self::prepare::What;
use self::values::{begin, text, to_template};
use crate::react::lock;

/// How many steps a template may take: some tenths of a second.
const FUEL: u64 = 1_000_000;
/// How deep templates may include each other and macros call themselves.
const RECURSION: usize = 100;

/// How much stack a thread needs that renders, in bytes: a template's steps are enough to put a hundred thousand lists
/// into each other, which are given back one within the other. What is not used costs nothing.
pub const STACK_BYTES: usize = 256 << 20;

/// A template that cannot be rendered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct JinjaError {
    /// The line, if it is known.
    pub line: Option<usize>,
    /// What is wrong.
    pub message: String,
}

/// Something in a template that is not here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// Its line.
    pub line: usize,
    /// What it is, such as ``filter `ipaddr` ``.
    pub what: String,
}

/// Finds the text of an included template by its name.
pub type Include = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// Templates that were read, and what they are rendered with.
pub struct Jinja {
    env: Environment<'static>,
    /// The names of the templates that were added.
    prepared: HashSet<String>,
    /// Texts that are not Jinja.
    plain: HashMap<String, String>,
    /// Templates that others have included: their names, since they were last forgotten.
    included: Arc<Mutex<HashSet<String>>>,
}

impl Jinja {
    /// Without templates yet.
    #[must_use]
    pub fn new(around: &Arc<Surroundings>, include: &Include) -> Self {
        let mut env = engine();
        env.set_syntax(syntax(around));
        let loader = Arc::clone(include);
        let included: Arc<Mutex<HashSet<String>>> = Arc::default();
        let noted = Arc::clone(&included);
        env.set_loader(move |name| {
            lock(&noted).insert(name.to_owned());
            Ok(loader(name).map(|text| prepare::prepare(&text).text))
        });
        for (name, reader) in [
            (
                "_import_yaml",
                filters::load_yaml as fn(&str) -> Result<Value, Error>,
            ),
            ("_import_json", filters::load_json),
            ("_import_text", |text: &str| Ok(Value::from(text))),
        ] {
            let include = Arc::clone(include);
            env.add_function(name, move |path: &str| match include(path) {
                Some(text) => reader(&text),
                None => Err(Error::new(
                    ErrorKind::TemplateNotFound,
                    format!("{path}: not in file_roots"),
                )),
            });
        }
        env.add_global("salt", salt::Salt::of(Arc::clone(around)));
        env.add_global("__salt__", salt::Salt::of(Arc::clone(around)));
        for (name, map) in [
            ("opts", &around.opts),
            ("__opts__", &around.opts),
            ("grains", &around.grains),
            ("__grains__", &around.grains),
            ("pillar", &around.pillar),
            ("__pillar__", &around.pillar),
        ] {
            env.add_global(name, to_template(&Data::from(map.clone())));
        }
        env.add_global("sls", "");
        env.add_global("saltenv", "base");
        Self {
            env,
            prepared: HashSet::new(),
            plain: HashMap::new(),
            included,
        }
    }

    /// Reads a template, or reads it again.
    ///
    /// # Errors
    /// [`JinjaError`] for one that is not Jinja.
    pub fn add(&mut self, name: &str, source: &str) -> Result<(), JinjaError> {
        let prepared = prepare::prepare(source).text;
        self.plain.remove(name);
        self.prepared.remove(name);
        // What it includes may have changed, too.
        self.refresh();
        let added = self.env.add_template_owned(name.to_owned(), prepared);
        added.map_err(|error| explain(&error))?;
        self.prepared.insert(name.to_owned());
        Ok(())
    }

    /// A text that is not to be rendered, under a template's name.
    pub fn add_text(&mut self, name: &str, text: &str) {
        self.plain.insert(name.to_owned(), text.to_owned());
    }

    /// Forgets what templates have included.
    pub fn refresh(&mut self) {
        for name in lock(&self.included).drain() {
            if !self.prepared.contains(&name) {
                self.env.remove_template(&name);
            }
        }
    }

    /// Renders a template for an event.
    ///
    /// # Errors
    /// [`JinjaError`].
    pub fn render(&self, name: &str, tag: &str, data: &Data) -> Result<String, JinjaError> {
        if let Some(text) = self.plain.get(name) {
            return Ok(text.clone());
        }
        let context = Value::from_pairs([("tag", Value::from(tag)), ("data", to_template(data))]);
        begin();
        let template = self.env.get_template(name);
        let rendered = template.and_then(|template| template.render(context));
        rendered.map_err(|error| explain(&error))
    }

    /// The value of one expression for an event, as text.
    ///
    /// # Errors
    /// [`JinjaError`].
    pub fn evaluate(&self, expression: &str, tag: &str, data: &Data) -> Result<String, JinjaError> {
        let prepared = prepare::prepare(&format!("{{{{ {expression} }}}}")).text;
        let context = Value::from_pairs([("tag", Value::from(tag)), ("data", to_template(data))]);
        begin();
        let rendered = self.env.render_named_str("expression", &prepared, context);
        rendered.map_err(|error| explain(&error))
    }
}

impl std::fmt::Debug for Jinja {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Jinja").finish_non_exhaustive()
    }
}

/// What a template uses that is not here, and whether it is Jinja at all.
///
/// # Errors
/// [`JinjaError`] for one that is not Jinja.
pub fn examine(source: &str) -> Result<Vec<Missing>, JinjaError> {
    static ENGINE: LazyLock<Environment<'static>> = LazyLock::new(engine);
    let prepared = prepare::prepare(source);
    let missing = prepared.uses.into_iter().filter_map(|used| {
        let name = &used.name;
        let (is_here, what) = match used.what {
            What::Filter => (has_filter(&ENGINE, name), format!("filter `{name}`")),
            What::Test => (has_test(&ENGINE, name), format!("test `{name}`")),
            What::Function if name == "*" => {
                (false, "salt[…] with a name made by the template".to_owned())
            }
            What::Function => (salt::is_native(name), format!("salt['{name}']")),
            What::Tag => (false, format!("tag `{name}`")),
        };
        (!is_here).then_some(Missing {
            line: used.line,
            what,
        })
    });
    let missing: Vec<_> = missing.collect();
    // A tag that the engine does not know is a fault of its syntax to it.
    if missing.is_empty() {
        let parsed = ENGINE.template_from_named_str("template", &prepared.text);
        parsed.map_err(|error| explain(&error))?;
    }
    Ok(missing)
}

fn has_filter(env: &Environment<'_>, name: &str) -> bool {
    answers(env, &format!("{{{{ '{name}' is filter }}}}"))
}

fn has_test(env: &Environment<'_>, name: &str) -> bool {
    answers(env, &format!("{{{{ '{name}' is test }}}}"))
}

fn answers(env: &Environment<'_>, question: &str) -> bool {
    env.render_str(question, ())
        .is_ok_and(|answer| answer == "True")
}

fn engine() -> Environment<'static> {
    let mut env = Environment::new();
    env.set_undefined_behavior(UndefinedBehavior::Strict);
    env.set_auto_escape_callback(|_| AutoEscape::None);
    env.set_fuel(Some(FUEL));
    env.set_recursion_limit(RECURSION);
    env.set_debug(true);
    env.set_unknown_method_callback(methods::of_other);
    env.set_formatter(|out, _, value| {
        out.write_str(&text(value)?)
            .map_err(|_| Error::new(ErrorKind::WriteFailure, "cannot write"))
    });
    filters::add_to(&mut env);
    env
}

/// `jinja_trim_blocks`, `jinja_lstrip_blocks`, and the same in `jinja_sls_env`.
fn syntax(around: &Surroundings) -> SyntaxConfig {
    let opts = &around.opts;
    let of_files = opts.get("jinja_sls_env").and_then(Data::as_map);
    let is_on = |option: &str, name: &str| {
        opts.get(option).is_some_and(Data::is_true)
            || of_files
                .and_then(|map| map.get(name))
                .is_some_and(Data::is_true)
    };
    SyntaxConfig::builder()
        .trim_blocks(is_on("jinja_trim_blocks", "trim_blocks"))
        .lstrip_blocks(is_on("jinja_lstrip_blocks", "lstrip_blocks"))
        .build()
        .unwrap_or_default()
}

/// The engine's error in one line.
fn explain(error: &Error) -> JinjaError {
    let detail = error.detail().map(str::to_owned);
    let message = match (error.kind(), detail) {
        (ErrorKind::UndefinedError, detail) => {
            format!(
                "Jinja variable {}",
                detail.unwrap_or_else(|| "is undefined".to_owned())
            )
        }
        (ErrorKind::OutOfFuel, _) => {
            format!("it takes more than {FUEL} steps; is a loop endless, or a text very long?")
        }
        (kind, Some(detail)) => format!("{kind}: {detail}"),
        (kind, None) => kind.to_string(),
    };
    // What is wrong in an included file.
    let cause = std::error::Error::source(error).and_then(<dyn std::error::Error>::downcast_ref);
    let message = match cause.map(|cause: &Error| (cause, explain(cause))) {
        None => message,
        Some((cause, JinjaError { line, message: why })) => {
            let file = cause.name().unwrap_or_default();
            let line = line.map(|line| format!("{line}: ")).unwrap_or_default();
            format!("{message}: {file}:{line}{why}")
        }
    };
    JinjaError {
        line: error.line(),
        message,
    }
}

#[cfg(test)]
mod tests;
