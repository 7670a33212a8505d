//! Finds what is wrong with the reactor's rules and files before anything starts.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use brine_config::yaml;
use brine_wire::Value;

use crate::call;
use crate::files::{Files, FilesConfig, NO_FILE, Renderer};
use crate::jinja;
use crate::low::{self, Rendered};
use crate::problem::Problem;
use crate::rule_set::read_rules;
use crate::rules::{self, Rule};
use crate::scan;
use crate::throttle::ThrottleConfig;

/// Reads the value of `reactor`. `sources` are the configuration files that it may come from, with their texts, the one
/// that counts most first: errors name the line.
///
/// # Errors
/// A [`Problem`] for each entry that cannot be used.
pub fn rules(reactor: &Value, sources: &[(String, String)]) -> Result<Vec<Rule>, Vec<Problem>> {
    rules::parse(reactor).map_err(|faults| {
        let faults = faults.into_iter().map(|fault| {
            let (file, line) = locate(sources, fault.nth, fault.glob.as_deref());
            let option = match reactor {
                Value::Array(_) => format!("reactor[{}]", fault.nth),
                _ => "reactor".to_owned(),
            };
            Problem::error(file, line, fault.fault).of_option(&option)
        });
        faults.collect()
    })
}

/// Checks limits by key, `brine: {reactor: {throttle: …}}`. `rules` are those that there can be; `None` if they may change.
#[must_use]
pub fn check_throttles(
    throttles: &[(String, ThrottleConfig)],
    rules: Option<&[Rule]>,
    sources: &[(String, String)],
) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (glob, throttle) in throttles {
        let problem = |key: &[&str], text: String| {
            let path = [&["brine", "reactor", "throttle", glob], key].concat();
            let (file, line) = line_of(sources, &path);
            Problem::error(file, line, text).of_option(&path.join(": "))
        };
        if rules.is_some_and(|rules| !rules.iter().any(|rule| rule.glob == *glob)) {
            let text = "no rule of reactor has this pattern".to_owned();
            problems.push(problem(&[], text));
        }
        let Some(key) = &throttle.key else { continue };
        match jinja::examine(&format!("{{{{ {key} }}}}")) {
            Ok(missing) => problems.extend(missing.into_iter().map(|missing| {
                problem(&["key"], format!("{key}: {} is not built in", missing.what))
            })),
            Err(error) => problems.push(problem(&["key"], format!("{key}: {}", error.message))),
        }
    }
    problems
}

/// Checks how many functions of a rule may run at once, `reactor_worker_threads`.
#[must_use]
pub fn check_workers(workers: Option<i64>, sources: &[(String, String)]) -> Option<Problem> {
    let few = workers.filter(|workers| *workers < 1)?;
    let option = "reactor_worker_threads";
    let (file, line) = line_of(sources, &[option]);
    let text = format!("expected a number from 1, found {few}");
    Some(Problem::error(file, line, text).of_option(option))
}

/// Reads the rules of the file that the option `reactor` names.
///
/// # Errors
/// [`Problem`]s: of the option if there is no such file, else of its lines.
pub fn rules_of_file(file: &str, sources: &[(String, String)]) -> Result<Vec<Rule>, Vec<Problem>> {
    let path = Path::new(file);
    let of_option = |text: String| {
        let (own, line) = line_of(sources, &["reactor"]);
        vec![Problem::error(own, line, text).of_option("reactor")]
    };
    if !path.is_absolute() {
        return Err(of_option(format!("{file}: expected an absolute path")));
    }
    match fs::metadata(path) {
        Err(error) => return Err(of_option(format!("{file}: {error}"))),
        Ok(metadata) if !metadata.is_file() => {
            return Err(of_option(format!("{file}: {NO_FILE}")));
        }
        Ok(_) => {}
    }
    read_rules(path)
}

/// The file and the line of an option, as deep as it is written there.
fn line_of(sources: &[(String, String)], keys: &[&str]) -> (String, Option<usize>) {
    let found = sources.iter().filter_map(|(file, text)| {
        let (depth, line) = yaml::line_of(text.as_bytes(), keys)?;
        Some((depth, file, line))
    });
    // Of equally deep ones the first: sources come with the one that counts most first.
    match found.reduce(|best, next| if next.0 > best.0 { next } else { best }) {
        Some((_, file, line)) => (file.clone(), Some(line)),
        None => {
            let file = sources.first().map_or("reactor", |(file, _)| file);
            (file.to_owned(), None)
        }
    }
}

