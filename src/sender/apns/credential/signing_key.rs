//! The `.p8` file from Apple's developer account, with the two ids that belong to it.

use std::fmt;
use std::sync::Arc;

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use pkcs8::{ObjectIdentifier, PrivateKeyInfoRef};
use serde::Serialize;

use super::{CredentialError, pem_sections};

/// `id-ecPublicKey` (RFC 5480 §2.1.1).
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");

/// `secp256r1`, that is P-256 (RFC 5480 §2.1.1.1): ES256 knows no other curve.
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");

/// A key that signs provider tokens.
#[derive(Clone)]
pub struct SigningKey {
    key: EncodingKey,
    key_id: Arc<str>,
    team_id: Arc<str>,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    iat: u64,
}

impl SigningKey {
    /// From a `.p8` file (PKCS#8 in PEM, P-256, not encrypted), the key's id and the team's id, all from Apple's
    /// developer account.
    pub fn from_p8(pem: &[u8], key_id: &str, team_id: &str) -> Result<Self, CredentialError> {
        let sections = pem_sections(pem)?;
        let Some(section) = sections.iter().find(|section| section.tag() == "PRIVATE KEY") else {
            return Err(wrong_section(sections[0].tag()));
        };
        let info = PrivateKeyInfoRef::try_from(section.contents()).map_err(|_| {
            CredentialError::new(
                "the signing key is damaged; download it again from Apple's developer account, or create a new one",
            )
        })?;
        if info.algorithm.oid != EC {
            return Err(CredentialError::new(
                "this is not an elliptic-curve key; APNs needs the `.p8` key from Apple's developer account (Keys, Apple Push Notifications service)",
            ));
        }
        if info.algorithm.parameters_oid().ok() != Some(P256) {
            return Err(CredentialError::new(
                "the key is on another curve than P-256, so Apple cannot have issued it; use the `.p8` key from Apple's developer account",
            ));
        }
        let key = Self {
            key: EncodingKey::from_ec_der(section.contents()),
            key_id: id("key id", key_id)?,
            team_id: id("team id", team_id)?,
        };
        key.sign(0)?;
        Ok(key)
    }

    /// Whether Apple takes both for the same key.
    pub(in super::super) fn is_same(&self, other: &Self) -> bool {
        self.key_id == other.key_id && self.team_id == other.team_id && self.key.as_bytes() == other.key.as_bytes()
    }

    /// A provider token issued at this many seconds after the Unix epoch. Takes some 30 µs.
    pub(in super::super) fn sign(&self, issued_at: u64) -> Result<String, CredentialError> {
        let mut header = Header::new(Algorithm::ES256);
        header.typ = None;
        header.kid = Some(self.key_id.to_string());
        let claims = Claims { iss: &self.team_id, iat: issued_at };
        jsonwebtoken::encode(&header, &claims, &self.key).map_err(|_| {
            CredentialError::new("the signing key cannot sign; download it again from Apple's developer account")
        })
    }
}

fn wrong_section(tag: &str) -> CredentialError {
    CredentialError::new(match tag {
        "CERTIFICATE" => "this is a certificate, not a signing key; give the `.p8` key, or configure the certificate as one".to_owned(),
        "PUBLIC KEY" => "this is a public key; APNs needs the private `.p8` key it belongs to".to_owned(),
        "ENCRYPTED PRIVATE KEY" => {
            "the key is encrypted; Apple's `.p8` files are not. Decrypt it with `openssl pkcs8 -in KEY -out KEY.p8`".to_owned()
        }
        "EC PRIVATE KEY" | "EC PARAMETERS" => {
            "the key is in another form than Apple's `.p8` files; convert it with `openssl pkcs8 -topk8 -nocrypt -in KEY -out KEY.p8`".to_owned()
        }
        other => format!("the file holds `{other}`, but a signing key begins with `-----BEGIN PRIVATE KEY-----`"),
    })
}

fn id(what: &str, text: &str) -> Result<Arc<str>, CredentialError> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err(CredentialError(format!(
            "the {what} must be the letters and digits that Apple's developer account shows for it (ten of them)"
        )));
    }
    Ok(text.into())
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey(key id {}, team id {}, [private])", self.key_id, self.team_id)
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_keys;
    use super::*;

    #[test]
    fn apples_key_is_read_whatever_surrounds_it() {
        for pem in [test_keys::p8(), format!("\n  \n{}\n\n", test_keys::p8()), test_keys::p8().replace('\n', "\r\n")] {
            SigningKey::from_p8(pem.as_bytes(), "KEYID12345", "TEAMID1234").unwrap();
        }
    }

    #[test]
    fn what_is_no_signing_key_is_refused_with_what_it_is() {
        let other_curve = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap().serialize_pem();
        let ed25519 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap().serialize_pem();
        let certificate = rcgen::generate_simple_self_signed(["x".to_owned()]).unwrap().cert.pem();
        let damaged = pem::encode(&pem::Pem::new("PRIVATE KEY", [0x30, 0x03, 0x02, 0x01, 0x00]));
        let section = |tag: &str| pem::encode(&pem::Pem::new(tag, [1, 2, 3]));
        let cases = [
            (String::new(), "empty"),
            (" \n\t".to_owned(), "empty"),
            ("AuthKey_KEYID12345".to_owned(), "not a PEM file"),
            (certificate, "certificate, not a signing key"),
            (test_keys::public_pem(), "public key"),
            (other_curve, "P-256"),
            (ed25519, "elliptic-curve"),
            (damaged, "damaged"),
            (test_keys::p8().replace("-----END PRIVATE", "-----END PUBLIC"), "damaged"),
            (section("ENCRYPTED PRIVATE KEY"), "encrypted"),
            (section("EC PRIVATE KEY"), "convert it with"),
            (section("RSA PRIVATE KEY"), "`RSA PRIVATE KEY`"),
        ];
        for (pem, expected) in cases {
            let error = SigningKey::from_p8(pem.as_bytes(), "KEYID12345", "TEAMID1234").unwrap_err().to_string();
            assert!(error.contains(expected), "{pem}: {error}");
        }
    }

    #[test]
    fn an_id_that_cannot_be_apples_is_named() {
        for (key_id, team_id, expected) in
            [("", "TEAMID1234", "key id"), ("KEYID12345", "", "team id"), ("KEY\"ID", "TEAMID1234", "key id")]
        {
            let error = SigningKey::from_p8(test_keys::p8().as_bytes(), key_id, team_id).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_debug_print_shows_the_ids_and_no_key() {
        let key = SigningKey::from_p8(test_keys::p8().as_bytes(), "KEYID12345", "TEAMID1234").unwrap();
        assert_eq!(format!("{key:?}"), "SigningKey(key id KEYID12345, team id TEAMID1234, [private])");
    }
}
