//! `salt[…]` in a template: the few functions of Salt that need only what is known here.
//!
//! If a template calls any other function there, real Salt runs it, or the file is refused when it is loaded.

use std::sync::Arc;

use brine_wire::Map;
use minijinja::value::{Object, ObjectRepr, Rest, Value, from_args};
use minijinja::{Error, ErrorKind, State};

use super::values::{invalid, text, to_template};

/// What templates can know of where they run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Surroundings {
    /// The node's options, `opts`.
    pub opts: Map,
    /// The grains of the machine, `grains`.
    pub grains: Map,
    /// The pillar: a minion's own; a master has none.
    pub pillar: Map,
    /// The variables of the process.
    pub environment: Vec<(String, String)>,
}

/// Whether `salt[name]` can be called without Salt.
pub(super) fn is_native(name: &str) -> bool {
    level(name).is_some()
        || matches!(
            name,
            "environ.get" | "pillar.get" | "grains.get" | "config.get" | "config.option"
        )
}

fn level(name: &str) -> Option<tracing::Level> {
    use tracing::Level;
    Some(match name.strip_prefix("log.")? {
        "critical" | "error" | "exception" => Level::ERROR,
        "warning" | "warn" => Level::WARN,
        "info" => Level::INFO,
        "debug" => Level::DEBUG,
        _ => return None,
    })
}

/// `salt`, `salt.module`, and `salt['module.function']`.
#[derive(Debug)]
pub(super) struct Salt {
    name: String,
    around: Arc<Surroundings>,
}

impl Salt {
    pub(super) fn of(around: Arc<Surroundings>) -> Value {
        Value::from_object(Self {
            name: String::new(),
            around,
        })
    }

    fn inner(&self, name: &str) -> Self {
        let dot = if self.name.is_empty() { "" } else { "." };
        Self {
            name: format!("{}{dot}{name}", self.name),
            around: Arc::clone(&self.around),
        }
    }

    fn run(&self, args: &[Value]) -> Result<Value, Error> {
        if let Some(level) = level(&self.name) {
            let (message, more): (&Value, Rest<Value>) = from_args(args)?;
            let message = text(message)?;
            drop(more); // what a format would take
            match level {
                tracing::Level::ERROR => tracing::error!("reaction: {message}"),
                tracing::Level::WARN => tracing::warn!("reaction: {message}"),
                tracing::Level::INFO => tracing::info!("reaction: {message}"),
                _ => tracing::debug!("reaction: {message}"),
            }
            return Ok(Value::from(true));
        }
        let (key, default, _): (&str, Option<Value>, Rest<Value>) = from_args(args)?;
        let around = &self.around;
        let found = match &*self.name {
            "environ.get" => {
                let mut all = around.environment.iter();
                all.find(|(name, _)| name == key)
                    .map(|(_, value)| Value::from(value.as_str()))
            }
            "pillar.get" => traverse(&around.pillar, key),
            "grains.get" => traverse(&around.grains, key),
            "config.get" | "config.option" => traverse(&around.opts, key)
                .or_else(|| traverse(&around.grains, key))
                .or_else(|| traverse(&around.pillar, key)),
            name => {
                return Err(Error::new(
                    ErrorKind::UnknownFunction,
                    format!("salt['{name}'] is not available here"),
                ));
            }
        };
        Ok(found.or(default).unwrap_or_else(|| Value::from("")))
    }
}

/// The value under `a:b:c`.
fn traverse(map: &Map, path: &str) -> Option<Value> {
    if let Some(value) = map.get(path) {
        return Some(to_template(value));
    }
    let mut parts = path.split(':');
    let mut value = map.get(parts.next()?)?;
    for part in parts {
        value = match value.as_array() {
            Some(items) => items.get(part.parse::<usize>().ok()?)?,
            None => value.as_map()?.get(part)?,
        };
    }
    Some(to_template(value))
}

impl Object for Salt {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        Some(Value::from_object(self.inner(key.as_str()?)))
    }

    fn call(self: &Arc<Self>, _state: &mut State<'_, '_>, args: &[Value]) -> Result<Value, Error> {
        match self.name.contains('.') {
            true => self.run(args),
            false => Err(invalid(format!(
                "salt.{} is a module; call one of its functions",
                self.name
            ))),
        }
    }

    fn call_method(
        self: &Arc<Self>,
        _state: &mut State<'_, '_>,
        method: &str,
        args: &[Value],
    ) -> Result<Value, Error> {
        self.inner(method).run(args)
    }
}
