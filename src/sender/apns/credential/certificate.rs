//! A client certificate with its key, from PEM or PKCS#12.

use std::fmt;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::certificate::Validity;
use x509_parser::time::ASN1Time;
use x509_parser::x509::X509Version;

use super::{CredentialError, pem_sections, private_key};
use crate::clock::{Clock, rfc3339};
use crate::private::Private;
use crate::sender::network::crypto_provider;

/// A client certificate, its chain and its key, which fit together.
#[derive(Clone)]
pub struct ClientCertificate {
    certified: Arc<CertifiedKey>,
    /// Seconds after the Unix epoch.
    not_before: u64,
    /// Seconds after the Unix epoch; the last second in which it works.
    not_after: u64,
}

impl ClientCertificate {
    /// PEM: certificate, chain and key in one file, in any order; the key may be encrypted.
    pub fn from_pem(pem: &[u8], password: Option<&Private>) -> Result<Self, CredentialError> {
        let sections = pem_sections(pem)?;
        // PKCS#12 that somebody has wrapped as PEM.
        if let Some(archive) = sections.iter().find(|section| matches!(section.tag(), "PKCS12" | "PFX")) {
            return Self::from_p12(archive.contents(), password);
        }
        let mut keys = sections.iter().filter(|section| private_key::is_key(section));
        let key = match (keys.next(), keys.next()) {
            (Some(key), None) => private_key::read(key, password)?,
            (None, _) => {
                return Err(CredentialError::new(
                    "the file holds no private key; append the key of the certificate (a section `-----BEGIN PRIVATE KEY-----`)",
                ));
            }
            (Some(_), Some(_)) => {
                return Err(CredentialError::new(
                    "the file holds more than one private key; leave only the certificate's",
                ));
            }
        };
        let certificates = sections
            .into_iter()
            .filter(|section| section.tag() == "CERTIFICATE")
            .map(|section| CertificateDer::from(section.into_contents()));
        Self::from_parts(certificates.collect(), key)
    }

    /// PKCS#12 (`.p12`, `.pfx`), as Keychain Access exports it. Without a password the empty one is tried.
    #[cfg(feature = "p12")]
    pub fn from_p12(der: &[u8], password: Option<&Private>) -> Result<Self, CredentialError> {
        use p12_keystore::error::Error;
        use rustls::pki_types::PrivatePkcs8KeyDer;

        if der.is_empty() {
            return Err(CredentialError::new("the file is empty"));
        }
        // SEQUENCE, then 0x80: its length is not said, but its end is marked.
        if der.starts_with(&[0x30, 0x80]) {
            return Err(CredentialError::new(
                "the PKCS#12 file is written in BER with indefinite lengths, as Java and older Windows tools do, which is not supported; convert it with `openssl pkcs12 -in FILE -nodes -out FILE.pem` and configure the PEM file",
            ));
        }
        let has_password = password.is_some_and(|password| !password.is_empty());
        let archive = p12_keystore::Pkcs12Archive::from_pkcs12(der, password.map_or("", Private::expose)).map_err(
            |error| match error {
                Error::MacError(_) | Error::UnpadError | Error::Pkcs5Error(_) if has_password => {
                    CredentialError::new("the password is wrong: the PKCS#12 file cannot be opened with it")
                }
                Error::MacError(_) | Error::UnpadError | Error::Pkcs5Error(_) => CredentialError::new(
                    "the PKCS#12 file is protected and no password is configured; add the certificate's password. If it has none (GnuTLS's `--null-password`, node-forge), convert it with `openssl pkcs12 -in FILE -nodes -passin pass: -out FILE.pem` and configure the PEM file",
                ),
                Error::UnsupportedEncryptionScheme | Error::UnsupportedMacAlgorithm => CredentialError::new(
                    "the PKCS#12 file is encrypted in a way that is not supported; convert it with `openssl pkcs12 -in FILE -nodes -out FILE.pem` and configure the PEM file",
                ),
                _ => CredentialError::new("this is not a PKCS#12 file, or it is damaged; export it again"),
            },
        )?;
        let key = match archive.keys.as_slice() {
            [bag] => PrivatePkcs8KeyDer::from(bag.key.as_der().to_vec()),
            [] => {
                return Err(CredentialError::new(
                    "the PKCS#12 file holds no private key; export the certificate together with its key",
                ));
            }
            _ => {
                return Err(CredentialError::new(
                    "the PKCS#12 file holds more than one private key; export only the push certificate",
                ));
            }
        };
        let certificates = archive.certs.iter().map(|bag| CertificateDer::from(bag.cert.as_der().to_vec()));
        Self::from_parts(certificates.collect(), key.into())
    }

