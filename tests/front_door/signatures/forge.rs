//! Makes signatures, right and wrong, piece by piece.

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use pushrelay::admission::signing::SigningKey;

use crate::support::Push;
use crate::support::push::apple_token;

/// What the relay's clock shows: 2027-01-15T08:00:00Z, Unix seconds.
pub const NOW: u64 = 1_800_000_000;

/// The header that Mattermost writes.
pub const HEADER: &str = r#"{"alg":"ES256","typ":"JWT"}"#;

/// The claims that Mattermost writes.
pub const CLAIMS: &str = r#"{"ack_id":"ACK","device_id":"DEVICE"}"#;

/// The order of P-256 (SEC 2 v2.0, § 2.4.2), which r and s are below.
pub const ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa,
    0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

/// Keys of chat servers, besides the first server's.
pub struct Keys {
    /// Another registered server's.
    pub neighbour: SigningKey,
    /// Ended a second ago.
    pub ended: SigningKey,
    /// Ends with this second.
    pub ending: SigningKey,
    /// Has no end.
    pub current: SigningKey,
}

impl Keys {
    pub fn generate() -> Self {
        let generate = SigningKey::generate;
        Self { neighbour: generate(), ended: generate(), ending: generate(), current: generate() }
    }

    /// The servers that they belong to.
    pub fn tables(&self) -> String {
        let neighbour = self.neighbour.public_base64();
        let rotating = [
            format!("{} until 2027-01-15T07:59:59Z", self.ended.public_base64()),
            format!("{} until 2027-01-15T08:00:00Z", self.ending.public_base64()),
            self.current.public_base64(),
        ];
        let server = |id: &str, keys: &str| format!("[[server]]\nid = \"{id}\"\nname = \"{id}\"\n{keys}\n");
        let usual = format!("keys = [\"{neighbour}\"]");
        [
            server("neighbour", &usual),
            server("rotating", &format!("keys = {rotating:?}")),
            server("disabled", &format!("{usual}\ndisabled = true")),
            server("android-only", &format!("{usual}\ntargets = [\"android_rn\"]")),
            server("webhooks-only", "webhook_keys = [\"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"]"),
            server(
                "both-schemes-but-webhooks",
                &format!(
                    "{usual}\nwebhook_keys = [\"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"]\nschemes = [\"webhook\"]"
                ),
            ),
        ]
        .concat()
    }
}

/// What one case forges with: the keys, and ids that no other case has.
pub struct Forge<'a> {
    /// The server's, which may sign.
    pub key: &'a SigningKey,
    pub keys: &'a Keys,
    pub ack_id: String,
    pub device: String,
}

impl<'a> Forge<'a> {
    pub fn new(key: &'a SigningKey, keys: &'a Keys, number: usize) -> Self {
        // Letters in both, so that another case of them is another text.
        let device = apple_token(0x00ab_0000 + u32::try_from(number).unwrap());
        Self { key, keys, ack_id: format!("Ack-{number}"), device }
    }

    /// The usual push.
    pub fn push(&self) -> Push {
        Push::apple(&self.device).with("ack_id", self.ack_id.as_str())
    }

    /// The usual push from another server, signed by this key.
    pub fn push_of(&self, server: &str, key: &SigningKey) -> String {
        self.push().with("server_id", server).signed_as(self.by(key)).body(key).to_string()
    }

    /// A body with the usual push's fields and this in place of the signature's: for what an object cannot hold.
    pub fn push_with(&self, signature_fields: &str) -> String {
        let body = self.push().signed_as("SIGNATURE").body(self.key).to_string();
        body.replacen("\"signature\":\"SIGNATURE\"", signature_fields, 1)
    }

    /// `ACK` and `DEVICE` replaced by the push's ids.
    pub fn filled(&self, text: &str) -> String {
        text.replace("ACK", &self.ack_id).replace("DEVICE", &self.device)
    }

    pub fn claims(&self) -> String {
        self.filled(CLAIMS)
    }

    /// What is signed.
    pub fn input(&self) -> String {
        joined(HEADER, self.claims())
    }

    /// This header and these claims, signed by the server's key.
    pub fn signed(&self, header: impl AsRef<[u8]>, claims: impl AsRef<[u8]>) -> String {
        sign(self.key, &joined(header, claims))
    }

    /// The right signature.
    pub fn right(&self) -> String {
        self.by(self.key)
    }

    /// A signature that would be right if this were the server's key.
    pub fn by(&self, key: &SigningKey) -> String {
        sign(key, &self.input())
    }

    /// The right header and claims with these bytes for a signature.
    pub fn with_bytes(&self, signature: impl AsRef<[u8]>) -> String {
        format!("{}.{}", self.input(), base64url(signature))
    }

    /// The right signature's bytes: r, then s.
    pub fn bytes(&self) -> Vec<u8> {
        self.key.sign(self.input().as_bytes())
    }

    /// HMAC-SHA256 under this secret.
    pub fn hmac(&self, secret: &[u8]) -> String {
        let input = joined(r#"{"alg":"HS256","typ":"JWT"}"#, self.claims());
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), input.as_bytes());
        format!("{input}.{}", base64url(tag))
    }
}

pub fn base64url(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub fn joined(header: impl AsRef<[u8]>, claims: impl AsRef<[u8]>) -> String {
    format!("{}.{}", base64url(header), base64url(claims))
}

/// Whatever text, signed.
pub fn sign(key: &SigningKey, input: &str) -> String {
    format!("{input}.{}", base64url(key.sign(input.as_bytes())))
}

/// Header, claims and signature of a compact JWS.
pub fn segments(jws: &str) -> [&str; 3] {
    let all: Vec<_> = jws.split('.').collect();
    all.try_into().expect("a right signature has three segments")
}

/// `a - b` for numbers of 32 bytes, the most significant one first; `a` is not the smaller one.
pub fn difference(a: &[u8; 32], b: &[u8]) -> [u8; 32] {
    let mut result = [0; 32];
    let mut borrow = false;
    for at in (0..32).rev() {
        let (byte, first) = a[at].overflowing_sub(b[at]);
        let (byte, second) = byte.overflowing_sub(u8::from(borrow));
        result[at] = byte;
        borrow = first || second;
    }
    assert!(!borrow, "the result would be below zero");
    result
}
