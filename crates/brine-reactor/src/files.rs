//! Reaction files: found, read, examined, and read again when they change.
//!
//! A file is rendered here if everything it uses is built in. Otherwise real Salt renders it, if there is one; else
//! the file is refused, with the line and the name of what is missing. [`crate::react`] puts together the reactions
//! to an event.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use brine_config::{glob_files, yaml};
use brine_wire::Value;

use crate::jinja::{self, Include, Jinja, Surroundings};
use crate::low::Rendered;
use crate::problem::Problem;
use crate::scan;

/// The largest reaction file, in bytes.
const MAX_BYTES: u64 = 1 << 20;
/// What is said of a directory, a pipe or a device.
pub(crate) const NO_FILE: &str = "not a regular file";
/// How often files that others include are looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Where a function can run that a reaction names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Available {
    /// In this program, or on minions.
    Here,
    /// By real Salt on this machine.
    BySalt,
    /// Nowhere.
    Nowhere,
    /// It must not be called from here, for this reason.
    Refused(&'static str),
}

/// Tells where a function can run, by its kind (`runner`) and name.
pub type Functions = Arc<dyn Fn(&str, &str) -> Available + Send + Sync>;

/// What reaction files are read with.
#[derive(Clone)]
pub struct FilesConfig {
    /// What templates know.
    pub around: Arc<Surroundings>,
    /// The directories of `salt://`, best first.
    pub roots: Vec<PathBuf>,
    /// Salt's `renderer` option.
    pub renderer: String,
    /// Why real Salt cannot render; `None` if it can.
    pub no_salt: Option<String>,
    /// Where functions can run.
    pub functions: Functions,
}

/// The reaction files that were read.
pub struct Files {
    config: FilesConfig,
    jinja: Jinja,
    known: HashMap<PathBuf, Known>,
    included_at: Instant,
}

/// A file as it was when it was read.
struct Known {
    stamp: Stamp,
    renderer: Renderer,
    /// Whether it may include others.
    includes: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
}

/// Who renders a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Renderer {
    /// This crate.
    Native,
    /// Nobody: it is YAML alone.
    Plain,
    /// Real Salt, because of these things.
    Salt(Vec<Problem>),
    /// It cannot be rendered, because of these.
    Refused(Vec<Problem>),
}

impl Files {
    /// Without files yet.
    #[must_use]
    pub fn new(config: FilesConfig) -> Self {
        let roots = config.roots.clone();
        let include: Include = Arc::new(move |name| included(&roots, name));
        Self {
            jinja: Jinja::new(&config.around, &include),
            config,
            known: HashMap::new(),
            included_at: Instant::now(),
        }
    }

    /// The paths of a reference: those a pattern matches, sorted, or the file of `salt://…`.
    ///
    /// # Errors
    /// [`Problem`] if there is none.
    pub fn find(&self, reference: &str) -> Result<Vec<PathBuf>, Problem> {
        let found: Vec<PathBuf> = match reference.strip_prefix("salt://") {
            Some(path) => {
                let path = path.split('?').next().unwrap_or_default();
                let is_inside = !Path::new(path)
                    .components()
                    .any(|part| part.as_os_str() == "..");
                let mut roots = self.config.roots.iter().map(|root| root.join(path));
                roots
                    .find(|path| is_inside && path.is_file())
                    .into_iter()
                    .collect()
            }
            None => glob_files(reference)
                .into_iter()
                .map(PathBuf::from)
                .collect(),
        };
        match found.is_empty() {
            false => Ok(found),
            true => Err(Problem::error(reference, None, "no such file")),
        }
    }

    /// What renders a file, which is read again if it has changed. What it needs is logged each time it is read.
    pub fn renderer(&mut self, path: &Path) -> Renderer {
        let before = self.known.get(path).map(|known| known.stamp);
        let renderer = self.look(path);
        if self.known.get(path).map(|known| known.stamp) != before {
            report(&path.to_string_lossy(), &renderer);
        }
        renderer
    }

    /// The same without a log.
    pub(crate) fn look(&mut self, path: &Path) -> Renderer {
        let name = path.to_string_lossy().into_owned();
        let stamp = match fs::metadata(path) {
            // Reading a pipe would wait for ever, and with it every rule.
            Ok(metadata) if !metadata.is_file() => {
                self.known.remove(path);
                return Renderer::Refused(vec![Problem::error(&name, None, NO_FILE)]);
            }
            Ok(metadata) => Stamp {
                inode: metadata.ino(),
                bytes: metadata.len(),
                modified: (metadata.mtime(), metadata.mtime_nsec()),
            },
            Err(error) => {
                self.known.remove(path);
                return Renderer::Refused(vec![Problem::error(&name, None, error.to_string())]);
            }
        };
        if let Some(known) = self.known.get(path).filter(|known| known.stamp == stamp) {
            let renderer = known.renderer.clone();
            if known.includes && self.included_at.elapsed() > LOOK_AGAIN {
                self.jinja.refresh();
                self.included_at = Instant::now();
            }
            return renderer;
        }
        let (renderer, includes) = match self.read(path, &name, stamp.bytes) {
            Ok(read) => read,
            Err(problems) => (Renderer::Refused(problems), false),
        };
        let known = Known {
            stamp,
            renderer: renderer.clone(),
            includes,
        };
        self.known.insert(path.to_owned(), known);
        renderer
    }

