//! What one rule does about one event: finds, renders and compiles its files.

use std::path::Path;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};

use brine_wire::Value;

use crate::call::{self, Call};
use crate::files::{Files, Renderer};
use crate::low::{self, Low, Rendered};
use crate::problem::Problem;
use crate::rules::Rule;

/// A future in a box, as traits that are used through `dyn` have them.
pub type Future<'a, T> = Pin<Box<dyn std::future::Future<Output = T> + Send + 'a>>;

/// Makes the calls of reactions, and has real Salt.
pub trait Execute: Send + Sync + 'static {
    /// Makes a call; what it returned, or why it failed. Dropping the future gives it up.
    fn call<'a>(&'a self, call: &'a Call) -> Future<'a, Result<Value, String>>;

    /// Has real Salt render a file, and reads it as YAML.
    fn render<'a>(
        &'a self,
        file: &'a Path,
        tag: &'a str,
        data: &'a Value,
    ) -> Future<'a, Result<Value, String>>;
}

/// A reaction to an event.
#[derive(Debug, Clone, PartialEq)]
pub struct Reaction {
    /// Where it comes from.
    pub low: Low,
    /// What it calls.
    pub call: Result<Call, Problem>,
}

/// What a rule does about an event.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Reacted {
    /// In the order in which they are to run.
    pub reactions: Vec<Reaction>,
    /// What was left out, and why; warnings too.
    pub problems: Vec<Problem>,
}

/// What a rule does about an event. Nothing is called.
pub async fn react(
    rule: &Rule,
    files: &Mutex<Files>,
    salt: &dyn Execute,
    tag: &str,
    data: &Value,
) -> Reacted {
    let mut reacted = Reacted::default();
    let mut rendered = Vec::new();
    for reference in &rule.files {
        let found = lock(files).find(reference);
        match found {
            Err(problem) => reacted.problems.push(problem),
            Ok(paths) => {
                for path in paths {
                    match render(&path, files, salt, tag, data).await {
                        Ok(file) => rendered.push(file),
                        Err(problems) => reacted.problems.extend(problems),
                    }
                }
            }
        }
    }
    let last = rule.files.last().map_or("reactor", String::as_str);
    match low::compile(rendered) {
        Ok(compiled) => {
            let warnings = compiled.warnings.into_iter();
            reacted
                .problems
                .extend(warnings.map(|text| Problem::warning(last, None, text)));
            reacted.reactions = compiled.reactions.into_iter().map(reaction).collect();
        }
        Err(errors) => reacted
            .problems
            .push(Problem::error(last, None, errors.to_string())),
    }
    for reaction in &reacted.reactions {
        let warnings = call::without_effect(&reaction.low).into_iter();
        let sls = &reaction.low.sls;
        reacted
            .problems
            .extend(warnings.map(|text| Problem::warning(sls, None, text)));
    }
    reacted
}

async fn render(
    path: &Path,
    files: &Mutex<Files>,
    salt: &dyn Execute,
    tag: &str,
    data: &Value,
) -> Result<Rendered, Vec<Problem>> {
    let renderer = lock(files).renderer(path);
    match renderer {
        Renderer::Native | Renderer::Plain => {
            let rendered = lock(files).render(path, tag, data);
            rendered.map_err(|problem| vec![problem])
        }
        Renderer::Refused(problems) => Err(problems),
        Renderer::Salt(_) => {
            let sls = path.to_string_lossy().into_owned();
            match salt.render(path, tag, data).await {
                Ok(high) => Ok(Rendered { sls, high }),
                Err(why) => Err(vec![Problem::error(sls, None, why)]),
            }
        }
    }
}

fn reaction(low: Low) -> Reaction {
    let call = call::call(&low)
        .map_err(|bad| Problem::error(bad.sls, None, format!("ID {}: {}", bad.id, bad.fault)));
    Reaction { low, call }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