/// Checks the files of rules. Reads them, runs nothing. `sources` are the files that the rules may come from.
#[must_use]
pub fn check_files(
    rules: &[Rule],
    config: &FilesConfig,
    sources: &[(String, String)],
) -> Vec<Problem> {
    let mut files = Files::new(config.clone());
    let mut problems = Vec::new();
    let mut seen = HashSet::new();
    for (nth, rule) in rules.iter().enumerate() {
        let mut found = Vec::new();
        for reference in &rule.files {
            match files.find(reference) {
                Ok(paths) => found.extend(paths),
                Err(problem) => {
                    let (file, line) = locate(sources, nth, Some(&rule.glob));
                    let option = format!("reactor: {}", rule.glob);
                    let text = format!("{reference}: {}", problem.text);
                    problems.push(Problem::error(file, line, text).of_option(&option));
                }
            }
        }
        if rule.files.is_empty() {
            let (file, line) = locate(sources, nth, Some(&rule.glob));
            let problem = Problem::warning(file, line, "it has no files, so nothing happens");
            problems.push(problem.of_option(&format!("reactor: {}", rule.glob)));
        }
        let is_alone = found.len() == 1;
        for path in found {
            if seen.insert(path.clone()) {
                problems.extend(check_file(&mut files, &path, is_alone));
            }
        }
    }
    problems
}

/// Checks a file. What one that has nothing to render says is known; `is_alone` if no other file reacts with it.
fn check_file(files: &mut Files, path: &Path, is_alone: bool) -> Vec<Problem> {
    let renderer = files.look(path);
    let mut problems = match &renderer {
        Renderer::Native | Renderer::Plain => Vec::new(),
        Renderer::Salt(own) => own.clone(),
        // It may be no text, or without an end.
        Renderer::Refused(own) => return own.clone(),
    };
    let name = path.to_string_lossy();
    let source = fs::read_to_string(path).unwrap_or_default();
    problems.extend(scan::warnings(&name, &source));
    let is_fixed = match renderer {
        Renderer::Plain => true,
        Renderer::Native => !["{{", "{%", "{#"].iter().any(|sign| source.contains(sign)),
        Renderer::Salt(_) | Renderer::Refused(_) => false,
    };
    if is_fixed {
        problems.extend(check_fixed(&name, &source, is_alone));
    }
    problems
}

fn check_fixed(name: &str, source: &str, is_alone: bool) -> Vec<Problem> {
    let high = match yaml::load(source.as_bytes()) {
        Ok(high) => high,
        Err(error) => {
            let text = format!("not YAML: {}", error.fault);
            return vec![Problem::error(name, Some(error.line), text)];
        }
    };
    let rendered = Rendered {
        sls: name.to_owned(),
        high,
    };
    let compiled = match low::compile(vec![rendered]) {
        Ok(compiled) => compiled,
        // What it requires may be in the other files.
        Err(_) if !is_alone => return Vec::new(),
        Err(errors) => return vec![Problem::error(name, None, errors.to_string())],
    };
    let warnings = compiled.warnings.into_iter();
    let warnings = warnings.map(|text| Problem::warning(name, None, text));
    let mut problems: Vec<_> = warnings.collect();
    for low in &compiled.reactions {
        if let Err(bad) = call::call(low) {
            let id = format!("{}:", bad.id);
            let mut lines = source.lines();
            let line = lines.position(|line| line.trim_matches(['\'', '"']).starts_with(&id));
            let text = format!("ID {}: {}", bad.id, bad.fault);
            problems.push(Problem::error(name, line.map(|line| line + 1), text));
        }
    }
    problems
}

