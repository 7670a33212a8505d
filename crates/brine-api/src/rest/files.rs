//! Files that are served as they are: `app`, `static`, `favicon`.

use std::path::{Component, Path, PathBuf};
use std::time::SystemTime;

use hyper::header::{
    ACCEPT_RANGES, HeaderName, HeaderValue, IF_MODIFIED_SINCE, LAST_MODIFIED,
    X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Method, Request, StatusCode};
use tokio::task::spawn_blocking;

use super::answer::Answer;
use super::context::Context;
use super::date;
use super::error::RestError;
use super::options::RestOptions;
use super::preflight;

/// The largest file that is served, in bytes.
const MAX_FILE: u64 = 64 << 20;

/// Answers with a file, or a preflight; `None` if the path is none of a file.
pub(crate) async fn respond<B>(
    context: &Context,
    path: &[&str],
    request: &Request<B>,
) -> Result<Option<Answer>, RestError> {
    if let Some(answer) = preflight::respond(request.method(), request.headers()) {
        return Ok(Some(answer));
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Ok(None);
    }
    let options = &context.state.options;
    let is_app_path = path.first() == Some(&options.app_path.as_str());
    let is_static_path = path.first() == Some(&options.static_path.as_str());
    let file = match (&options.app, &options.static_files, &options.favicon) {
        (_, Some(folder), _) if is_static_path => below(folder, &path[1..]),
        (Some(app), ..) if is_app_path => Some(app.clone()),
        // Any path that a browser asks for is the page's, which has the rest of the path to itself.
        (Some(app), ..) if context.prefers_html() && !is_static_path => Some(app.clone()),
        (_, _, Some(favicon)) if path == ["favicon.ico"] => Some(favicon.clone()),
        _ if is_static_path && options.static_files.is_some() => None,
        _ => return Ok(None),
    };
    let not_found = || RestError::NotFound {
        path: context.path().to_owned(),
    };
    let file = file.ok_or_else(not_found)?;
    let content_type = content_type(&file);
    let read = spawn_blocking(move || read(&file)).await.ok().flatten();
    let (bytes, modified) = read.ok_or_else(not_found)?;
    let modified = date::http(modified);
    let is_known = request.headers().get(IF_MODIFIED_SINCE);
    let mut answer = match is_known.is_some_and(|known| *known == modified) {
        true => Answer::whole(StatusCode::NOT_MODIFIED, content_type, bytes::Bytes::new()),
        false => Answer::whole(StatusCode::OK, content_type, bytes),
    };
    if let Ok(modified) = HeaderValue::try_from(modified) {
        answer.insert(LAST_MODIFIED, modified);
    }
    answer.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    answer.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // A page's address must not tell others what is in it.
    let policy = HeaderName::from_static("referrer-policy");
    answer.insert(policy, HeaderValue::from_static("no-referrer"));
    Ok(Some(answer))
}

/// Whether a path is one of files, whether they are there or not.
pub(crate) fn is_of_files(options: &RestOptions, path: &[&str]) -> bool {
    let begins = |own: &String| path.first() == Some(&own.as_str());
    options.static_files.is_some() && begins(&options.static_path)
        || options.app.is_some() && begins(&options.app_path)
        || options.favicon.is_some() && path == ["favicon.ico"]
}

/// A path below a folder; `None` for anything that could lead out of it.
fn below(folder: &Path, path: &[&str]) -> Option<PathBuf> {
    let mut file = folder.to_owned();
    for part in path {
        let mut components = Path::new(part).components();
        match (components.next(), components.next()) {
            (Some(Component::Normal(name)), None) if name == *part => file.push(name),
            _ => return None,
        }
    }
    // Links are followed, as long as they stay inside.
    let (file, folder) = (file.canonicalize().ok()?, folder.canonicalize().ok()?);
    file.starts_with(folder).then_some(file)
}

fn read(file: &Path) -> Option<(Vec<u8>, SystemTime)> {
    let about = std::fs::metadata(file).ok()?;
    if !about.is_file() || about.len() > MAX_FILE {
        return None;
    }
    Some((std::fs::read(file).ok()?, about.modified().ok()?))
}

fn content_type(file: &Path) -> HeaderValue {
    let extension = file
        .extension()
        .and_then(|end| end.to_str())
        .unwrap_or_default();
    HeaderValue::from_static(match extension {
        "html" | "htm" => "text/html;charset=utf-8",
        "js" | "mjs" => "text/javascript;charset=utf-8",
        "css" => "text/css;charset=utf-8",
        "json" | "map" => "application/json",
        "txt" | "md" => "text/plain;charset=utf-8",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "ico" => "image/x-icon",
        "woff" => "font/woff",
        "woff2" => "font/woff2",
        "ttf" => "font/ttf",
        "wasm" => "application/wasm",
        _ => "application/octet-stream",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_leads_out_of_the_folder() {
        let directory = tempfile::tempdir().unwrap();
        let folder = directory.path().join("static");
        std::fs::create_dir_all(folder.join("scripts")).unwrap();
        std::fs::write(folder.join("scripts/a.js"), "1").unwrap();
        std::fs::write(directory.path().join("secret"), "1").unwrap();
        std::os::unix::fs::symlink(directory.path().join("secret"), folder.join("link")).unwrap();
        assert!(below(&folder, &["scripts", "a.js"]).is_some());
        for path in [
            &["..", "secret"][..],
            &["../secret"],
            &["scripts", "..", "..", "secret"],
            &["/etc/passwd"],
            &["scripts/a.js"],
            &["."],
            &["link"],
            &["scripts\0"],
            &["missing"],
        ] {
            assert_eq!(below(&folder, path), None, "{path:?}");
        }
    }
}
