//! Apple's two kinds of credentials, read from the files that operators have. Reads bytes, not paths; makes no
//! connection.

mod certificate;
mod legacy_pem;
mod private_key;
mod signing_key;

#[cfg(test)]
pub(super) mod test_keys;

use std::sync::Arc;

use rustls::sign::CertifiedKey;

pub use certificate::ClientCertificate;
pub use signing_key::SigningKey;

/// How the relay proves itself to APNs.
#[derive(Clone, Debug)]
pub enum Credential {
    /// A `.p8` signing key: provider tokens are minted from it.
    Key(SigningKey),
    /// A client certificate with its key.
    Certificate(ClientCertificate),
}

impl Credential {
    /// What is shown in TLS, if anything is.
    pub(in super::super) fn certified(&self) -> Option<Arc<CertifiedKey>> {
        match self {
            Self::Key(_) => None,
            Self::Certificate(certificate) => Some(certificate.certified()),
        }
    }

    /// Whether Apple takes both for the same sender.
    pub(in super::super) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Key(own), Self::Key(other)) => own.is_same(other),
            (Self::Certificate(own), Self::Certificate(other)) => own.is_same(other),
            _ => false,
        }
    }
}

/// What is wrong with a credential file, and what to do. Quotes nothing from inside it but names of PEM sections and of
/// algorithms.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct CredentialError(pub String);

impl CredentialError {
    fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

/// The sections of a PEM file; an empty or unreadable one is an error.
fn pem_sections(file: &[u8]) -> Result<Vec<pem::Pem>, CredentialError> {
    if file.iter().all(u8::is_ascii_whitespace) {
        return Err(CredentialError::new("the file is empty"));
    }
    match pem::parse_many(file) {
        Ok(sections) if !sections.is_empty() => Ok(sections),
        Ok(_) => Err(CredentialError::new(
            "this is not a PEM file: it has no `-----BEGIN …-----` line (a binary `.p12`, `.pfx` or `.der` file must be given as what it is, or converted)",
        )),
        Err(_) => Err(CredentialError::new(
            "the PEM file is damaged: a section's BEGIN and END lines or its Base64 do not fit; copy it again, unchanged",
        )),
    }
}
