//! TLS towards the other side: whom to trust, and who we are. It does not know what is sent.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

/// Whom to trust, and who we are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TlsOptions {
    /// Whose certificates the other side may have.
    pub trust: Trust,
    /// A client certificate and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// Whose certificates the other side may have.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Trust {
    /// Anybody's: what is sent is encrypted, but any server that answers can read it.
    #[default]
    Anyone,
    /// One that a certificate in this file has signed, for the name that is connected to.
    Roots(PathBuf),
    /// One that a certificate the system trusts has signed, for the name that is connected to.
    System,
}

/// TLS that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file with certificates or a key.
    #[error("{option}: {}: expected {expected}: {reason}", .file.display())]
    File {
        /// The option that names it.
        option: &'static str,
        /// The file.
        file: PathBuf,
        /// What it should hold.
        expected: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// The pieces do not fit.
    #[error(transparent)]
    Config(#[from] rustls::Error),
}

/// Where Debian, Red Hat and Alpine keep the certificates that the system trusts.
const SYSTEM_ROOTS: [&str; 3] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
];

impl TlsOptions {
    /// As rustls takes it.
    ///
    /// # Errors
    /// [`TlsError`] if a file cannot be used.
    pub fn client_config(&self) -> Result<ClientConfig, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider));
        let builder = builder.with_safe_default_protocol_versions()?;
        let builder = match &self.trust {
            Trust::Anyone => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(AcceptAnyone(provider))),
            Trust::Roots(_) | Trust::System => {
                let file = self.trust.file().unwrap_or_default();
                let option = match &self.trust {
                    Trust::System => "the certificates that the system trusts",
                    _ => "ca",
                };
                builder.with_root_certificates(roots(option, &file)?)
            }
        };
        Ok(match &self.identity {
            Some((certificate, key)) => builder
                .with_client_auth_cert(certificates("cert", certificate)?, private_key(key)?)?,
            None => builder.with_no_client_auth(),
        })
    }
}

impl Trust {
    /// The file with the certificates that are trusted; `None` for anyone's.
    pub(crate) fn file(&self) -> Option<PathBuf> {
        match self {
            Self::Anyone => None,
            Self::Roots(file) => Some(file.clone()),
            Self::System => {
                let there = SYSTEM_ROOTS.map(Path::new);
                let file = there.iter().find(|file| file.is_file());
                Some(file.unwrap_or(&there[0]).to_path_buf())
            }
        }
    }
}

fn roots(option: &'static str, file: &Path) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(certificates(option, file)?);
    Ok(store)
}

fn certificates(
    option: &'static str,
    file: &Path,
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |reason: String| TlsError::File {
        option,
        file: file.to_owned(),
        expected: "certificates in PEM",
        reason,
    };
    let all = CertificateDer::pem_file_iter(file).map_err(|error| failed(error.to_string()))?;
    let all = all.collect::<Result<Vec<_>, _>>();
    let all = all.map_err(|error| failed(error.to_string()))?;
    match all.is_empty() {
        true => Err(failed("there is none".to_owned())),
        false => Ok(all),
    }
}

fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_file(file).map_err(|error| TlsError::File {
        option: "key",
        file: file.to_owned(),
        expected: "a private key in PEM",
        reason: error.to_string(),
    })
}

/// `sslmode: require` of PostgreSQL's clients, which asks for no certificate: the handshake is checked, the name is not.
#[derive(Debug)]
struct AcceptAnyone(Arc<CryptoProvider>);

impl ServerCertVerifier for AcceptAnyone {
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
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
