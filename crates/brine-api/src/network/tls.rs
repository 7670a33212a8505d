//! TLS: certificates from files, read again when they change.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, version};
use tokio_rustls::TlsAcceptor;

/// How often is looked whether the files have changed.
pub(super) const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// Where certificates and keys are.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// `ssl_crt`: the server's certificate, PEM; those that signed it may follow.
    pub certificate: PathBuf,
    /// `ssl_key`: its private key, PEM.
    pub key: PathBuf,
    /// `ssl_chain`: the certificates that signed it, PEM.
    pub chain: Option<PathBuf>,
    /// Clients must show a certificate that one of these has signed, PEM.
    pub client_ca: Option<PathBuf>,
}

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file is not what it should be.
    #[error("{}: expected {expected}, in PEM: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        expected: &'static str,
        /// What is wrong.
        error: rustls::pki_types::pem::Error,
    },
    /// A file holds nothing of the kind.
    #[error("{}: expected {expected} in PEM, but the file contains none", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        expected: &'static str,
    },
    /// Certificate and key do not belong together, or are not fit for use.
    #[error("ssl_crt and ssl_key: {0}")]
    Unfit(#[from] rustls::Error),
    /// The certificates that clients' are compared with.
    #[error("client_ca: {0}")]
    ClientCa(#[from] rustls::server::VerifierBuilderError),
}

/// TLS as it is configured now.
pub struct Tls {
    files: TlsFiles,
    now: Mutex<Loaded>,
}

struct Loaded {
    config: Arc<ServerConfig>,
    /// When the files were last changed.
    changed: Vec<Option<SystemTime>>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Tls")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// [`TlsError`] names the file.
    pub fn load(files: TlsFiles) -> Result<Self, TlsError> {
        let changed = files.changed();
        let config = files.config()?;
        Ok(Self {
            files,
            now: Mutex::new(Loaded { config, changed }),
        })
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.lock().config))
    }

    /// Reads the files again if one has changed. Files that do not match yet are tried again later.
    pub(super) fn reload(&self) {
        let changed = self.files.changed();
        if self.lock().changed == changed {
            return;
        }
        match self.files.config() {
            Ok(config) => {
                *self.lock() = Loaded { config, changed };
                tracing::info!("HTTP API: certificate reloaded");
            }
            Err(error) => {
                tracing::warn!(err = %error, "HTTP API: cannot reload the certificate; the old one stays in use")
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Loaded> {
        // Consistent after every operation, even if a thread panicked.
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TlsFiles {
    fn changed(&self) -> Vec<Option<SystemTime>> {
        let files = [
            Some(&self.certificate),
            Some(&self.key),
            self.chain.as_ref(),
            self.client_ca.as_ref(),
        ];
        let changed = |file: &PathBuf| std::fs::metadata(file).ok()?.modified().ok();
        files.into_iter().flatten().map(changed).collect()
    }

    fn config(&self) -> Result<Arc<ServerConfig>, TlsError> {
        const KEY: &str = "a private key";
        let mut certificates = certificates(&self.certificate)?;
        if let Some(chain) = &self.chain {
            certificates.extend(self::certificates(chain)?);
        }
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|error| TlsError::File {
            path: self.key.clone(),
            expected: KEY,
            error,
        })?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&version::TLS13, &version::TLS12])?;
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(file) => {
                let mut roots = RootCertStore::empty();
                for certificate in self::certificates(file)? {
                    roots.add(certificate)?;
                }
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                builder.with_client_cert_verifier(verifier.build()?)
            }
        };
        let mut config = builder.with_single_cert(certificates, key)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    const EXPECTED: &str = "certificates";
    let wrong = |error| TlsError::File {
        path: path.to_owned(),
        expected: EXPECTED,
        error,
    };
    let read = CertificateDer::pem_file_iter(path).map_err(wrong)?;
    let all = read.collect::<Result<Vec<_>, _>>().map_err(wrong)?;
    match all.is_empty() {
        true => Err(TlsError::Empty {
            path: path.to_owned(),
            expected: EXPECTED,
        }),
        false => Ok(all),
    }
}
