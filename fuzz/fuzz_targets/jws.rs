//! Any text in the place of Mattermost's signature: nothing panics, and what is taken is what it seems to be.
//!
//! An input whose first byte is even is the text itself. Otherwise the rest is header, claims and signature, one a line,
//! and is brought into the compact form first: the fuzzer should not have to learn base64 to reach the JSON.

#![no_main]

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use libfuzzer_sys::fuzz_target;
use pushrelay::admission::recovery;
use pushrelay::admission::signature::{self, SignatureError};
use pushrelay::notification::DeviceToken;
use serde_json::Value;

const ACK_ID: &str = "ack-1";
const DEVICE: &str = "token-1";
const NOW: u64 = 1_800_000_000;

fuzz_target!(|input: &[u8]| {
    let Some((form, rest)) = input.split_first() else { return };
    let jws = if form % 2 == 0 {
        let Ok(text) = std::str::from_utf8(rest) else { return };
        text.to_owned()
    } else {
        rest.splitn(3, |byte| *byte == b'\n').map(|part| URL_SAFE_NO_PAD.encode(part)).collect::<Vec<_>>().join(".")
    };
    let device = DeviceToken::new(DEVICE).expect("it is not empty");
    let Ok(parts) = signature::parse(&jws, ACK_ID, &device, NOW) else { return };

    // The compact form has one way to be written, so that what was read is all there is.
    let again = format!(
        "{}.{}",
        std::str::from_utf8(parts.signed()).expect("a part of a text"),
        URL_SAFE_NO_PAD.encode(parts.signature())
    );
    assert_eq!(again, jws, "something besides three segments was taken");

    // Another reader, where it can read it, sees the same.
    let mut segments = jws.split('.').map(|segment| URL_SAFE_NO_PAD.decode(segment).expect("it was read before"));
    let mut json = || {
        let bytes = segments.next().expect("there are three");
        serde_json::from_str::<Value>(std::str::from_utf8(&bytes).expect("what is no text was taken")).ok()
    };
    if let Some(header) = json() {
        assert_eq!(header["alg"], "ES256");
        assert!(header.get("crit").is_none(), "an extension that must be understood");
    }
    if let Some(claims) = json() {
        assert_eq!(claims["ack_id"], ACK_ID);
        assert_eq!(claims["device_id"], DEVICE);
        assert!(claims["exp"].as_f64().is_none_or(|exp| exp > NOW as f64 - 61.0), "long expired");
        assert!(claims["nbf"].as_f64().is_none_or(|nbf| nbf < NOW as f64 + 61.0), "not valid for long");
    }

    assert!(
        matches!(signature::parse(&jws, "ack-2", &device, NOW), Err(SignatureError::AckId)),
        "it is good for any push"
    );
    let other = DeviceToken::new("token-2").expect("it is not empty");
    assert!(
        matches!(signature::parse(&jws, ACK_ID, &other, NOW), Err(SignatureError::DeviceId)),
        "it is good for any device"
    );

    // A key is only ever learned from a signature that it verifies. Two libraries have to agree for this.
    let candidates = recovery::candidates(parts.signed(), parts.signature());
    assert!(candidates.len() <= recovery::MAX_CANDIDATES);
    for key in &candidates {
        assert!(parts.is_by(key), "a key was made up");
    }
});
