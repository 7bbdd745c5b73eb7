//! The public keys of chat servers.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ParsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// A P-256 public key that verifies ES256 signatures. Parsed once: parsing costs as much as a tenth of a verification.
#[derive(Clone)]
pub struct VerifyingKey {
    parsed: Arc<ParsedPublicKey>,
    fingerprint: [u8; 32],
}

/// Why a text is not a public key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Neither PEM nor base64.
    #[error(
        "is neither a PEM block `-----BEGIN PUBLIC KEY-----` nor base64; \
         paste AsymmetricSigningPublicKey from <site>/api/v4/config/client?format=old"
    )]
    NotEncoded,
    /// Decodes, but to something else.
    #[error("is not a P-256 public key in SPKI form, the only kind that signs ES256")]
    NotP256,
    /// The wrong half of the pair.
    #[error("is a private key; the relay needs the public one, and this one should now be replaced")]
    PrivateKey,
}

impl VerifyingKey {
    /// From SPKI, either as PEM or as the bare base64 that Mattermost publishes.
    pub fn from_text(text: &str) -> Result<Self, KeyError> {
        let text = text.trim();
        if text.contains("PRIVATE KEY-----") {
            return Err(KeyError::PrivateKey);
        }
        let body = match text.strip_prefix("-----BEGIN PUBLIC KEY-----") {
            Some(rest) => rest.strip_suffix("-----END PUBLIC KEY-----").ok_or(KeyError::NotEncoded)?,
            None => text,
        };
        let base64: String = body.split_ascii_whitespace().collect();
        let der = STANDARD.decode(base64).map_err(|_| KeyError::NotEncoded)?;
        Self::from_spki_der(&der)
    }

    /// From SPKI DER.
    pub fn from_spki_der(der: &[u8]) -> Result<Self, KeyError> {
        // The library also takes a bare point; a configuration should hold one form only.
        if der.first() != Some(&0x30) {
            return Err(KeyError::NotP256);
        }
        let parsed = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, der).map_err(|_| KeyError::NotP256)?;
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, der);
        let mut fingerprint = [0; 32];
        fingerprint.copy_from_slice(digest.as_ref());
        Ok(Self { parsed: Arc::new(parsed), fingerprint })
    }

    /// The SPKI DER it was made from: what is stored, and what the fingerprint is of.
    pub fn spki_der(&self) -> &[u8] {
        (*self.parsed).as_ref()
    }

    /// Whether `signature` (64 bytes, r then s) is this key's over `message`.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        self.parsed.verify_sig(message, signature).is_ok()
    }

    /// SHA-256 of the SPKI DER in groups of four hex digits: what two people compare over the telephone.
    pub fn fingerprint(&self) -> String {
        groups(&self.fingerprint)
    }
}

/// A hash in groups of four hex digits.
pub(super) fn groups(hash: &[u8]) -> String {
    let groups: Vec<String> = hash.chunks_exact(2).map(|pair| format!("{:02x}{:02x}", pair[0], pair[1])).collect();
    groups.join(" ")
}

impl PartialEq for VerifyingKey {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }
}

impl Eq for VerifyingKey {}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifyingKey({})", self.fingerprint())
    }
}
