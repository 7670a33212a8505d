//! Lines out of a stream of bytes, each within a limit.

/// One line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// A whole line, without its end.
    Whole(Vec<u8>),
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
    pub(crate) fn push(&mut self, bytes: &[u8], mut take: impl FnMut(Line)) {
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            self.keep(&rest[..end]);
            take(self.take_line());
            rest = &rest[end + 1..];
        }
        self.keep(rest);
    }

    /// What follows the last line end, if anything does.
    pub(crate) fn finish(mut self) -> Option<Line> {
        (self.is_too_long || !self.unfinished.is_empty()).then(|| self.take_line())
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

    fn take_line(&mut self) -> Line {
        let line = std::mem::take(&mut self.unfinished);
        if std::mem::take(&mut self.is_too_long) {
            Line::TooLong
        } else {
            Line::Whole(line)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines of a text that comes `step` bytes at a time.
    fn cut(text: &[u8], step: usize, limit: usize) -> Vec<Line> {
        let mut lines = Lines::new(limit);
        let mut all = Vec::new();
        for piece in text.chunks(step) {
            lines.push(piece, |line| all.push(line));
        }
        all.extend(lines.finish());
        all
    }

    #[test]
    fn lines_are_the_same_however_they_come() {
        let whole = |text: &str| Line::Whole(text.as_bytes().to_vec());
        for step in 1..12 {
            assert_eq!(
                cut(b"one\n\ntoo long a line\ntwo\r\nlast", step, 8),
                [
                    whole("one"),
                    whole(""),
                    Line::TooLong,
                    whole("two\r"),
                    whole("last")
                ],
                "{step}"
            );
        }
        assert!(cut(b"", 1, 8).is_empty());
        assert_eq!(cut(b"123456789", 2, 8), [Line::TooLong]);
    }
}
