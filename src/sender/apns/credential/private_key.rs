//! A private key from one section of a PEM file, decrypted if need be.

use pkcs8::EncryptedPrivateKeyInfoRef;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer};

use super::{CredentialError, legacy_pem};
use crate::private::Private;

/// Whether a section holds a private key.
pub(super) fn is_key(section: &pem::Pem) -> bool {
    section.tag().ends_with("PRIVATE KEY")
}

/// Reads PKCS#8 (plain or with PBES2), SEC1 and PKCS#1 (both plain or with OpenSSL's older encryption).
pub(super) fn read(section: &pem::Pem, password: Option<&Private>) -> Result<PrivateKeyDer<'static>, CredentialError> {
    let der = if legacy_pem::is_encrypted(section) {
        legacy_pem::decrypt(section, wanted(password)?)?
    } else if section.tag() == "ENCRYPTED PRIVATE KEY" {
        decrypt(section.contents(), wanted(password)?)?
    } else {
        section.contents().to_vec()
    };
    Ok(match section.tag() {
        "PRIVATE KEY" | "ENCRYPTED PRIVATE KEY" => PrivatePkcs8KeyDer::from(der).into(),
        "EC PRIVATE KEY" => PrivateSec1KeyDer::from(der).into(),
        "RSA PRIVATE KEY" => PrivatePkcs1KeyDer::from(der).into(),
        other => {
            return Err(CredentialError(format!(
                "a key of the kind `{other}` is not supported; convert it with `openssl pkcs8 -topk8 -in KEY -out KEY.pem`"
            )));
        }
    })
}

pub(super) fn wrong_password() -> CredentialError {
    CredentialError::new("the password is wrong: the private key cannot be decrypted with it")
}

fn wanted(password: Option<&Private>) -> Result<&Private, CredentialError> {
    password.filter(|password| !password.is_empty()).ok_or_else(|| {
        CredentialError::new(
            "the private key is encrypted and no password is configured; add the certificate's password",
        )
    })
}

fn decrypt(der: &[u8], password: &Private) -> Result<Vec<u8>, CredentialError> {
    use pkcs8::pkcs5::Error::{AlgorithmParametersInvalid, NoPbes1CryptSupport, UnsupportedAlgorithm};
    // The parser knows PBES2 and some of PBES1; what it does not know it cannot tell from damage.
    let encrypted = EncryptedPrivateKeyInfoRef::try_from(der).map_err(|_| unsupported())?;
    match encrypted.decrypt(password.expose().as_bytes()) {
        Ok(document) => Ok(document.as_bytes().to_vec()),
        Err(pkcs8::Error::EncryptedPrivateKey(
            AlgorithmParametersInvalid { .. } | NoPbes1CryptSupport | UnsupportedAlgorithm { .. },
        )) => Err(unsupported()),
        // Either the padding does not fit, or it did by chance and what came out is no key.
        Err(_) => Err(wrong_password()),
    }
}

fn unsupported() -> CredentialError {
    CredentialError::new(
        "the private key is damaged, or encrypted in a way that is not supported; encrypt it anew with `openssl pkcs8 -topk8 -v2 aes-256-cbc -in KEY -out KEY.pem`",
    )
}
