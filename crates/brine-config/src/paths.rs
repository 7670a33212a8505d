//! Paths as Salt computes them: Python's `join` and `normpath`, and `root_dir` before them.
//!
//! On text, since options are text and lengths count in characters. Touches no file system.

/// Python's `os.path.join` of two.
pub(crate) fn join(base: &str, rest: &str) -> String {
    if rest.starts_with('/') || base.is_empty() {
        rest.to_owned()
    } else if base.ends_with('/') {
        format!("{base}{rest}")
    } else {
        format!("{base}/{rest}")
    }
}

/// Python's `os.path.normpath`: no `.`, no `..` that can be resolved, no doubled slashes except
/// exactly two at the start.
pub(crate) fn normalize(path: &str) -> String {
    let root = match path.bytes().take_while(|&c| c == b'/').count() {
        0 => "",
        2 => "//",
        _ => "/",
    };
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if !root.is_empty() => {}
            _ => parts.push(part),
        }
    }
    match (root, parts.is_empty()) {
        ("", true) => ".".to_owned(),
        _ => format!("{root}{}", parts.join("/")),
    }
}

/// Python's `os.path.dirname`.
pub(crate) fn directory(path: &str) -> &str {
    let head = &path[..path.rfind('/').map_or(0, |at| at + 1)];
    match head.trim_end_matches('/') {
        "" => head,
        trimmed => trimmed,
    }
}

/// The last part of a path.
pub(crate) fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

/// Puts `root_dir` (absolute and normalised) before a path that is not under it already.
///
/// The same text may come out twice under the root when it *is* the root: Salt does that too.
pub(crate) fn under_root(root_dir: &str, path: &str) -> String {
    let inside = path
        .strip_prefix(root_dir)
        .filter(|rest| rest.starts_with('/'));
    let inside = normalize(inside.unwrap_or(path));
    let relative = inside.trim_start_matches('/');
    normalize(&join(&normalize(root_dir), relative))
}

/// Whether a value of `log_file` names a service (`file:///dev/log`, `udp://…`), not a file.
pub(crate) fn has_scheme(text: &str) -> bool {
    text.split_once(':').is_some_and(|(scheme, _)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalizes_as_python_does() {
        for (path, normal) in [
            ("", "."),
            ("/", "/"),
            ("//", "//"),
            ("///a", "/a"),
            ("//a", "//a"),
            ("a/../..", ".."),
            ("/a/./b//c/../d/", "/a/b/d"),
            ("/..", "/"),
            ("../a", "../a"),
        ] {
            assert_eq!(normalize(path), normal, "{path:?}");
        }
    }

    #[test]
    fn the_root_goes_before_every_path_that_is_not_under_it() {
        assert_eq!(under_root("/", "/var/run"), "/var/run");
        assert_eq!(under_root("/r", "/var/run"), "/r/var/run");
        assert_eq!(under_root("/r", "/r/var/run"), "/r/var/run");
        assert_eq!(under_root("/r", "/rest"), "/r/rest");
        assert_eq!(under_root("/r", "var"), "/r/var");
        assert_eq!(under_root("/r", "/r"), "/r/r");
    }

    #[test]
    fn a_directory_is_what_stands_before_the_last_slash() {
        for (path, of) in [
            ("/a/b", "/a"),
            ("/a", "/"),
            ("a", ""),
            ("a//b", "a"),
            ("/a/", "/a"),
        ] {
            assert_eq!(directory(path), of, "{path:?}");
        }
    }
}
