//! Keys that are made anew for each test run.

use std::sync::OnceLock;

fn pair() -> &'static rcgen::KeyPair {
    static PAIR: OnceLock<rcgen::KeyPair> = OnceLock::new();
    PAIR.get_or_init(|| rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap())
}

/// A signing key as Apple issues it.
pub(in super::super) fn p8() -> String {
    pair().serialize_pem()
}

/// Its public half.
pub(in super::super) fn public_pem() -> String {
    pair().public_key_pem()
}
