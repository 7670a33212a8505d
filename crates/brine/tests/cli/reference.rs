//! The book's page with the help of every command is what the commands say.

use std::fmt::Write as _;
use std::process::Stdio;

use brine_testkit::reference::is_current;

use crate::support::brine;

/// What a command's `--help` prints in a pipe.
fn help(words: &[&str]) -> String {
    let mut command = brine(words);
    command
        .arg("--help")
        .env("COLUMNS", "100")
        .env_remove("LINES");
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{words:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The commands that a help lists.
fn commands(help: &str) -> Vec<String> {
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let listed = listed.take_while(|line| line.starts_with("  ") || line.is_empty());
    let names = listed.filter_map(|line| {
        line.strip_prefix("  ")
            .filter(|rest| !rest.starts_with(' '))
    });
    let names = names.filter_map(|line| line.split_whitespace().next());
    names
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect()
}

fn write(words: &[&str], page: &mut String) {
    let help = help(words);
    let level = "#".repeat(words.len() + 1);
    let title = [&["brine"], words].concat().join(" ");
    let text: Vec<&str> = help.lines().map(str::trim_end).collect();
    write!(
        page,
        "\n{level} {title}\n\n```text\n{}\n```\n",
        text.join("\n").trim_end()
    )
    .unwrap();
    // Salt's own commands have Salt's own help, of which `brine man` makes pages.
    if !words.first().is_some_and(|word| word.starts_with("salt")) {
        for name in commands(&help) {
            write(&[words, &[name.as_str()]].concat(), page);
        }
    }
}

#[test]
fn the_page_of_commands_is_current() {
    let mut page = String::from(
        "# The help of every command\n\nWhat `--help` prints. [Commands](../commands.md) shows them at work.\n",
    );
    write(&[], &mut page);
    is_current("commands.md", &page);
}