    fn read(
        &mut self,
        path: &Path,
        name: &str,
        bytes: u64,
    ) -> Result<(Renderer, bool), Vec<Problem>> {
        let problem = |line, text: String| vec![Problem::error(name, line, text)];
        if bytes > MAX_BYTES {
            return Err(problem(
                None,
                format!("{bytes} bytes are over the limit of {MAX_BYTES}"),
            ));
        }
        let source = fs::read(path).map_err(|error| problem(None, error.to_string()))?;
        let source = String::from_utf8(source);
        let source = source.map_err(|_| problem(None, "expected UTF-8 text".to_owned()))?;
        let faults = scan::faults(
            name,
            &source,
            &self.config.functions,
            self.config.no_salt.as_deref(),
        );
        if !faults.is_empty() {
            return Err(faults);
        }
        let renderer = source
            .lines()
            .next()
            .and_then(|line| line.strip_prefix("#!"));
        let renderer = renderer.map_or(&*self.config.renderer, str::trim);
        let missing = match renderer.replace(' ', "").as_str() {
            "yaml" => return Ok((self.plain(name, &source), false)),
            "jinja|yaml" => {
                let missing = jinja::examine(&source);
                missing.map_err(|error| problem(error.line, error.message))?
            }
            other => vec![jinja::Missing {
                line: 1,
                what: format!("renderer {other:?}"),
            }],
        };
        if !missing.is_empty() {
            return Ok((self.foreign(name, missing), false));
        }
        let added = self.jinja.add(name, &source);
        added.map_err(|error| problem(error.line, error.message))?;
        let includes = ["include", "import", "extends", "from "]
            .iter()
            .any(|tag| source.contains(tag));
        Ok((Renderer::Native, includes))
    }

    /// A file without Jinja.
    fn plain(&mut self, name: &str, source: &str) -> Renderer {
        self.jinja.add_text(name, source);
        Renderer::Plain
    }

    /// A file that needs what is not here.
    fn foreign(&self, name: &str, missing: Vec<jinja::Missing>) -> Renderer {
        let problem = |missing: jinja::Missing| match &self.config.no_salt {
            None => Problem::warning(
                name,
                Some(missing.line),
                format!("{} is not built in", missing.what),
            ),
            Some(why) => Problem::error(
                name,
                Some(missing.line),
                format!(
                    "{} is not built in, and real Salt cannot render the file: {why}",
                    missing.what
                ),
            ),
        };
        let problems = missing.into_iter().map(problem).collect();
        match self.config.no_salt {
            None => Renderer::Salt(problems),
            Some(_) => Renderer::Refused(problems),
        }
    }

    /// Renders a file for an event, and reads it as YAML.
    ///
    /// # Errors
    /// [`Problem`], with the line of the template or of the rendered text.
    pub fn render(&self, path: &Path, tag: &str, data: &Value) -> Result<Rendered, Problem> {
        let name = path.to_string_lossy();
        let text = self.jinja.render(&name, tag, data);
        let text = text.map_err(|error| Problem::error(&*name, error.line, error.message))?;
        read_rendered(&name, &text)
    }

    /// The text of a rendered file, for people who look.
    ///
    /// # Errors
    /// [`Problem`].
    pub fn render_text(&self, path: &Path, tag: &str, data: &Value) -> Result<String, Problem> {
        let name = path.to_string_lossy();
        let text = self.jinja.render(&name, tag, data);
        text.map_err(|error| Problem::error(&*name, error.line, error.message))
    }

    /// An expression for an event, as text.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn evaluate(&self, expression: &str, tag: &str, data: &Value) -> Result<String, String> {
        let value = self.jinja.evaluate(expression, tag, data);
        value.map_err(|error| error.message)
    }
}

impl std::fmt::Debug for Files {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Files")
            .field("known", &self.known.len())
            .finish_non_exhaustive()
    }
}

/// Logs once what a file needs, each time it is read.
fn report(name: &str, renderer: &Renderer) {
    match renderer {
        Renderer::Native | Renderer::Plain => {}
        Renderer::Salt(problems) => {
            let needed: Vec<_> = problems.iter().map(ToString::to_string).collect();
            tracing::info!(
                "{name} is rendered by real Salt, which takes longer: {}",
                needed.join("; ")
            );
        }
        Renderer::Refused(problems) => {
            for problem in problems {
                tracing::error!("reaction file refused: {problem}");
            }
        }
    }
}

/// Reads rendered text.
///
/// # Errors
/// [`Problem`] with the line of the text.
pub fn read_rendered(name: &str, text: &str) -> Result<Rendered, Problem> {
    let high = yaml::load(text.as_bytes()).map_err(|error| {
        Problem::error(
            name,
            None,
            format!("the rendered text is not YAML: {error}"),
        )
    })?;
    Ok(Rendered {
        sls: name.to_owned(),
        high,
    })
}

/// The text of a file that a template includes, from the directories of `salt://`.
fn included(roots: &[PathBuf], name: &str) -> Option<String> {
    let name = name.strip_prefix("salt://").unwrap_or(name);
    let is_inside = !Path::new(name)
        .components()
        .any(|part| part.as_os_str() == "..");
    let mut files = roots
        .iter()
        .map(|root| root.join(name.trim_start_matches('/')));
    let path = files.find(|path| is_inside && path.is_file())?;
    let is_small = fs::metadata(&path).is_ok_and(|metadata| metadata.len() <= MAX_BYTES);
    fs::read_to_string(path).ok().filter(|_| is_small)
}
