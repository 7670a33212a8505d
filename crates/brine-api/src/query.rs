//! The query of a request: names and values, decoded. Unknown names are refused.

use crate::error::ApiError;

/// The most parameters of one request.
const MAX_PARAMETERS: usize = 64;

/// The parameters of a query in their order.
///
/// # Errors
/// For invalid text, and for a name that is not among `known`: if a misspelt filter were ignored, it would let
/// everything through.
pub(crate) fn parse<'k>(
    query: &str,
    known: &[&'k str],
) -> Result<Vec<(&'k str, String)>, ApiError> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let mut parameters = Vec::new();
    for pair in pairs {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = decode(name)?;
        let Some(known) = known.iter().find(|known| **known == name) else {
            let all = known.join(", ");
            return Err(ApiError::BadRequest(format!(
                "{name:?}: no such parameter; there are {all}"
            )));
        };
        parameters.push((*known, decode(value)?));
        if parameters.len() > MAX_PARAMETERS {
            return Err(ApiError::BadRequest(format!(
                "expected at most {MAX_PARAMETERS} parameters"
            )));
        }
    }
    Ok(parameters)
}

/// A part of a path with percent escapes decoded; unchanged if they do not decode to text.
pub(crate) fn decode_path(text: &str) -> String {
    // A plus is a plus there.
    decode(&text.replace('+', "%2B")).unwrap_or_else(|_| text.to_owned())
}

/// Decodes percent signs and pluses as Python's `parse_qsl` does: invalid escapes stay, invalid text is replaced.
pub(crate) fn decode_lossy(text: &str) -> String {
    let digit = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        at += 1;
        match (byte, digit(bytes.get(at)), digit(bytes.get(at + 1))) {
            (b'+', ..) => out.push(b' '),
            (b'%', Some(high), Some(low)) => {
                out.push(u8::try_from(high << 4 | low).unwrap_or(b'%'));
                at += 2;
            }
            (byte, ..) => out.push(byte),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Percent signs and pluses undone.
pub(crate) fn decode(text: &str) -> Result<String, ApiError> {
    let refused = || ApiError::BadRequest("expected a query in UTF-8, with %XX for bytes".into());
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'+' => out.push(b' '),
            b'%' => {
                let mut digit = || {
                    let digit = char::from(bytes.next()?).to_digit(16)?;
                    u8::try_from(digit).ok()
                };
                let (high, low) = (digit(), digit());
                out.push(high.ok_or_else(refused)? << 4 | low.ok_or_else(refused)?);
            }
            other => out.push(other),
        }
    }
    String::from_utf8(out).map_err(|_| refused())
}

/// `true` or `false`.
pub(crate) fn flag(name: &str, value: &str) -> Result<bool, ApiError> {
    match value {
        "" | "1" | "true" => Ok(true),
        "0" | "false" => Ok(false),
        _ => Err(ApiError::BadRequest(format!(
            "{name}: expected true or false, found {value:?}"
        ))),
    }
}

/// A number of events.
pub(crate) fn count(name: &str, value: &str, most: u64) -> Result<u64, ApiError> {
    let number = value.bytes().all(|byte| byte.is_ascii_digit());
    let number = number.then(|| value.parse().ok()).flatten();
    number
        .filter(|number| (1..=most).contains(number))
        .ok_or_else(|| {
            ApiError::BadRequest(format!(
                "{name}: expected a number from 1 to {most}, found {value:?}"
            ))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 2] = ["tag", "filter"];

    #[test]
    fn parameters_are_decoded_and_may_repeat() {
        assert_eq!(
            parse(
                "tag=salt%2Fjob%2f*&tag=a&filter=ok:false+fun:x%20y&tag",
                &KNOWN
            )
            .unwrap(),
            [
                ("tag", "salt/job/*".to_owned()),
                ("tag", "a".to_owned()),
                ("filter", "ok:false fun:x y".to_owned()),
                ("tag", String::new()),
            ]
        );
        assert!(parse("", &KNOWN).unwrap().is_empty());
    }

    #[test]
    fn what_is_misspelt_is_refused() {
        for query in [
            "tags=a", "tag=%", "tag=%4", "tag=%zz", "tag=%ff", "TAG=a", "=a",
        ] {
            assert!(parse(query, &KNOWN).is_err(), "{query}");
        }
        assert!(parse(&"tag=a&".repeat(65), &KNOWN).is_err());
        assert!(flag("durable", "yes").is_err() && flag("durable", "") == Ok(true));
        for value in ["", "0", "-1", "+1", "11", "x"] {
            assert!(count("limit", value, 10).is_err(), "{value}");
        }
    }
}
