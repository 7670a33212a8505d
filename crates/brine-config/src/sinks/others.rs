//! Sinks of type `file`, `webhook` and `otlp`.

use std::path::PathBuf;
use std::time::Duration;

use super::section::Section;
use crate::error::ConfigError;

/// A text that is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("[redacted]")
    }
}

/// Lines in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSinkOptions {
    /// `path` (path; required): the file.
    pub path: PathBuf,
    /// `rotate_bytes` (size; none): a file that has reached this size is renamed, and a new one begun.
    pub rotate_bytes: Option<u64>,
    /// `rotate_after` (time; none): the same for a file of this age.
    pub rotate_after: Option<Duration>,
    /// `keep` (number; all): how many renamed files are kept.
    pub keep: Option<usize>,
    /// `compress` (bool; `false`): renamed files are compressed with gzip.
    pub compress: bool,
    /// `sync` (bool; `false`): the position is saved only once a batch is on disk.
    pub sync: bool,
}

/// The options of [`FileSinkOptions`].
pub(super) const FILE: &[&str] = &[
    "path",
    "rotate_bytes",
    "rotate_after",
    "keep",
    "compress",
    "sync",
];

/// The options of [`HttpSinkOptions`].
pub(super) const HTTP: &[&str] = &["url", "headers", "timeout", "ca", "cert", "key"];
/// Those that [`WebhookOptions`] has besides.
pub(super) const WEBHOOK: &[&str] = &["secret", "form"];
/// Those that [`OtlpOptions`] has besides.
pub(super) const OTLP: &[&str] = &["service"];

impl FileSinkOptions {
    pub(super) const fn new(path: PathBuf) -> Self {
        Self {
            path,
            rotate_bytes: None,
            rotate_after: None,
            keep: None,
            compress: false,
            sync: false,
        }
    }

    pub(super) fn parse(section: &mut Section<'_>) -> Result<Self, ConfigError> {
        let path = section.path("path")?;
        let path = path.ok_or_else(|| section.missing("path", "an absolute path"))?;
        let mut options = Self::new(path);
        options.rotate_bytes = section.bytes("rotate_bytes")?.map(|bytes| bytes as u64);
        options.rotate_after = section.span("rotate_after")?;
        options.keep = section.count("keep", 1..=1_000_000)?;
        options.compress = section.flag("compress")?.unwrap_or_default();
        options.sync = section.flag("sync")?.unwrap_or_default();
        Ok(options)
    }
}

/// How events get to an HTTP server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpSinkOptions {
    /// `url` (text; required): where requests go.
    pub url: String,
    /// `headers` (names with values; none): more headers for each request.
    pub headers: Vec<(String, Secret)>,
    /// `timeout` (seconds; 30): how long an answer may take.
    pub timeout: Duration,
    /// `ca` (path; the system's): a file of certificates, one of which must have signed the server's.
    pub ca: Option<PathBuf>,
    /// `cert`, `key` (paths; none): the client's own certificate and key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// Requests in Brine's own form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookOptions {
    /// Where.
    pub http: HttpSinkOptions,
    /// `secret` (text; none): webhook: what bodies are signed with.
    pub secret: Option<Secret>,
    /// `form` (`list` or `lines`; `list`): webhook: whether a body is a list of objects, or has one object per line.
    pub is_lines: bool,
}

/// OpenTelemetry logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtlpOptions {
    /// Where.
    pub http: HttpSinkOptions,
    /// `service` (text; `salt`): otlp: the `service.name` of the log records.
    pub service: String,
}

impl HttpSinkOptions {
    fn parse(section: &mut Section<'_>) -> Result<Self, ConfigError> {
        let headers = section.map("headers")?.into_iter();
        let url = section.required_text("url")?;
        let (ca, identity) = (section.path("ca")?, section.identity()?);
        let is_plain = url.to_ascii_lowercase().starts_with("http://");
        if is_plain && (ca.is_some() || identity.is_some()) {
            // Whoever names certificates believes that they are used.
            let expected = "an address that begins with https://, where ca or cert is given";
            return Err(section.bad_with("url", expected, "one that begins with http://"));
        }
        Ok(Self {
            url,
            headers: headers.map(|(name, value)| (name, Secret(value))).collect(),
            timeout: section
                .some_seconds("timeout")?
                .unwrap_or(Duration::from_secs(30)),
            ca,
            identity,
        })
    }
}

impl WebhookOptions {
    pub(super) fn parse(section: &mut Section<'_>) -> Result<Self, ConfigError> {
        Ok(Self {
            http: HttpSinkOptions::parse(section)?,
            secret: section.filled_text("secret")?.map(Secret),
            is_lines: section.word("form", &["list", "lines"])? == Some("lines"),
        })
    }
}

impl OtlpOptions {
    pub(super) fn parse(section: &mut Section<'_>) -> Result<Self, ConfigError> {
        Ok(Self {
            http: HttpSinkOptions::parse(section)?,
            service: section
                .plain_text("service")?
                .unwrap_or_else(|| "salt".to_owned()),
        })
    }
}
