//! What is wrong with the reactor's rules and files, found before anything starts.

use std::fs;
use std::path::Path;

use brine_config::yaml;
use brine_wire::Value;

use crate::files::{Files, FilesConfig, Renderer};
use crate::jinja;
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
            let option = format!("reactor[{}]", fault.nth);
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
    if let Err(error) = fs::metadata(path) {
        return Err(of_option(format!("{file}: {error}")));
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

/// Checks the files of rules. Reads them, runs nothing.
#[must_use]
pub fn check_files(rules: &[Rule], config: &FilesConfig) -> Vec<Problem> {
    let mut files = Files::new(config.clone());
    let mut problems = Vec::new();
    let mut seen = Vec::new();
    for rule in rules {
        for reference in &rule.files {
            let paths = match files.find(reference) {
                Ok(paths) => paths,
                Err(problem) => {
                    let option = format!("reactor: {}", rule.glob);
                    problems.push(problem.of_option(&option));
                    continue;
                }
            };
            for path in paths {
                if seen.contains(&path) {
                    continue;
                }
                match files.look(&path) {
                    Renderer::Native | Renderer::Plain => {}
                    Renderer::Salt(own) | Renderer::Refused(own) => problems.extend(own),
                }
                let source = fs::read_to_string(&path).unwrap_or_default();
                problems.extend(scan::warnings(&path.to_string_lossy(), &source));
                seen.push(path);
            }
        }
    }
    problems
}

/// The file and the line of an entry: the first line below `reactor:` that has its pattern, else that of the list's
/// item.
fn locate(sources: &[(String, String)], nth: usize, glob: Option<&str>) -> (String, Option<usize>) {
    for (file, text) in sources {
        let mut lines = text.lines().enumerate();
        let Some((top, _)) = lines.find(|(_, line)| line.starts_with("reactor:")) else {
            continue;
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
            .filter(|(_, line)| line.trim_start().starts_with("- "));
        let own = items.clone().next().map_or(0, |(_, line)| indent(line));
        let item = items
            .by_ref()
            .filter(|(_, line)| indent(line) == own)
            .nth(nth);
        let line = named.or(item).map_or(top, |(at, _)| *at);
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
