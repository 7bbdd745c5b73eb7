//! What a server may do, signed and unsigned, and where the signature stands in the request.

use super::forge::Forge;
use super::{ACK_ID, Case, DEVICE_ID, Expected, KEY, MALFORMED, MISSING, body};
use crate::support::Push;
use Expected::{Refused, Sent};

pub fn cases() -> Vec<Case> {
    [unsigned(), servers(), places()].into_iter().flatten().collect()
}

/// A push that differs from the usual one, signed for what it says then.
fn push(name: &'static str, change: impl Fn(Push, &Forge<'_>) -> Push + 'static, expected: Expected) -> Case {
    body(name, move |f| change(f.push(), f).body(f.key).to_string(), expected)
}

/// As Mattermost sends it.
fn test(f: &Forge<'_>) -> Push {
    f.push().with("type", "test").with("ack_id", "").with("badge", -1).with("version", "2").unsigned()
}

fn unsigned() -> Vec<Case> {
    let of_kind =
        |name, kind: &'static str, expected| push(name, move |p, _| p.with("type", kind).unsigned(), expected);
    vec![
        of_kind("an unsigned message", "message", MISSING),
        of_kind("an unsigned clear", "clear", MISSING),
        of_kind("an unsigned update_badge", "update_badge", MISSING),
        of_kind("an unsigned session", "session", MISSING),
        of_kind("an unsigned push of another kind", "another", MISSING),
        of_kind("an unsigned push of no kind", "", MISSING),
        of_kind("an unsigned TEST in capitals", "TEST", MISSING),
        of_kind("an unsigned test with a space before it", " test", MISSING),
        of_kind("an unsigned test with a text", "test", Sent),
        push("an unsigned test as Mattermost sends it", |_, f| test(f), Sent),
        push("an unsigned test that is id-loaded", |_, f| test(f).with("is_id_loaded", true), MISSING),
        push("an unsigned test that rings", |_, f| test(f).with("transport", "voip"), MISSING),
        push("an unsigned test by another transport", |_, f| test(f).with("transport", "x"), MISSING),
        push(
            "an unsigned test that is id-loaded and rings",
            |_, f| test(f).with("is_id_loaded", true).with("transport", "voip"),
            MISSING,
        ),
        push("an unsigned message that is id-loaded", |p, _| p.with("is_id_loaded", true).unsigned(), MISSING),
        push("an unsigned call", |p, _| p.with("sub_type", "calls").with("transport", "voip").unsigned(), MISSING),
        push("an unsigned test with the phone's placeholder", |_, f| test(f).signed_as("NO_SIGNATURE"), MALFORMED),
        push(
            "a test signed by nobody's key",
            |p, f| p.with("type", "test").signed_as(f.by(&pushrelay::admission::signing::SigningKey::generate())),
            KEY,
        ),
        push("a signed message", |p, _| p, Sent),
        push("a signed test", |p, _| p.with("type", "test"), Sent),
        push("a signed test that is id-loaded", |p, _| p.with("type", "test").with("is_id_loaded", true), Sent),
        push("a signed clear", |p, _| p.with("type", "clear"), Sent),
        push("a signed update_badge", |p, _| p.with("type", "update_badge"), Sent),
        push("a signed session", |p, _| p.with("type", "session"), Sent),
        push("a signed call", |p, _| p.with("sub_type", "calls").with("transport", "voip"), Sent),
        // The claim is there and says the same as the request: nothing is wrong with it. Only its repeat cannot be told.
        push("a signed push without an ack_id", |p, _| p.with("ack_id", ""), Sent),
    ]
}

