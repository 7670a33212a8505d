//! `/keys`: minions' keys, their fingerprints, and new accepted ones.

use std::ops::RangeInclusive;

use brine_wire::network::MinionId;
use brine_wire::{Map, Value};
use hyper::StatusCode;
use hyper::body::Incoming;
use hyper::header::{CACHE_CONTROL, CONTENT_DISPOSITION, HeaderValue};
use hyper::http::request::Parts;

use super::answer::Answer;
use super::commands;
use super::context::Context;
use super::error::RestError;

/// The sizes of keys that are made, in bits: larger ones take a core for minutes.
const KEYSIZES: RangeInclusive<i128> = 2048..=8192;

/// All ids by state.
pub(super) async fn list(context: &Context) -> Result<Answer, RestError> {
    wheel(context, "key.list_all", &[]).await
}

/// The fingerprints of keys.
pub(super) async fn get(context: &Context, id: &str) -> Result<Answer, RestError> {
    wheel(context, "key.finger", &[("match", id)]).await
}

async fn wheel(context: &Context, fun: &str, fields: &[(&str, &str)]) -> Result<Answer, RestError> {
    let answer = commands::execute_own(context, "wheel", fun, fields).await?;
    let answer: Map = [("return", returned(&answer)?)].into_iter().collect();
    Ok(context.answer(StatusCode::OK, &answer.into()))
}

/// Makes and accepts a key; both halves in a tar archive.
pub(super) async fn post(
    context: &Context,
    head: &Parts,
    incoming: Incoming,
) -> Result<Answer, RestError> {
    let chunks = commands::read(context, head, incoming).await?;
    let (chunk, id) = gen_accept(chunks.into_iter().next().unwrap_or_default())?;
    let mut answers = commands::execute(context, vec![chunk], None).await?;
    let keys = returned(&answers.pop().unwrap_or(Value::Nil))?;
    let keys = keys.as_map().filter(|keys| !keys.is_empty());
    // Salt answers with empty files.
    let keys = keys.ok_or_else(|| RestError::Conflict(in_use(&id).into()))?;
    let text = |name| keys.get(name).and_then(Value::as_str);
    let (Some(public), Some(private)) = (text("pub"), text("priv")) else {
        let what = "key.gen_accept returned no keys";
        return Err(RestError::Unforeseen(what.to_owned()));
    };
    let archive = tar(&[
        ("minion.pub", 0o644, public.as_bytes()),
        ("minion.pem", 0o400, private.as_bytes()),
    ]);
    let content_type = HeaderValue::from_static("application/x-tar");
    let mut answer = Answer::whole(StatusCode::OK, content_type, archive);
    answer.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    let name = format!("attachment; filename=\"saltkeys-{id}.tar\"");
    if let Ok(name) = HeaderValue::try_from(name) {
        answer.insert(CONTENT_DISPOSITION, name);
    }
    Ok(answer)
}

/// The command that makes a key, and for whom. It is checked here because masters of Salt check nothing.
fn gen_accept(mut chunk: Map) -> Result<(Map, MinionId), RestError> {
    let wrong = |text: String| Err(RestError::BadRequest(text.into()));
    // They would name another minion or size than the one that is checked.
    if let Some(name) = ["arg", "kwarg"]
        .into_iter()
        .find(|name| chunk.get(name).is_some())
    {
        return wrong(format!(
            "{name}: expected mid, keysize and force by their names"
        ));
    }
    if let Some(mid) = chunk.remove("mid") {
        chunk.insert("id_", mid);
    }
    let named = chunk.get("id_").and_then(Value::as_str);
    let id = match MinionId::parse(named.unwrap_or_default()) {
        Ok(id) if id.is_plain() => id,
        Ok(_) => return wrong("mid: expected the id of a minion".to_owned()),
        Err(error) => return wrong(format!("mid: {error}")),
    };
    let bits = match chunk.get("keysize") {
        None => Some(*KEYSIZES.start()),
        Some(Value::Str(text)) => text.parse().ok(),
        Some(keysize) => keysize.as_int(),
    };
    if !bits.is_some_and(|bits| KEYSIZES.contains(&bits)) {
        let (least, most) = (KEYSIZES.start(), KEYSIZES.end());
        return wrong(format!("keysize: expected {least} to {most} bits"));
    }
    // In a form it is a text, of which "False" is true to Salt.
    if let Some(force) = chunk.get("force") {
        let force = match force {
            Value::Str(text) => brine_config::parse_value(text),
            force => force.clone(),
        };
        if !matches!(force, Value::Bool(_) | Value::Int(0 | 1) | Value::Nil) {
            return wrong("force: expected true or false".to_owned());
        }
        chunk.insert("force", force.is_true());
    }
    chunk.insert("client", "wheel");
    chunk.insert("fun", "key.gen_accept");
    Ok((chunk, id))
}

