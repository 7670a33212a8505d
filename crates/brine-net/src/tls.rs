//! TLS around the tcp transport: Salt's option `ssl`, on both sides.
//!
//! Both ports are TLS from the first byte and the protocol inside is unchanged, encryption of its
//! own included. Unsupported settings are refused when the option is read, never ignored if that would
//! make a connection less safe. Facts: `docs/protocol/network.md` §2.2.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use brine_wire::compat::{Compat, Series};
use brine_wire::{Map, Value};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use crate::stream::TlsSocket;

/// Whether the other side must show a certificate (`cert_reqs`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertReqs {
    /// `CERT_NONE`: certificates are not checked. A minion then accepts any peer as its master at the TLS level; Salt's
    /// own protocol inside still checks the master's key.
    None,
    /// `CERT_OPTIONAL`: a certificate that is shown must be valid.
    Optional,
    /// `CERT_REQUIRED`: a valid certificate is required.
    Required,
}

/// The parsed option `ssl`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TlsOptions {
    /// Our certificate and its chain.
    pub certfile: Option<PathBuf>,
    /// Its key, where it is not in the same file.
    pub keyfile: Option<PathBuf>,
    /// The authorities that must have signed the other side's certificate (`ca_certs`, `verify_locations`).
    pub ca_certs: Vec<PathBuf>,
    /// `None` for the release's default.
    pub cert_reqs: Option<CertReqs>,
}

/// TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The option has the wrong type.
    #[error("option ssl: expected {expected}, found {found}")]
    Option {
        /// What it may be.
        expected: &'static str,
        /// What it is.
        found: String,
    },
    /// An unsupported setting.
    #[error("option ssl: {name} is not supported; remove it, or use ca_certs and cert_reqs")]
    Unsupported {
        /// Which.
        name: String,
    },
    /// A required setting is missing.
    #[error("option ssl: set {expected}")]
    Missing {
        /// What.
        expected: &'static str,
    },
    /// A file cannot be read or holds something else.
    #[error("option ssl: {}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: rustls::pki_types::pem::Error,
    },
    /// Certificate, key and authorities do not match.
    #[error("option ssl: {0}")]
    Config(#[from] rustls::Error),
    /// The authorities cannot be used to verify minions.
    #[error("option ssl: ca_certs: {0}")]
    Authorities(#[from] rustls::server::VerifierBuilderError),
}

impl TlsOptions {
    /// Reads Salt's option `ssl`: nothing, true or a map.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn from_option(ssl: Option<&Value>) -> Result<Option<Self>, TlsError> {
        match ssl {
            None | Some(Value::Nil | Value::Bool(false)) => Ok(None),
            Some(Value::Bool(true)) => Ok(Some(Self::default())),
            Some(Value::Map(map)) => Self::from_map(map).map(Some),
            Some(other) => Err(TlsError::Option {
                expected: "true, false or a map",
                found: format!("{other:?}"),
            }),
        }
    }

    fn from_map(map: &Map) -> Result<Self, TlsError> {
        let mut options = Self::default();
        for (name, value) in map.iter() {
            let name = name.as_str().unwrap_or_default();
            match name {
                _ if matches!(value, Value::Nil) => {}
                "certfile" => options.certfile = Some(path(value)?),
                "keyfile" => options.keyfile = Some(path(value)?),
                "ca_certs" => options.ca_certs.push(path(value)?),
                "verify_locations" => options.ca_certs.extend(locations(value)?),
                "cert_reqs" => options.cert_reqs = Some(cert_reqs(value)?),
                // rustls has only secure versions and ciphers: there is nothing to choose.
                "ssl_version" | "ciphers" => {
                    tracing::warn!(
                        option = name,
                        "option ssl: setting ignored; the TLS library decides"
                    );
                }
                other => {
                    return Err(TlsError::Unsupported {
                        name: other.to_owned(),
                    });
                }
            }
        }
        Ok(options)
    }

    /// A master's side. Unless `cert_reqs` is set, minions' certificates are required as in the release: 3008 requires
    /// them, earlier releases do not.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn server(&self, compat: Compat) -> Result<TlsServer, TlsError> {
        let builder = rustls::ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?;
        let default = match compat.series() {
            Series::S3008 => CertReqs::Required,
            _ => CertReqs::None,
        };
        let builder = match self.cert_reqs.unwrap_or(default) {
            CertReqs::None => builder.with_no_client_auth(),
            reqs => {
                let roots = Arc::new(self.roots()?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider());
                let verifier = match reqs {
                    CertReqs::Required => verifier,
                    _ => verifier.allow_unauthenticated(),
                };
                builder.with_client_cert_verifier(verifier.build()?)
            }
        };
        let (chain, key) = self.identity()?.ok_or(TlsError::Missing {
            expected: "certfile, for a master",
        })?;
        let config = builder.with_single_cert(chain, key)?;
        Ok(TlsServer(TlsAcceptor::from(Arc::new(config))))
    }

    /// A minion's side. The master must show a certificate for the name or address it is called by,
    /// unless `cert_reqs` is `CERT_NONE`.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn client(&self) -> Result<TlsClient, TlsError> {
        let builder = rustls::ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?;
        let builder = match self.cert_reqs.unwrap_or(CertReqs::Required) {
            CertReqs::None => {
                let anybody =
                    Anybody(aws_lc_rs::default_provider().signature_verification_algorithms);
                (builder.dangerous()).with_custom_certificate_verifier(Arc::new(anybody))
            }
            _ => builder.with_root_certificates(self.roots()?),
        };
        let config = match self.identity()? {
            Some((chain, key)) => builder.with_client_auth_cert(chain, key)?,
            None => builder.with_no_client_auth(),
        };
        Ok(TlsClient(TlsConnector::from(Arc::new(config))))
    }

    fn roots(&self) -> Result<RootCertStore, TlsError> {
        if self.ca_certs.is_empty() {
            return Err(TlsError::Missing {
                expected: "ca_certs to judge the other side's certificate by, or cert_reqs: CERT_NONE",
            });
        }
        let mut roots = RootCertStore::empty();
        for path in &self.ca_certs {
            for certificate in certificates(path)? {
                roots.add(certificate)?;
            }
        }
        Ok(roots)
    }

    fn identity(&self) -> Result<Option<Identity>, TlsError> {
        let Some(certfile) = &self.certfile else {
            return Ok(None);
        };
        let keyfile = self.keyfile.as_ref().unwrap_or(certfile);
        let key = PrivateKeyDer::from_pem_file(keyfile).map_err(file(keyfile))?;
        Ok(Some((certificates(certfile)?, key)))
    }
}

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found = CertificateDer::pem_file_iter(path).map_err(file(path))?;
    let found: Vec<_> = found.collect::<Result<_, _>>().map_err(file(path))?;
    if found.is_empty() {
        return Err(file(path)(rustls::pki_types::pem::Error::NoItemsFound));
    }
    Ok(found)
}