    /// PKCS#12, which this program was built without.
    #[cfg(not(feature = "p12"))]
    pub fn from_p12(_: &[u8], _: Option<&Private>) -> Result<Self, CredentialError> {
        Err(CredentialError::new(
            "this program was built without PKCS#12 (the feature `p12`); convert the file with `openssl pkcs12 -in FILE -nodes -out FILE.pem` and configure the PEM file",
        ))
    }

    /// The certificates in any order; the one that belongs to the key is found, and of several the newest that is valid.
    fn from_parts(
        mut chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Self, CredentialError> {
        if chain.is_empty() {
            return Err(CredentialError::new(
                "the file holds no certificate; it needs both the certificate and its private key",
            ));
        }
        let key = crypto_provider().key_provider.load_private_key(key).map_err(|_| {
            CredentialError::new("the private key is damaged or of a kind that TLS cannot use; RSA and EC keys work")
        })?;
        let public =
            key.public_key().ok_or_else(|| CredentialError::new("the private key does not know its public half"))?;
        let mut damaged = false;
        let mut fitting = Vec::new();
        for (place, certificate) in chain.iter().enumerate() {
            match x509_parser::parse_x509_certificate(certificate) {
                Ok((_, parsed)) if *parsed.subject_pki.raw == *public => {
                    let seconds = |time: ASN1Time| u64::try_from(time.timestamp()).unwrap_or_default();
                    let Validity { not_before, not_after } = *parsed.validity();
                    let is_v3 = parsed.version() == X509Version::V3;
                    fitting.push(Fitting { place, is_v3, valid: (seconds(not_before), seconds(not_after)) });
                }
                Ok(_) => {}
                Err(_) => damaged = true,
            }
        }
        let Some(Fitting { place, is_v3, valid: (not_before, not_after) }) =
            best(&fitting, Clock::System.unix_seconds())
        else {
            return Err(CredentialError::new(if damaged {
                "the certificate is damaged; export it again"
            } else {
                "the certificate and the private key do not belong together; export both from the same entry"
            }));
        };
        if !is_v3 {
            return Err(CredentialError::new(
                "the certificate is of X.509 version 1, which TLS does not take; Apple's are of version 3: is it one that was made by hand?",
            ));
        }
        chain[..=place].rotate_right(1);
        Ok(Self { certified: Arc::new(CertifiedKey::new(chain, key)), not_before, not_after })
    }

    /// Whether both show the same certificates. The key fits the first of them, so it is the same as well.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.certified.cert == other.certified.cert
    }

    /// For TLS.
    pub(in super::super) fn certified(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.certified)
    }

    /// Its last moment, in seconds after the Unix epoch.
    pub(in super::super) fn expires_at(&self) -> u64 {
        self.not_after
    }

    /// Why it does not work at this moment (seconds after the Unix epoch), if so.
    pub(in super::super) fn problem(&self, now: u64) -> Option<String> {
        if now > self.not_after {
            Some(format!(
                "the certificate expired on {}; create a new one in Apple's developer account and put it in the old one's place",
                rfc3339(self.not_after)
            ))
        } else if now < self.not_before {
            Some(format!(
                "the certificate is valid only from {} on; check this machine's clock, or use the certificate it replaces until then",
                rfc3339(self.not_before)
            ))
        } else {
            None
        }
    }
}

/// A certificate that belongs to the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fitting {
    /// Where it stands among all of the file.
    place: usize,
    is_v3: bool,
    /// From when and until when, seconds after the Unix epoch.
    valid: (u64, u64),
}

/// A renewed certificate is often put behind the one it replaces: of those that are valid now, the one that is valid the longest; if
/// none is, the same of all.
fn best(fitting: &[Fitting], now: u64) -> Option<Fitting> {
    let is_valid = |one: &Fitting| (one.valid.0..=one.valid.1).contains(&now);
    fitting.iter().copied().max_by_key(|one| (one.is_v3, is_valid(one), one.valid.1))
}

impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "ClientCertificate({} in chain, valid from {} to {}, key: [private])",
            self.certified.cert.len(),
            rfc3339(self.not_before),
            rfc3339(self.not_after)
        )
    }
}

#[cfg(test)]
mod tests;
