//! The encryption that OpenSSL used inside PEM files before PKCS#8 (`Proc-Type: 4,ENCRYPTED`, RFC 1421 §4.6.1.1), which
//! many exported push certificates still have. Weak by today's measure, but it is the operator's file.

use aes::{Aes128, Aes192, Aes256};
use cbc::Decryptor;
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockCipherDecrypt, BlockModeDecrypt, InnerIvInit, KeyInit, KeyIvInit};
use des::TdesEde3;
use md5::{Digest, Md5};

use super::CredentialError;
use super::private_key::wrong_password;
use crate::private::Private;

/// `EVP_BytesToKey` uses the first 8 bytes of the initialisation vector as salt.
const SALT_LENGTH: usize = 8;

pub(super) fn is_encrypted(section: &pem::Pem) -> bool {
    section.headers().get("Proc-Type").is_some_and(|value| value.contains("ENCRYPTED"))
}

pub(super) fn decrypt(section: &pem::Pem, password: &Private) -> Result<Vec<u8>, CredentialError> {
    let info = section.headers().get("DEK-Info").unwrap_or_default();
    let (cipher, vector) = info.split_once(',').unwrap_or((info, ""));
    let vector = hex(vector.trim()).filter(|vector| vector.len() >= SALT_LENGTH).ok_or_else(damaged)?;
    let (data, password) = (section.contents(), password.expose().as_bytes());
    let plain = match cipher.trim() {
        "AES-128-CBC" => cbc::<Aes128>(data, password, &vector, 16),
        "AES-192-CBC" => cbc::<Aes192>(data, password, &vector, 24),
        "AES-256-CBC" => cbc::<Aes256>(data, password, &vector, 32),
        "DES-EDE3-CBC" => cbc::<TdesEde3>(data, password, &vector, 24),
        _ => {
            return Err(CredentialError::new(
                "the private key is encrypted with a cipher that is not supported; encrypt it anew with `openssl pkcs8 -topk8 -v2 aes-256-cbc -in KEY -out KEY.pem`",
            ));
        }
    }?;
    // A wrong password leaves a valid padding once in some 250 times: then what comes out is no ASN.1 sequence.
    if is_one_sequence(&plain) { Ok(plain) } else { Err(wrong_password()) }
}

fn damaged() -> CredentialError {
    CredentialError::new("the encrypted private key is damaged (its `DEK-Info` line or its length); export it again")
}

fn cbc<C>(data: &[u8], password: &[u8], vector: &[u8], key_length: usize) -> Result<Vec<u8>, CredentialError>
where
    C: BlockCipherDecrypt + KeyInit,
    Decryptor<C>: KeyIvInit + InnerIvInit<Inner = C> + BlockModeDecrypt,
{
    let key = derive_key(password, &vector[..SALT_LENGTH], key_length);
    let decryptor = <Decryptor<C> as KeyIvInit>::new_from_slices(&key, vector).map_err(|_| damaged())?;
    decryptor.decrypt_padded_vec::<Pkcs7>(data).map_err(|_| wrong_password())
}

/// OpenSSL's `EVP_BytesToKey` with MD5 and one round: D1 = H(password salt), Dn = H(Dn−1 password salt), joined.
fn derive_key(password: &[u8], salt: &[u8], length: usize) -> Vec<u8> {
    let mut key: Vec<u8> = Vec::with_capacity(length + 16);
    let mut last: Vec<u8> = Vec::new();
    while key.len() < length {
        last = Md5::new().chain_update(&last).chain_update(password).chain_update(salt).finalize().to_vec();
        key.extend_from_slice(&last);
    }
    key.truncate(length);
    key
}

fn hex(text: &str) -> Option<Vec<u8>> {
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}

/// A DER `SEQUENCE` that ends where the data ends.
fn is_one_sequence(der: &[u8]) -> bool {
    let [0x30, first, rest @ ..] = der else { return false };
    let count = match first {
        0..=0x7f => return rest.len() == usize::from(*first),
        0x81..=0x84 => usize::from(first & 0x7f),
        _ => return false,
    };
    rest.len() >= count
        && rest.len() - count == rest[..count].iter().fold(0, |length, byte| length << 8 | usize::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn section(info: &str, contents: Vec<u8>) -> pem::Pem {
        let mut section = pem::Pem::new("RSA PRIVATE KEY", contents);
        section.headers_mut().add("Proc-Type", "4,ENCRYPTED").unwrap();
        section.headers_mut().add("DEK-Info", info).unwrap();
        section
    }

    #[test]
    fn what_cannot_be_read_is_told_apart_from_a_wrong_password() {
        let cases = [
            ("AES-256-CBC,00112233445566778899AABBCCDDEEFF", vec![0; 32], "password is wrong"),
            ("AES-256-CBC,0011", vec![0; 32], "damaged"),
            ("AES-256-CBC,001122334455667788", vec![0; 32], "damaged"),
            ("AES-256-CBC,zz112233445566778899AABBCCDDEEFF", vec![0; 32], "damaged"),
            ("AES-256-CBC", vec![0; 32], "damaged"),
            ("RC2-40-CBC,0011223344556677", vec![0; 32], "not supported"),
        ];
        for (info, contents, expected) in cases {
            let error = decrypt(&section(info, contents), &Private::new("x")).unwrap_err().to_string();
            assert!(error.contains(expected), "{info}: {error}");
        }
    }

    #[test]
    fn one_sequence_is_recognised_by_its_length() {
        let long = [vec![0x30, 0x82, 0x01, 0x00], vec![0; 256]].concat();
        for (der, expected) in [
            (vec![0x30, 0], true),
            (vec![0x30, 1, 5], true),
            (long, true),
            (vec![0x30, 2, 5], false),
            (vec![4, 0], false),
            (vec![], false),
            (vec![0x30, 0x82, 1], false),
        ] {
            assert_eq!(is_one_sequence(&der), expected, "{der:?}");
        }
    }

    proptest! {
        #[test]
        fn no_file_whatever_panics(info in "\\PC{0,60}", contents: Vec<u8>) {
            let mut section = pem::Pem::new("RSA PRIVATE KEY", contents);
            if section.headers_mut().add("DEK-Info", &info).is_ok() {
                let _ = decrypt(&section, &Private::new("x"));
            }
        }
    }
}
