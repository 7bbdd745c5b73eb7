//! Long texts. A message above 2,047 bytes is cut to 2,046, a channel's name above 64 to 64, between bytes: Go's encoder
//! then writes U+FFFD for each byte that is left of a split character.

use serde_json::json;

use super::case::{Case, fail, google_fails, to_android, to_apple};

/// U+FFFD.
const LOST: &str = "\u{fffd}";

/// What is special about a message, the message, and what is shown.
fn messages() -> Vec<(&'static str, String, String)> {
    let a = |count: usize| "a".repeat(count);
    vec![
        ("of 2,046 bytes", a(2_046), a(2_046)),
        ("of 2,047 bytes", a(2_047), a(2_047)),
        ("of 2,048 bytes", a(2_048), a(2_046)),
        ("of 2,049 bytes", a(2_049), a(2_046)),
        ("of 20,000 bytes", a(20_000), a(2_046)),
        ("of 2,047 bytes that ends in a character of two", a(2_045) + "é", a(2_045) + "é"),
        ("of characters of two bytes", "é".repeat(1_024), "é".repeat(1_023)),
        ("cut behind a character of two bytes", a(2_044) + "ébc", a(2_044) + "é"),
        ("cut inside a character of two bytes", a(2_045) + "éb", a(2_045) + LOST),
        ("cut behind the first byte of three", a(2_045) + "€", a(2_045) + LOST),
        ("cut behind the second byte of three", a(2_044) + "€b", a(2_044) + LOST + LOST),
        ("cut behind the first byte of four", a(2_045) + "😀", a(2_045) + LOST),
        ("cut behind the second byte of four", a(2_044) + "😀", a(2_044) + LOST + LOST),
        ("cut behind the third byte of four", a(2_043) + "😀b", a(2_043) + LOST + LOST + LOST),
        ("cut inside an emoji code", a(2_040) + ":rocket:", a(2_040) + ":rocke"),
        ("cut behind an emoji code", a(2_038) + ":rocket:bc", a(2_038) + "🚀 "),
        // The cut comes first: what the codes become may be longer.
        ("of emoji codes that grow", ":+1:".repeat(511), "👍 ".repeat(511)),
    ]
}

/// The same for a channel's name.
fn channel_names() -> Vec<(&'static str, String, String)> {
    let a = |count: usize| "a".repeat(count);
    vec![
        ("of 63 bytes", a(63), a(63)),
        ("of 64 bytes", a(64), a(64)),
        ("of 65 bytes", a(65), a(64)),
        ("of 10,000 bytes", a(10_000), a(64)),
        ("of 32 characters of two bytes", "é".repeat(32), "é".repeat(32)),
        ("of 33 characters of two bytes", "é".repeat(33), "é".repeat(32)),
        ("cut inside a character of two bytes", a(63) + "é", a(63) + LOST),
        ("cut behind the first byte of three", "€".repeat(22), "€".repeat(21) + LOST),
        ("cut behind the second byte of four", a(62) + "😀", a(62) + LOST + LOST),
        ("cut behind the third byte of four", a(61) + "😀", a(61) + LOST + LOST + LOST),
    ]
}

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (what, message, shown) in messages() {
        cases.push(to_apple(
            format!("iPhone: a message {what}"),
            &json!({"message": message}),
            &json!({"aps": {"alert": {"body": shown}}}),
        ));
    }
    for (what, message, shown) in messages().into_iter().skip(1).take(10) {
        cases.push(to_android(
            format!("Android: a message {what}"),
            &json!({"message": message}),
            &json!({"message": shown}),
        ));
    }
    for (what, name, shown) in channel_names() {
        cases.push(to_apple(
            format!("iPhone: a channel name {what}"),
            &json!({"channel_name": name}),
            &json!({"channel_name": shown, "aps": {"alert": {"title": shown}}}),
        ));
        cases.push(to_android(
            format!("Android: a channel name {what}"),
            &json!({"channel_name": name}),
            &json!({"channel_name": shown}),
        ));
    }
    cases.extend([
        to_apple(
            "iPhone: a message of 2,048 bytes in an id-loaded push",
            &json!({"is_id_loaded": true, "message": "a".repeat(2_048)}),
            &json!({
                "id_loaded": true, "channel_name": null, "aps": {"alert": {"title": null, "body": "a".repeat(2_046)}},
            }),
        ),
        to_apple(
            "iPhone: no other text is cut",
            &json!({"sender_name": "s".repeat(500), "override_username": "o".repeat(500), "category": "c".repeat(500)}),
            &json!({
                "sender_name": "s".repeat(500), "override_username": "o".repeat(500),
                "aps": {"category": "c".repeat(500)},
            }),
        ),
        to_android(
            "Android: no other text is cut",
            &json!({"sender_name": "s".repeat(500), "override_username": "o".repeat(500)}),
            &json!({"sender_name": "s".repeat(500), "override_username": "o".repeat(500)}),
        ),
        // Each of these characters takes six bytes in JSON: more than Apple takes, and nothing is shortened.
        to_apple("iPhone: a payload above 4,096 bytes", &json!({"message": "\u{1}".repeat(1_000)}), &json!({}))
            .refused(fail("unknown send response error")),
        to_apple("iPhone: a signature that fills the payload", &json!({"signature": "s".repeat(4_000)}), &json!({}))
            .refused(fail("unknown send response error")),
        to_android("Android: data above 4,096 bytes", &json!({"signature": "s".repeat(4_000)}), &json!({}))
            .refused(google_fails("INVALID_ARGUMENT: ")),
    ]);
    cases
}
