//! The names of the RSA schemes that messages carry.
//!
//! Facts: `docs/protocol/network.md` §4.2.

/// How RSA encrypts: OAEP, the hash used for the mask and the label alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum EncryptionAlgorithm {
    /// `OAEP-SHA1`.
    #[default]
    OaepSha1,
    /// `OAEP-SHA224`.
    OaepSha224,
}

/// How RSA signs: PKCS #1 v1.5.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum SigningAlgorithm {
    /// `PKCS1v15-SHA1`.
    #[default]
    Pkcs1v15Sha1,
    /// `PKCS1v15-SHA224`.
    Pkcs1v15Sha224,
}

impl EncryptionAlgorithm {
    /// The scheme of a name; `None` if there is none.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::OaepSha1, Self::OaepSha224]
            .into_iter()
            .find(|algorithm| algorithm.name() == name)
    }

    /// Whether it rests on SHA-1 (`fips_mode` refuses that).
    #[must_use]
    pub const fn uses_sha1(self) -> bool {
        matches!(self, Self::OaepSha1)
    }

    /// Its name on the wire and in configuration files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::OaepSha1 => "OAEP-SHA1",
            Self::OaepSha224 => "OAEP-SHA224",
        }
    }
}

impl SigningAlgorithm {
    /// The scheme of a name; `None` if there is none.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Pkcs1v15Sha1, Self::Pkcs1v15Sha224]
            .into_iter()
            .find(|algorithm| algorithm.name() == name)
    }

    /// Whether it rests on SHA-1 (`fips_mode` refuses that).
    #[must_use]
    pub const fn uses_sha1(self) -> bool {
        matches!(self, Self::Pkcs1v15Sha1)
    }

    /// Its name on the wire and in configuration files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pkcs1v15Sha1 => "PKCS1v15-SHA1",
            Self::Pkcs1v15Sha224 => "PKCS1v15-SHA224",
        }
    }
}