fn file(path: &Path) -> impl FnOnce(rustls::pki_types::pem::Error) -> TlsError {
    let path = path.to_owned();
    move |source| TlsError::File { path, source }
}

fn path(value: &Value) -> Result<PathBuf, TlsError> {
    let path = value.as_str().map(PathBuf::from);
    path.ok_or_else(|| TlsError::Option {
        expected: "the path of a file",
        found: format!("{value:?}"),
    })
}

/// `verify_locations`: paths, or maps from kinds to paths.
fn locations(value: &Value) -> Result<Vec<PathBuf>, TlsError> {
    let Value::Array(locations) = value else {
        return Ok(vec![path(value)?]);
    };
    let mut paths = Vec::new();
    for location in locations {
        let Value::Map(map) = location else {
            paths.push(path(location)?);
            continue;
        };
        for (kind, value) in map.iter() {
            let kind = kind.as_str().unwrap_or_default();
            if !kind.eq_ignore_ascii_case("cafile") {
                return Err(TlsError::Unsupported {
                    name: format!("verify_locations: {kind}"),
                });
            }
            paths.push(path(value)?);
        }
    }
    Ok(paths)
}

fn cert_reqs(value: &Value) -> Result<CertReqs, TlsError> {
    match value.as_str() {
        Some("CERT_NONE") => Ok(CertReqs::None),
        Some("CERT_OPTIONAL") => Ok(CertReqs::Optional),
        Some("CERT_REQUIRED") => Ok(CertReqs::Required),
        _ => Err(TlsError::Option {
            expected: "cert_reqs to be CERT_NONE, CERT_OPTIONAL or CERT_REQUIRED",
            found: format!("{value:?}"),
        }),
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// A master's side of TLS; cheap to clone.
#[derive(Clone)]
pub struct TlsServer(TlsAcceptor);

/// A minion's side of TLS; cheap to clone.
#[derive(Clone)]
pub struct TlsClient(TlsConnector);

impl TlsServer {
    /// Does the handshake within `io_timeout`. Dropping the future ends the connection.
    ///
    /// # Errors
    /// Errors of the system and of TLS.
    pub(crate) async fn accept(
        &self,
        stream: TcpStream,
        io_timeout: Duration,
    ) -> io::Result<TlsStream<TlsSocket>> {
        let shaken = timeout(io_timeout, self.0.accept(TlsSocket::new(stream))).await;
        let mut stream = shaken.map_err(io::Error::from)??;
        stream.get_mut().0.open();
        Ok(stream.into())
    }
}

impl TlsClient {
    /// Does the handshake with the master at `host`, a name or address.
    ///
    /// # Errors
    /// As for [`TlsServer::accept`].
    pub(crate) async fn connect(
        &self,
        host: &str,
        stream: TcpStream,
        io_timeout: Duration,
    ) -> io::Result<TlsStream<TlsSocket>> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let shaken = timeout(io_timeout, self.0.connect(name, TlsSocket::new(stream))).await;
        let mut stream = shaken.map_err(io::Error::from)??;
        stream.get_mut().0.open();
        Ok(stream.into())
    }
}

impl fmt::Debug for TlsServer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("TlsServer")
    }
}

impl fmt::Debug for TlsClient {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("TlsClient")
    }
}

/// `CERT_NONE`: accepts any certificate, but still checks that the other side has its key.
#[derive(Debug)]
struct Anybody(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signed, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
