//! Python's `textwrap`: a text in lines of a width. Facts: CPython 3.11, compared in `super::tests`.

/// `TextWrapper(width, initial_indent=indent, subsequent_indent=indent).fill(text)`.
pub(super) fn fill(text: &str, width: usize, indent: &str) -> String {
    let mut chunks = chunks(text);
    chunks.reverse();
    let width = width.saturating_sub(indent.len()).max(1);
    let mut lines: Vec<String> = Vec::new();
    while !chunks.is_empty() {
        if !lines.is_empty() {
            chunks.pop_if(|chunk| is_blank(chunk));
        }
        let mut line: Vec<Vec<char>> = Vec::new();
        let mut length = 0;
        while let Some(chunk) = chunks.pop_if(|chunk| length + chunk.len() <= width) {
            length += chunk.len();
            line.push(chunk);
        }
        if let Some(chunk) = chunks.last_mut().filter(|chunk| chunk.len() > width) {
            let end = cut(chunk, width - length);
            let rest = chunk.split_off(end);
            line.push(std::mem::replace(chunk, rest));
        }
        line.pop_if(|chunk| is_blank(chunk));
        if !line.is_empty() {
            let text: String = line.into_iter().flatten().collect();
            lines.push(format!("{indent}{text}"));
        }
    }
    lines.join("\n")
}

/// Where a word that is too long is cut: after its last hyphen that fits, or where the line ends.
fn cut(word: &[char], room: usize) -> usize {
    let end = room.max(1);
    let hyphen = word[..room.min(word.len())].iter().rposition(|c| *c == '-');
    match hyphen {
        Some(at) if word[..at].iter().any(|c| *c != '-') => at + 1,
        _ => end,
    }
}

const fn is_white(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\u{b}' | '\u{c}' | '\r' | ' ')
}

fn is_blank(chunk: &[char]) -> bool {
    chunk.iter().all(|c| is_white(*c))
}

/// Words, blanks between them, and what words are divided into at hyphens and dashes.
fn chunks(text: &str) -> Vec<Vec<char>> {
    let text = expand_tabs(text);
    let white = |c: char| if is_white(c) { ' ' } else { c };
    let text: Vec<char> = text.chars().map(white).collect();
    let mut chunks = Vec::new();
    let mut start = 0;
    while start < text.len() {
        let end = chunk_end(&text, start);
        chunks.push(text[start..end].to_vec());
        start = end;
    }
    chunks
}

fn chunk_end(text: &[char], start: usize) -> usize {
    if is_white(text[start]) {
        return run_end(text, start, is_white);
    }
    if start > 0 && is_word_or_punctuation(text[start - 1]) && is_dash(text, start) {
        return run_end(text, start, |c| c == '-');
    }
    let mut at = start + 1;
    loop {
        match text.get(at) {
            None => return at,
            Some(c) if is_white(*c) => return at,
            Some('-') if is_hyphen(text, at) => return at + 1,
            _ if is_word_or_punctuation(text[at - 1]) && is_dash(text, at) => return at,
            Some(_) => at += 1,
        }
    }
}

fn run_end(text: &[char], start: usize, holds: impl Fn(char) -> bool) -> usize {
    let run = text[start..].iter().take_while(|c| holds(**c));
    start + run.count()
}

/// Two hyphens or more, and then a word.
fn is_dash(text: &[char], at: usize) -> bool {
    let end = run_end(text, at, |c| c == '-');
    end >= at + 2 && text.get(end).is_some_and(|c| is_word(*c))
}

/// A hyphen after two letters, or after `a-b`, before two letters.
fn is_hyphen(text: &[char], at: usize) -> bool {
    let before = |back: usize| at.checked_sub(back).map(|at| text[at]);
    let after = |on: usize| text.get(at + on).copied();
    let letter = |c: Option<char>| c.is_some_and(is_letter);
    let two_before = letter(before(1)) && letter(before(2));
    let in_chain = before(1).is_some_and(is_word_or_punctuation)
        && before(2) == Some('-')
        && letter(before(3));
    let two_after = letter(after(2)) || after(2) == Some('-') && letter(after(3));
    (two_before || in_chain) && letter(after(1)) && two_after
}

/// Python's `\w`.
fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Python's `[^\d\W]`.
fn is_letter(c: char) -> bool {
    is_word(c) && !c.is_numeric()
}

fn is_word_or_punctuation(c: char) -> bool {
    is_word(c) || matches!(c, '!' | '"' | '\'' | '&' | '.' | ',' | '?')
}

/// Python's `text.expandtabs(8)`.
fn expand_tabs(text: &str) -> String {
    let mut out = String::new();
    let mut column = 0;
    for c in text.chars() {
        match c {
            '\t' => {
                let blanks = 8 - column % 8;
                out.extend(std::iter::repeat_n(' ', blanks));
                column += blanks;
            }
            '\n' | '\r' => {
                out.push(c);
                column = 0;
            }
            c => {
                out.push(c);
                column += 1;
            }
        }
    }
    out
}
