//! The other half of the pair: what a chat server signs its pushes with.
//!
//! The relay verifies and never signs; this is for `pushrelay send`, `pushrelay dev` and tests, which play the chat
//! server.

use std::fmt;

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use super::key::VerifyingKey;
use crate::notification::DeviceToken;

/// A P-256 private key that makes ES256 signatures.
pub struct SigningKey(EcdsaKeyPair);

/// Why a text is not a private key for signing pushes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "is not a P-256 private key in PKCS#8 PEM (`-----BEGIN PRIVATE KEY-----`); \
     make one with: openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out server.pem"
)]
pub struct SigningKeyError;

impl SigningKey {
    /// A fresh one.
    pub fn generate() -> Self {
        // Fails only when the system has no entropy, and then nothing with TLS can run either.
        Self(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("the system gives random numbers"))
    }

    /// From PKCS#8 PEM.
    pub fn from_pem(text: &str) -> Result<Self, SigningKeyError> {
        let body = text
            .trim()
            .strip_prefix("-----BEGIN PRIVATE KEY-----")
            .and_then(|rest| rest.strip_suffix("-----END PRIVATE KEY-----"))
            .ok_or(SigningKeyError)?;
        let base64: String = body.split_ascii_whitespace().collect();
        let der = STANDARD.decode(base64).map_err(|_| SigningKeyError)?;
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der).map(Self).map_err(|_| SigningKeyError)
    }

    /// As PKCS#8 PEM.
    pub fn to_pem(&self) -> String {
        let der = self.0.to_pkcs8v1().expect("a key that was generated or parsed can be written");
        pem("PRIVATE KEY", der.as_ref())
    }

    /// The public half, ready to verify.
    pub fn verifying_key(&self) -> VerifyingKey {
        VerifyingKey::from_spki_der(&self.spki_der()).expect("the public half of a P-256 key is a P-256 key")
    }

    /// The public half as the base64 of its SPKI DER, which is how Mattermost publishes it.
    pub fn public_base64(&self) -> String {
        STANDARD.encode(self.spki_der())
    }

    fn spki_der(&self) -> Vec<u8> {
        let der: PublicKeyX509Der<'_> = self.0.public_key().as_der().expect("a public key can be written");
        der.as_ref().to_vec()
    }

    /// 64 bytes, r then s.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        let signature = self.0.sign(&SystemRandom::new(), message).expect("the system gives random numbers");
        signature.as_ref().to_vec()
    }

    /// The signature of one push, as a chat server makes it.
    pub fn sign_push(&self, ack_id: &str, device: &DeviceToken) -> String {
        let claims = serde_json::json!({"ack_id": ack_id, "device_id": device.expose()});
        let input = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(r#"{"alg":"ES256","typ":"JWT"}"#),
            URL_SAFE_NO_PAD.encode(claims.to_string())
        );
        let signature = self.sign(input.as_bytes());
        format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    let base64 = STANDARD.encode(der);
    let mut text = format!("-----BEGIN {label}-----\n");
    // 64 characters a line (RFC 7468 § 2).
    for line in base64.as_bytes().chunks(64) {
        text.extend(line.iter().copied().map(char::from));
        text.push('\n');
    }
    text += &format!("-----END {label}-----\n");
    text
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey([private])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_written_as_pem_reads_back_as_the_same_key() {
        let key = SigningKey::generate();
        let read = SigningKey::from_pem(&key.to_pem()).unwrap();
        assert_eq!(read.public_base64(), key.public_base64());
    }

    #[test]
    fn what_is_not_a_private_key_is_refused() {
        assert_eq!(SigningKey::from_pem("nonsense").unwrap_err(), SigningKeyError);
        assert_eq!(SigningKey::from_pem(&SigningKey::generate().public_base64()).unwrap_err(), SigningKeyError);
    }
}
