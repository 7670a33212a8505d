//! Which form of an answer a client wants, by its `Accept` header.

/// The quality a header gives to a media type, from 0 to 1000; the most specific range counts.
fn quality(accept: &str, wanted: &str) -> u32 {
    let (kind, _) = wanted.split_once('/').unwrap_or((wanted, ""));
    let mut best = (0, 0);
    for range in accept.split(',') {
        let mut parts = range.split(';');
        let name = parts.next().unwrap_or_default().trim().to_ascii_lowercase();
        let specific = match name.as_str() {
            "*/*" => 1,
            name if name.strip_suffix("/*") == Some(kind) => 2,
            name if name == wanted => 3,
            _ => continue,
        };
        let q = parts.find_map(|part| part.trim().strip_prefix("q="));
        let q = q.map_or(1000, thousandths);
        if specific > best.0 {
            best = (specific, q);
        }
    }
    best.1
}

/// A number from 0 to 1 with up to three digits, times a thousand; anything else counts as 0.
fn thousandths(text: &str) -> u32 {
    match text.parse::<f64>() {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "from 0 to 1000"
        )]
        Ok(q) if (0.0..=1.0).contains(&q) => (q * 1000.0) as u32,
        _ => 0,
    }
}

/// The first of the types that a header gives the highest quality; the first of all without a header.
pub(crate) fn best<'t>(accept: Option<&str>, types: &[&'t str]) -> Option<&'t str> {
    let Some(accept) = accept.filter(|accept| !accept.trim().is_empty()) else {
        return types.first().copied();
    };
    let of = |name: &str| quality(accept, name);
    let highest = types.iter().map(|name| of(name)).max().unwrap_or(0);
    let mut types = types.iter().filter(|name| of(name) == highest);
    (highest > 0).then(|| types.next().copied()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_type_with_the_highest_quality_is_taken() {
        const BOTH: [&str; 2] = ["application/json", "application/x-yaml"];
        for (accept, expected) in [
            (None, Some(BOTH[0])),
            (Some(""), Some(BOTH[0])),
            (Some("*/*"), Some(BOTH[0])),
            (Some("application/*"), Some(BOTH[0])),
            (Some("application/x-yaml"), Some(BOTH[1])),
            (
                Some("application/json;q=0.5, application/x-yaml"),
                Some(BOTH[1]),
            ),
            (Some("application/x-yaml;q=0, */*"), Some(BOTH[0])),
            (Some("text/html, */*;q=0.1"), Some(BOTH[0])),
            (Some("text/plain, */*"), Some(BOTH[0])),
            (Some("text/html"), None),
            (Some("application/json;q=2"), None),
            (Some("application/json;q=0"), None),
            (Some(";;,,/"), None),
        ] {
            assert_eq!(best(accept, &BOTH), expected, "{accept:?}");
        }
        let page = ["text/html", "application/json"];
        let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
        assert_eq!(best(Some(browser), &page), Some("text/html"));
        assert_eq!(
            best(Some("application/json, text/html;q=0.9"), &page),
            Some("application/json")
        );
    }
}