fn servers() -> Vec<Case> {
    const UNKNOWN: Expected = Refused(401, "is not registered with the relay", "unknown_server");
    const DISABLED: Expected = Refused(403, "is disabled", "server_disabled");
    const TARGET: Expected = Refused(403, "may not push to this app", "target_not_allowed");
    const SCHEME: Expected = Refused(403, "not registered for this kind of request", "scheme_not_allowed");
    let from =
        |name, server: &'static str, expected| body(name, move |f| f.push_of(server, &f.keys.neighbour), expected);
    let test_from = |name, server: &'static str, expected| {
        body(name, move |f| test(f).with("server_id", server).body(f.key).to_string(), expected)
    };
    vec![
        from("an unknown server", "stranger", UNKNOWN),
        from("a server's id in capitals", "NEIGHBOUR", UNKNOWN),
        from("a server's id with a space behind it", "neighbour ", UNKNOWN),
        from("a server's id with a NUL behind it", "neighbour\0", UNKNOWN),
        from("the beginning of a server's id", "neighbou", UNKNOWN),
        test_from("an unsigned test of an unknown server", "stranger", UNKNOWN),
        from("a disabled server", "disabled", DISABLED),
        test_from("an unsigned test of a disabled server", "disabled", DISABLED),
        body("a disabled server and nobody's signature", |f| f.push_of("disabled", f.key), DISABLED),
        from("an app that the server may not push to", "android-only", TARGET),
        test_from("an unsigned test to an app that the server may not push to", "android-only", TARGET),
        // Who has not proved who he is does not learn what the server may do.
        body("such an app and another server's signature", |f| f.push_of("android-only", f.key), KEY),
        from("a server without keys for this scheme", "webhooks-only", SCHEME),
        from("a server that may use its other keys only", "both-schemes-but-webhooks", SCHEME),
        test_from("an unsigned test of such a server", "webhooks-only", SCHEME),
    ]
}

/// Where the signature stands. A server of the reference reads a body like this: names without regard to case, the last of
/// several, `null` as absent.
fn places() -> Vec<Case> {
    const NO_TEXT: Expected = Refused(200, "field `signature` is not a text", "");
    let twice = |first: &str, second: &str| format!(r#""signature":"{first}","signature":"{second}""#);
    vec![
        body("no field for the signature", |f| f.push_with(r#""x":0"#), MISSING),
        body("a signature of null", |f| f.push_with(r#""signature":null"#), MISSING),
        body("a signature that is a number", |f| f.push_with(r#""signature":1"#), NO_TEXT),
        body("a signature that is a list", |f| f.push_with(&format!(r#""signature":["{}"]"#, f.right())), NO_TEXT),
        body("a signature that is an object", |f| f.push_with(r#""signature":{"alg":"none"}"#), NO_TEXT),
        body("two signatures, the right one last", move |f| f.push_with(&twice("x", &f.right())), Sent),
        body("two signatures, the right one first", move |f| f.push_with(&twice(&f.right(), "x")), MALFORMED),
        body("two signatures, the last one empty", move |f| f.push_with(&twice(&f.right(), "")), MISSING),
        body("the field in capitals", |f| f.push_with(&format!(r#""SIGNATURE":"{}""#, f.right())), Sent),
        body(
            "the field in capitals takes the right one's place",
            |f| f.push_with(&format!(r#""signature":"{}","Signature":"x""#, f.right())),
            MALFORMED,
        ),
        body(
            "another device behind the signed one",
            |f| f.push_with(&format!(r#""zz":0,"signature":"{}","device_id":"another""#, f.right())),
            DEVICE_ID,
        ),
        body(
            "another device behind the signed one, in capitals",
            |f| f.push_with(&format!(r#""signature":"{}","DEVICE_ID":"another""#, f.right())),
            DEVICE_ID,
        ),
        body(
            "another ack_id behind the signed one",
            |f| f.push_with(&format!(r#""signature":"{}","ack_id":"another""#, f.right())),
            ACK_ID,
        ),
        body(
            "another server behind the one that signs",
            |f| f.push_with(&format!(r#""signature":"{}","server_id":"neighbour""#, f.right())),
            KEY,
        ),
        body(
            "invalid UTF-16 where the signature has none",
            |f| f.push_with(&format!(r#""signature":"{}\ud800""#, f.right())),
            MALFORMED,
        ),
    ]
}