/// The file and the line of an entry: that of the list's item below `reactor:`, else the first one that has its pattern.
fn locate(sources: &[(String, String)], nth: usize, glob: Option<&str>) -> (String, Option<usize>) {
    for (file, text) in sources {
        let mut lines = text.lines().enumerate();
        let mut content = text
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with(['#', '%']) && *line != "---");
        let is_list = content.next().is_some_and(|line| line.starts_with('-'));
        let top = match lines.find(|(_, line)| line.starts_with("reactor:")) {
            Some((top, _)) => top,
            // A file of rules may be the list alone.
            None if is_list => {
                lines = text.lines().enumerate();
                0
            }
            None => continue,
        };
        let below =
            lines.take_while(|(_, line)| line.is_empty() || line.starts_with([' ', '-', '#']));
        let below: Vec<_> = below.collect();
        let named = below
            .iter()
            .find(|(_, line)| glob.is_some_and(|glob| line.contains(glob)));
        let indent = |line: &str| line.len() - line.trim_start().len();
        let mut items = below
            .iter()
            .filter(|(_, line)| matches!(line.trim_start().split(' ').next(), Some("-")));
        let own = items.clone().next().map_or(0, |(_, line)| indent(line));
        let item = items
            .by_ref()
            .filter(|(_, line)| indent(line) == own)
            .nth(nth);
        let line = item.or(named).map_or(top, |(at, _)| *at);
        return (file.clone(), Some(line + 1));
    }
    let file = sources.first().map_or("reactor", |(file, _)| file);
    (file.to_owned(), None)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_rule_has_at_least_one_worker() {
        let sources = [(
            "/m".to_owned(),
            "id: m\nreactor_worker_threads: 0\n".to_owned(),
        )];
        let problem = check_workers(Some(0), &sources).unwrap();
        assert_eq!(
            problem.to_string(),
            "/m:2: reactor_worker_threads: expected a number from 1, found 0"
        );
        assert!(check_workers(Some(-3), &[]).is_some());
        assert_eq!(check_workers(Some(1), &sources), None);
        assert_eq!(check_workers(None, &sources), None);
    }

    #[test]
    fn a_bad_throttle_is_named_with_file_line_and_option() {
        let text = "brine:\n  reactor:\n    throttle:\n      'a/*': {within: 1s, key: 'data['}\n      'b/*':\n        within: 1s\n        key: data | nope\n";
        let sources = [("/etc/master".to_owned(), text.to_owned())];
        let throttle = |key: &str| ThrottleConfig {
            is_last: false,
            within: Duration::from_secs(1),
            key: Some(key.to_owned()),
        };
        let throttles = [
            ("a/*".to_owned(), throttle("data[")),
            ("b/*".to_owned(), throttle("data | nope")),
        ];
        let rules = [Rule::new("a/*", Vec::new()).unwrap()];
        let problems = check_throttles(&throttles, Some(&rules), &sources);
        let shown: Vec<_> = problems.iter().map(ToString::to_string).collect();
        let starts = [
            "/etc/master:4: brine: reactor: throttle: a/*: key: data[: ",
            "/etc/master:5: brine: reactor: throttle: b/*: no rule of reactor has this pattern",
            "/etc/master:7: brine: reactor: throttle: b/*: key: data | nope: filter `nope`",
        ];
        assert_eq!(shown.len(), starts.len(), "{shown:?}");
        for (shown, start) in shown.iter().zip(starts) {
            assert!(shown.starts_with(start), "{shown}");
        }
    }

    #[test]
    fn a_rules_file_that_is_not_there_is_the_option_s_fault() {
        let sources = [(
            "/etc/master".to_owned(),
            "id: x\nreactor: /no/such.yaml\n".to_owned(),
        )];
        for (file, fault) in [
            ("/no/such.yaml", "No such file"),
            ("such.yaml", "absolute path"),
        ] {
            let problems = rules_of_file(file, &sources).unwrap_err();
            let shown = problems[0].to_string();
            assert!(
                shown.starts_with("/etc/master:2: reactor: ") && shown.contains(fault),
                "{shown}"
            );
        }
    }

    #[test]
    fn what_a_file_without_jinja_says_is_checked_before_anything_starts() {
        for (source, expected) in [
            ("x:\n  local.test.ping:\n  - tgt: a\n", ""),
            (
                "y: runner.jobs.active\nx:\n  local.test.ping: []\n",
                "/f:2: ID x: a local reaction needs tgt",
            ),
            ("x:\n\t- a\n", "/f:2: not YAML: "),
            (
                "x:\n  runner.a.b:\n    - args: 5\n",
                "/f:1: ID x: args must be a mapping",
            ),
            (
                "x:\n  runner.a.b:\n    - require: [{runner: other}]\n",
                "/f: ",
            ),
        ] {
            let problems = check_fixed("/f", source, true);
            let shown: Vec<_> = problems.iter().map(ToString::to_string).collect();
            match expected {
                "" => assert!(shown.is_empty(), "{shown:?}"),
                expected => assert!(shown[0].starts_with(expected), "{shown:?}"),
            }
        }
        let other = "x:\n  runner.a.b:\n    - require: [{runner: other}]\n";
        assert!(check_fixed("/f", other, false).is_empty());
    }

    #[test]
    fn a_bad_entry_of_a_file_of_rules_is_named_with_its_line() {
        let text = "# rules\n---\n- 'a/*': /srv/a.sls\n- 'b/*': b.sls\n- 5\n";
        let value = yaml::load(text.as_bytes()).unwrap();
        let problems = rules(&value, &[("/srv/rules".to_owned(), text.to_owned())]).unwrap_err();
        let shown: Vec<_> = problems.iter().map(ToString::to_string).collect();
        assert!(
            shown[0].starts_with("/srv/rules:4: reactor[1]: "),
            "{shown:?}"
        );
        assert!(
            shown[1].starts_with("/srv/rules:5: reactor[2]: "),
            "{shown:?}"
        );
    }

    #[test]
    fn a_bad_entry_is_named_with_file_line_and_option() {
        let text = "id: x\nreactor:\n  - 'a/*':\n    - /srv/a.sls\n  - 'b/*': {x: y}\n  - just text\nuser: root\n";
        let document = yaml::load(text.as_bytes()).unwrap();
        let value = document.as_map().unwrap().get("reactor").unwrap();
        let sources = [
            ("/etc/other".to_owned(), "id: x\n".to_owned()),
            ("/etc/master".to_owned(), text.to_owned()),
        ];
        let problems = rules(value, &sources).unwrap_err();
        let shown: Vec<_> = problems.iter().map(ToString::to_string).collect();
        assert!(
            shown[0].starts_with("/etc/master:5: reactor[1]: expected a file"),
            "{shown:?}"
        );
        assert!(
            shown[1].starts_with("/etc/master:6: reactor[2]: expected a mapping"),
            "{shown:?}"
        );
    }
}
