//! What is wrong with the reactor's rules and files, found before anything starts.

use std::fs;

use brine_wire::Value;

use crate::files::{Files, FilesConfig, Renderer};
use crate::problem::Problem;
use crate::rules::{self, Rule};
use crate::scan;

/// Checks the value of `reactor`, and the files it names. `sources` are the configuration files that it may come from,
/// with their texts: errors name the line. Reads files, runs nothing.
#[must_use]
pub fn check(reactor: &Value, sources: &[(String, String)], config: &FilesConfig) -> Vec<Problem> {
    match rules(reactor, sources) {
        Ok(rules) => check_files(&rules, config),
        Err(problems) => problems,
    }
}

/// Reads the value of `reactor`.
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

fn check_files(rules: &[Rule], config: &FilesConfig) -> Vec<Problem> {
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
    use brine_config::yaml;

    use super::*;

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