fn in_use(id: &MinionId) -> String {
    format!("The minion {id} has a key already; \"force\" replaces it")
}

/// What a wheel function returned; a failure is one of the request.
fn returned(answer: &Value) -> Result<Value, RestError> {
    let data = answer.as_map().and_then(|answer| answer.get("data"));
    let data = data.and_then(Value::as_map);
    let returned = data.and_then(|data| data.get("return"));
    let has_failed = data.and_then(|data| data.get("success")) == Some(&false.into());
    match returned {
        Some(returned) if !has_failed => Ok(returned.clone()),
        Some(Value::Str(text)) if text.contains(": SaltInvocationError: ") => {
            Err(RestError::BadRequest(text.clone().into()))
        }
        Some(Value::Str(text)) => Err(RestError::Unforeseen(text.clone())),
        _ => Err(RestError::Unforeseen(
            "the wheel function returned nothing".to_owned(),
        )),
    }
}

/// A tar archive (ustar) of small files with their modes, as Python's `tarfile` writes one.
fn tar(files: &[(&str, u32, &[u8])]) -> Vec<u8> {
    const BLOCK: usize = 512;
    const RECORD: usize = 20 * BLOCK;
    let mut archive = Vec::new();
    for (name, mode, content) in files {
        let mut header = [0; BLOCK];
        let mut put =
            |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
        put(0, name);
        put(100, &format!("{mode:07o}\0"));
        put(108, "0000000\0");
        put(116, "0000000\0");
        put(124, &format!("{:011o}\0", content.len()));
        put(136, "00000000000\0");
        put(148, "        ");
        put(156, "0");
        put(257, "ustar\x0000");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        archive.extend_from_slice(&header);
        archive.extend_from_slice(content);
        archive.resize(archive.len().next_multiple_of(BLOCK), 0);
    }
    archive.resize((archive.len() + 2 * BLOCK).next_multiple_of(RECORD), 0);
    archive
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_archive_is_one_that_tar_reads() {
        let directory = tempfile::tempdir().unwrap();
        let archive = directory.path().join("a.tar");
        let files = [
            ("minion.pub", 0o644, &b"public"[..]),
            ("minion.pem", 0o400, &[b'x'; 1000]),
        ];
        std::fs::write(&archive, tar(&files)).unwrap();
        let listed = std::process::Command::new("tar")
            .arg("-tvf")
            .arg(&archive)
            .output()
            .unwrap();
        let text = String::from_utf8(listed.stdout).unwrap();
        assert!(
            listed.status.success() && text.contains("minion.pub") && text.contains("1000"),
            "{text}"
        );
        assert!(text.contains("-r-------- "), "{text}");
    }

    #[test]
    fn a_key_is_replaced_only_by_a_force_that_is_true() {
        let forced = |force: Value| {
            let mut chunk = Map::from_iter([("mid", "m1")]);
            chunk.insert("force", force);
            gen_accept(chunk).map(|(chunk, _)| chunk.get("force").cloned())
        };
        for text in ["False", "false", "no", "0"] {
            assert_eq!(forced(text.into()), Ok(Some(false.into())), "{text}");
        }
        for force in ["True".into(), "1".into(), true.into(), Value::Int(1)] {
            assert_eq!(forced(force.clone()), Ok(Some(true.into())), "{force:?}");
        }
        for force in ["maybe".into(), Value::Int(2), Map::new().into()] {
            assert!(forced(force.clone()).is_err(), "{force:?}");
        }
    }

    #[test]
    fn a_failure_of_a_wheel_function_is_none_of_its_results() {
        let answer = |data: &str| {
            let text = format!(r#"{{"tag": "salt/wheel/1", "data": {data}}}"#);
            returned(&brine_wire::json::parse(text.as_bytes()).unwrap()).map_err(|e| e.status())
        };
        let kept = answer(r#"{"return": {}, "success": true}"#);
        assert_eq!(kept, Ok(Map::new().into()));
        for (data, status) in [
            (
                r#"{"return": "Exception occurred in wheel key.gen: SaltInvocationError: x", "success": false}"#,
                StatusCode::BAD_REQUEST,
            ),
            (
                r#"{"return": "Exception occurred in wheel key.gen: OSError: x", "success": false}"#,
                StatusCode::INTERNAL_SERVER_ERROR,
            ),
            (r#"{"success": true}"#, StatusCode::INTERNAL_SERVER_ERROR),
            ("null", StatusCode::INTERNAL_SERVER_ERROR),
        ] {
            assert_eq!(answer(data), Err(status), "{data}");
        }
    }
}
