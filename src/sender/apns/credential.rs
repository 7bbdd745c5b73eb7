//! Apple's two kinds of credentials, read from the files operators have.
use crate::private::Private;

/// How the relay proves itself to APNs.
#[derive(Clone, Debug)]
pub enum Credential {
    /// A `.p8` signing key: provider tokens are minted from it.
    Key(SigningKey),
    /// A client certificate with its key.
    Certificate(ClientCertificate),
}
/// x
#[derive(Clone, Debug)]
pub struct SigningKey {}
/// x
#[derive(Clone, Debug)]
pub struct ClientCertificate {}
/// What is wrong with a credential file, and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct CredentialError(pub String);
#[allow(unused_variables, clippy::todo, missing_docs)]
impl SigningKey {
    pub fn from_p8(pem: &[u8], key_id: &str, team_id: &str) -> Result<Self, CredentialError> {
        todo!()
    }
}
#[allow(unused_variables, clippy::todo, missing_docs)]
impl ClientCertificate {
    /// PEM: certificate chain and key in one file; the key may be encrypted.
    pub fn from_pem(pem: &[u8], password: Option<&Private>) -> Result<Self, CredentialError> {
        todo!()
    }
    /// PKCS#12.
    pub fn from_p12(der: &[u8], password: Option<&Private>) -> Result<Self, CredentialError> {
        todo!()
    }
}
