//! Which public keys can have made a signature: from one ES256 signature, without knowing the key.
//!
//! Signing picks a point R of the curve, and r is its x coordinate. Whoever knows r knows R but for its sign, and each R
//! gives one public key under which the signature is good (SEC 1 v2.0, § 4.1.6). So one signature leaves two keys, the
//! signer's and one that belongs to nobody; the signer's next signature is good under the first and not under the second.
//!
//! Pure: bytes in, keys out. It decides nothing: that a key made a signature says nothing about whose key it is
//! (`learned`). Checking signatures is `key`'s, with another library: this one is several times slower, and runs rarely.

use aws_lc_rs::digest::{SHA256, digest};
use p256::ecdsa::{RecoveryId, Signature, VerifyingKey as RecoveredKey};

use super::key::VerifyingKey;
use super::signature::ES256_BYTES;

/// The most keys one signature can leave. More than two only if r is below p − n, one chance in 2¹²⁸ unless the signer
/// looks for it: then R's x coordinate may be r or r + n.
pub const MAX_CANDIDATES: usize = 4;

/// The length of a P-256 key as SPKI DER, its point written out in full.
pub const SPKI_BYTES: usize = SPKI_PREFIX.len() + 65;

/// What comes before the point in the SPKI DER of a P-256 key (RFC 5480 § 2): the algorithm `ecPublicKey`, the curve
/// `secp256r1`, and a bit string of 65 bytes.
const SPKI_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// The keys under which `signature` (r, then s) is a good signature of `signed`: none for what no key can have signed,
/// otherwise two as a rule, and never more than [`MAX_CANDIDATES`]. They differ from each other. Costs about as much as
/// ten verifications.
pub fn candidates(signed: &[u8], signature: &[u8; ES256_BYTES]) -> Vec<VerifyingKey> {
    // Refuses an r or s that is zero, or not below the order of the curve. A high s is as good as a low one.
    let Ok(signature) = Signature::from_slice(signature) else {
        return Vec::new();
    };
    let hash = digest(&SHA256, signed);
    let points = [(false, false), (true, false), (false, true), (true, true)];
    points
        .into_iter()
        .filter_map(|(y_is_odd, x_is_reduced)| {
            let id = RecoveryId::new(y_is_odd, x_is_reduced);
            let key = RecoveredKey::recover_from_prehash(hash.as_ref(), &signature, id).ok()?;
            let point = key.to_sec1_point(false);
            let der = [&SPKI_PREFIX, point.as_bytes()].concat();
            VerifyingKey::from_spki_der(&der).ok()
        })
        .collect()
}

#[cfg(test)]
mod tests;
