//! A page of the documentation as examples: commands, and what they print.
//!
//! What differs from run to run (times, job ids, tokens, positions, fingerprints) is compared by its form. `…` in a page
//! stands for anything.

use fancy_regex::Regex;

/// A command as the document has it.
#[derive(Debug)]
pub(crate) struct Example {
    pub(crate) command: String,
    pub(crate) output: String,
}

/// The indented blocks of a document, without their indentation, those in lists too. As in Markdown, empty lines do not
/// end one.
pub(crate) fn blocks(document: &str) -> Vec<String> {
    let mut blocks = vec![String::new()];
    for line in document.lines() {
        let block = blocks.last_mut().unwrap();
        match line.strip_prefix("    ") {
            Some(line) => {
                block.push_str(line);
                block.push('\n');
            }
            None if block.is_empty() => {}
            None if line.is_empty() => block.push('\n'),
            None => blocks.push(String::new()),
        }
    }
    for block in &mut blocks {
        block.truncate(block.trim_end().len());
        block.push('\n');
    }
    blocks.retain(|block| block != "\n");
    for block in &mut blocks {
        if block.starts_with("  $ ") {
            let lines = block
                .lines()
                .map(|line| line.strip_prefix("  ").unwrap_or(line));
            *block = lines.map(|line| format!("{line}\n")).collect();
        }
    }
    blocks
}

/// The commands of the blocks that begin with a prompt.
pub(crate) fn examples(blocks: &[String]) -> Vec<Example> {
    let mut examples: Vec<Example> = Vec::new();
    for block in blocks.iter().filter(|block| block.starts_with("$ ")) {
        for line in block.lines() {
            match (line.strip_prefix("$ "), examples.last_mut()) {
                (Some(command), _) => examples.push(Example {
                    command: command.to_owned(),
                    output: String::new(),
                }),
                // A quotation that has not ended goes on.
                (None, Some(example)) if example.command.matches('\'').count() % 2 == 1 => {
                    example.command.push('\n');
                    example.command.push_str(line);
                }
                (None, Some(example)) => {
                    example.output.push_str(line);
                    example.output.push('\n');
                }
                (None, None) => unreachable!("a block begins with a command"),
            }
        }
    }
    examples
}

/// What differs from run to run, and what stands for it.
const FORMS: [(&str, &str); 12] = [
    (r"\b20\d{18}\b", "<jid>"),
    (r"\b[0-9a-f]{64}\b", "<token of Salt's>"),
    (r"\b[0-9a-f]{40}\b", "<token>"),
    (r"\b[0-9a-f]{2}(:[0-9a-f]{2}){31}\b", "<fingerprint>"),
    (r"\b1[78]\d{8}(\.\d+)?\b", "<seconds>"),
    (
        r"\b20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(\+00:00|Z)?",
        "<time>",
    ),
    (r"\b20\d\d, \w{3} \d\d \d\d:\d\d:\d\d\.\d+", "<time>"),
    (r"\b\d\d:\d\d:\d\d\b", "<time of day>"),
    // In a table with what fills its column.
    (r"\b[0-9a-f]{5,8}-\d+( {2,}|\b)", "<position>"),
    // Without the zeros that it may begin with.
    (r"\b([0-9a-f]{7,8}|[0-9a-f]{13,16})\b", "<log>"),
    (r#"("pid":|\bpid) \d+"#, "$1 <pid>"),
    // Of metrics.
    (r"_total \d+", "_total <count>"),
];

fn normal(text: &str) -> String {
    FORMS.iter().fold(text.to_owned(), |text, (form, name)| {
        Regex::new(form)
            .unwrap()
            .replace_all(&text, *name)
            .into_owned()
    })
}

/// Whether a text is what the document says, of which `…` is anything.
pub(crate) fn is_as_documented(found: &str, documented: &str) -> bool {
    let (found, documented) = (normal(found), normal(documented));
    let mut rest = found.trim_end();
    let mut pieces = documented.trim_end().split('…').peekable();
    let first = pieces.next().unwrap_or_default();
    let Some(after) = rest.strip_prefix(first) else {
        return false;
    };
    rest = after;
    while let Some(piece) = pieces.next() {
        let at = match pieces.peek() {
            Some(_) => rest.find(piece),
            None => rest
                .len()
                .checked_sub(piece.len())
                .filter(|_| rest.ends_with(piece)),
        };
        let Some(at) = at else { return false };
        rest = &rest[at + piece.len()..];
    }
    rest.is_empty()
}
