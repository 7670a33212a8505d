//! Splits a stream of bytes into lines, each within a limit.

/// One line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line<'a> {
    /// A whole line, without its end.
    Whole(&'a [u8]),
    /// A line over the limit; what it held is gone.
    TooLong,
}

/// Cuts lines; keeps at most one unfinished line of `limit` bytes.
#[derive(Debug)]
pub(crate) struct Lines {
    unfinished: Vec<u8>,
    limit: usize,
    is_too_long: bool,
}

impl Lines {
    pub(crate) const fn new(limit: usize) -> Self {
        Self {
            unfinished: Vec::new(),
            limit,
            is_too_long: false,
        }
    }

    /// Takes bytes and gives the lines they complete to `take`.
    pub(crate) fn push(&mut self, bytes: &[u8], mut take: impl FnMut(Line<'_>)) {
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', bytes) {
            let line = &bytes[start..end];
            start = end + 1;
            if self.is_too_long || !self.unfinished.is_empty() {
                self.keep(line);
                self.take_line(&mut take);
            } else if line.len() > self.limit {
                take(Line::TooLong);
            } else {
                take(Line::Whole(line));
            }
        }
        self.keep(&bytes[start..]);
    }

    /// Gives what follows the last line end, if anything does.
    pub(crate) fn finish(mut self, mut take: impl FnMut(Line<'_>)) {
        if self.is_too_long || !self.unfinished.is_empty() {
            self.take_line(&mut take);
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        if self.unfinished.len() + bytes.len() > self.limit {
            self.is_too_long = true;
            self.unfinished = Vec::new();
        }
        if !self.is_too_long {
            self.unfinished.extend_from_slice(bytes);
        }
    }

    fn take_line(&mut self, take: &mut impl FnMut(Line<'_>)) {
        if std::mem::take(&mut self.is_too_long) {
            take(Line::TooLong);
        } else {
            take(Line::Whole(&self.unfinished));
        }
        self.unfinished.clear();
        self.unfinished.shrink_to(USUAL_LINE);
    }
}

/// A longer line gives its memory back, in bytes.
const USUAL_LINE: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines of a text that comes `step` bytes at a time; `None` for one that is too long.
    fn cut(text: &[u8], step: usize, limit: usize) -> Vec<Option<String>> {
        let mut lines = Lines::new(limit);
        let mut all = Vec::new();
        let mut take = |line: Line<'_>| {
            all.push(match line {
                Line::Whole(line) => Some(String::from_utf8(line.to_vec()).unwrap()),
                Line::TooLong => None,
            });
        };
        for piece in text.chunks(step) {
            lines.push(piece, &mut take);
        }
        lines.finish(take);
        all
    }

    #[test]
    fn lines_are_the_same_however_they_come() {
        let whole = |text: &str| Some(text.to_owned());
        for step in 1..40 {
            assert_eq!(
                cut(b"one\n\ntoo long a line\ntwo\r\nlast", step, 8),
                [whole("one"), whole(""), None, whole("two\r"), whole("last")],
                "{step}"
            );
        }
        assert!(cut(b"", 1, 8).is_empty());
        assert_eq!(cut(b"123456789", 2, 8), [None]);
    }
}
