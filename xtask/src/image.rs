//! `contrib/oci/Containerfile`, which no test can build (that fetches images): its form, and that what it copies exists.

use std::collections::BTreeSet;
use std::fs;

use crate::command::root;

const FILE: &str = "contrib/oci/Containerfile";
/// What is not copied into the image that builds.
const IGNORED: &str = ".containerignore";

const INSTRUCTIONS: [&str; 9] = [
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "EXPOSE",
    "FROM",
    "RUN",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// Adds what is wrong with the image's file.
pub(crate) fn check(files: &BTreeSet<String>, faults: &mut Vec<String>) {
    let text = fs::read_to_string(root().join(FILE)).unwrap_or_default();
    faults.extend(self::faults(&text, files));
    let ignored = fs::read_to_string(root().join(IGNORED)).unwrap_or_default();
    for folder in ["/target", "/.salt", "/.git"] {
        if !ignored.lines().any(|line| line == folder) {
            faults.push(format!("{IGNORED}: expected a line {folder}"));
        }
    }
}

fn faults(text: &str, files: &BTreeSet<String>) -> Vec<String> {
    let mut faults = Vec::new();
    let mut stages: Vec<&str> = Vec::new();
    let mut last_user = None;
    let is_there = |path: &str| {
        let folder = format!("{path}/");
        path == "." || files.contains(path) || files.iter().any(|file| file.starts_with(&folder))
    };
    let lines = text.replace("\\\n", " ");
    for line in lines.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let Some((&instruction, words)) = words.split_first() else {
            continue;
        };
        let mut fault = |what: String| faults.push(format!("{FILE}: {line}: {what}"));
        match (instruction, words) {
            (comment, _) if comment.starts_with('#') => {}
            (unknown, _) if !INSTRUCTIONS.contains(&unknown) => {
                fault(format!("{unknown} is not an instruction that is used here"));
            }
            ("FROM", [image, rest @ ..]) => {
                if !image.contains('/') || !image.contains(':') {
                    fault("expected a registry and a tag".to_owned());
                }
                stages.push(match rest {
                    ["AS", name] => name,
                    _ => "",
                });
                last_user = None;
            }
            ("COPY", [from, source, _]) if from.starts_with("--from=") => {
                let from = from.trim_start_matches("--from=");
                if !stages.contains(&from) {
                    fault(format!("no stage is named {from}"));
                }
                // What cargo makes in the checkout's copy.
                if *source != "/src/target/release/brine" {
                    fault("the build does not make this".to_owned());
                }
            }
            ("COPY", [sources @ .., _]) => {
                for source in sources.iter().filter(|source| !is_there(source)) {
                    fault(format!("{source} does not exist"));
                }
            }
            ("CMD" | "ENTRYPOINT" | "VOLUME", words) => {
                let list = words.join(" ");
                if serde_json::from_str::<Vec<String>>(&list).is_err() {
                    fault("expected a list, so that no shell runs".to_owned());
                }
            }
            ("USER", [user]) => last_user = Some((*user).to_owned()),
            _ => {}
        }
    }
    if last_user.as_deref().is_none_or(|user| user == "root") {
        faults.push(format!(
            "{FILE}: expected a USER other than root at the end"
        ));
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_of_an_image_are_found() {
        let files = BTreeSet::from(["crates/brine/Cargo.toml".to_owned()]);
        let text = "FROM example.org/rust:1 AS build\nCOPY crates none /src\nMAKE x\n\
            FROM debian\nCOPY --from=other /x /y\nCMD salt-master\n";
        let found = faults(text, &files);
        let ends: Vec<_> = found
            .iter()
            .map(|fault| fault.rsplit(": ").next().unwrap_or_default())
            .collect();
        assert_eq!(
            ends,
            [
                "none does not exist",
                "MAKE is not an instruction that is used here",
                "expected a registry and a tag",
                "no stage is named other",
                "the build does not make this",
                "expected a list, so that no shell runs",
                "expected a USER other than root at the end",
            ]
        );
    }
}
