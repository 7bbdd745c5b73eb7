//! What chat servers send, what Go makes of it, and what is made of it here.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;

const PUSH_FIELDS: [&str; 26] = [
    "ack_id",
    "platform",
    "server_id",
    "device_id",
    "post_id",
    "category",
    "sound",
    "message",
    "badge",
    "cont_ava",
    "team_id",
    "channel_id",
    "root_id",
    "channel_name",
    "type",
    "sub_type",
    "sender_id",
    "sender_name",
    "override_username",
    "override_icon_url",
    "from_webhook",
    "version",
    "is_crt_enabled",
    "is_id_loaded",
    "signature",
    "transport",
];
const ACK_FIELDS: [&str; 6] = ["id", "received_at", "platform", "type", "post_id", "is_id_loaded"];

fn improved(body: &[u8]) -> Result<Notification, BadPush> {
    decode_push(body, Compatibility::Improved)
}

/// A body that passes every check, with these fields set as well.
fn body(fields: &Value) -> Vec<u8> {
    let mut body = json!({"server_id": "server", "device_id": "token", "platform": "apple_rn-v2"});
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    serde_json::to_vec(&body).unwrap()
}

/// The fields that are not empty, by their names on the wire.
fn filled<'de>(fields: &mut impl Fields<'de>, names: &[&str]) -> Value {
    let mut filled = Map::new();
    for name in names {
        let (told, slot) = fields.slot(name).unwrap();
        assert_eq!(told, *name);
        let value = match slot {
            Slot::Text(text) => json!(&**text),
            Slot::Whole(number) => json!(*number),
            Slot::Flag(flag) => json!(*flag),
        };
        if !matches!(value.to_string().as_str(), "\"\"" | "0" | "false") {
            filled.insert((*name).to_owned(), value);
        }
    }
    filled.into()
}

#[test]
fn bodies_are_read_as_go_reads_them() {
    #[derive(serde::Deserialize)]
    struct Vector {
        body: String,
        fields: Option<Value>,
    }
    let vectors: Vec<Vector> = serde_json::from_str(include_str!("../../../tests/fixtures/push_vectors.json")).unwrap();
    assert!(vectors.len() > 200);
    for vector in vectors {
        let body = STANDARD.decode(&vector.body).unwrap();
        let mut repaired = Vec::new();
        let fields =
            lenient::read::<Push<'_>>(&body, &mut repaired).ok().map(|mut push| filled(&mut push, &PUSH_FIELDS));
        assert_eq!(fields, vector.fields, "{}", String::from_utf8_lossy(&body));
    }
}

#[test]
fn every_field_of_a_push_has_its_place() {
    let push = improved(&body(&json!({
        "ack_id": "ack", "post_id": "post", "category": "CAN_REPLY", "sound": "none", "message": "text", "badge": 7,
        "cont_ava": 1, "team_id": "team", "channel_id": "channel", "root_id": "root", "channel_name": "Town Square",
        "type": "message", "sub_type": "calls", "sender_id": "sender", "sender_name": "Ann",
        "override_username": "bot", "override_icon_url": "https://x/y.png", "from_webhook": "true", "version": "v2",
        "is_crt_enabled": true, "is_id_loaded": true, "signature": "a.b.c", "transport": "voip",
    })))
    .unwrap();
    assert_eq!((push.server_id.as_str(), push.device.expose()), ("server", "token"));
    assert_eq!((push.target.as_str(), push.app_version), ("apple_rn", 2));
    assert_eq!((push.ack_id.as_str(), push.kind, push.transport), ("ack", PushKind::Message, Transport::Voip));
    assert_eq!(push.signature.expose(), "a.b.c");
    let content = push.content.mattermost();
    assert_eq!((content.sub_type.as_str(), content.category.as_str()), ("calls", "CAN_REPLY"));
    assert_eq!((content.message.expose(), content.badge, content.version.as_str()), ("text", 7, "v2"));
    assert_eq!((content.post_id.as_str(), content.team_id.as_str()), ("post", "team"));
    assert_eq!((content.channel_id.as_str(), content.root_id.as_str()), ("channel", "root"));
    assert_eq!(content.channel_name.expose(), "Town Square");
    assert_eq!((content.sender_id.as_str(), content.sender_name.expose()), ("sender", "Ann"));
    assert_eq!(content.override_username.expose(), "bot");
    assert_eq!(content.override_icon_url.expose(), "https://x/y.png");
    assert_eq!(content.from_webhook, "true");
    assert!(content.is_crt_enabled && content.is_id_loaded);
}

#[test]
fn a_bad_push_is_answered_with_the_references_words_and_the_field_at_fault() {
    let long_id = "x".repeat(100);
    let long_id_error = format!("Failed because of missing device Id serverId={}", "x".repeat(64));
    for (body, error) in [
        ("", "Failed to read message body: the body is empty"),
        (" \n", "Failed to read message body: the body is empty"),
        ("{\"message\":\"hush\"", "Failed to read message body: the JSON ends before it is complete"),
        ("{\n\"message\":hush}", "Failed to read message body: not valid JSON at line 2, column 11"),
        ("[\"hush\"]", "Failed to read message body: the body is not a JSON object"),
        ("\"hush\"", "Failed to read message body: the body is not a JSON object"),
        ("{\"message\":[\"hush\"]}", "Failed to read message body: field `message` is not a text"),
        ("{\"Badge\":\"hush\"}", "Failed to read message body: field `badge` is not a whole number"),
        ("{\"badge\":1.5}", "Failed to read message body: field `badge` is not a whole number"),
        ("{\"is_id_loaded\":\"hush\"}", "Failed to read message body: field `is_id_loaded` is not true or false"),
        ("{\"device_id\":1}", "Failed to read message body: field `device_id` is not a text"),
        ("null", "Failed because of missing server Id"),
        ("{}", "Failed because of missing server Id"),
        ("{\"server_id\":\"\",\"device_id\":\"d\"}", "Failed because of missing server Id"),
        ("{\"server_id\":\"s\",\"message\":\"hush\"}", "Failed because of missing device Id serverId=s"),
        (&format!("{{\"server_id\":\"{long_id}\"}}"), &long_id_error),
    ] {
        let bad = improved(body.as_bytes()).unwrap_err();
        assert_eq!(bad.to_string(), error);
        assert!(!format!("{bad:?}").contains("hush"));
    }
}

#[test]
fn a_platform_is_cut_at_its_first_version_mark() {
    for (platform, name, version) in [
        ("apple_rn", "apple_rn", 1),
        ("apple_rn-v2", "apple_rn", 2),
        ("apple_rn-v", "apple_rn", 1),
        ("apple_rn-vtwo", "apple_rn", 1),
        ("apple_rn-v2-v3", "apple_rn", 1),
        ("apple_rn-v+2", "apple_rn", 2),
        ("apple_rn-v-2", "apple_rn", 0),
        ("apple_rn-v 2", "apple_rn", 1),
        ("apple_rn-v5000000000", "apple_rn", u32::MAX),
        ("apple_rn-v99999999999999999999", "apple_rn", 1),
        ("my-app", "my-app", 1),
        ("-v2", "", 2),
        ("", "", 1),
    ] {
        assert_eq!(split_platform(platform), (name, version), "{platform}");
    }
}

#[test]
fn long_texts_are_cut_between_characters_or_as_the_reference_cuts_them() {
    let strict = |text: String| cut(text.into(), 10, Compatibility::Strict).into_owned();
    let improved = |text: String| cut(text.into(), 10, Compatibility::Improved).into_owned();
    for (text, strictly, better) in [
        ("0123456789", "0123456789", "0123456789"),
        ("0123456789a", "0123456789", "0123456789"),
        ("12345678é", "12345678é", "12345678é"),
        ("123456789é", "123456789\u{fffd}", "123456789"),
        ("12345678😄", "12345678\u{fffd}\u{fffd}", "12345678"),
        ("1234567😄", "1234567\u{fffd}\u{fffd}\u{fffd}", "1234567"),
    ] {
        assert_eq!(strict(text.to_owned()), strictly);
        assert_eq!(improved(text.to_owned()), better);
        assert_eq!(cut(text.into(), 10, Compatibility::Improved), better);
    }

    for (length, kept) in [(2_046, 2_046), (2_047, 2_047), (2_048, 2_046), (9_000, 2_046)] {
        let push = decode_push(&body(&json!({"message": "x".repeat(length)})), Compatibility::Strict).unwrap();
        assert_eq!(push.content.mattermost().message.expose().len(), kept);
    }
    for (length, kept) in [(64, 64), (65, 64), (66, 64)] {
        let push = decode_push(&body(&json!({"channel_name": "x".repeat(length)})), Compatibility::Strict).unwrap();
        assert_eq!(push.content.mattermost().channel_name.expose().len(), kept);
    }
}

#[test]
fn every_field_of_an_ack_has_its_place_and_three_are_required() {
    let full = json!({"id": "a", "received_at": 1_700_000_000_123_i64, "platform": "ios", "type": "message",
        "post_id": "p", "is_id_loaded": true, "unknown": [1]});
    let ack = Ack {
        id: "a".into(),
        received_at_ms: 1_700_000_000_123,
        platform: "ios".into(),
        kind: PushKind::Message,
        post_id: Some("p".into()),
        is_id_loaded: true,
    };
    assert_eq!(decode_ack(full.to_string().as_bytes()), Ok(ack));
    let least = decode_ack(br#"{"ID":"a","platform":"android","type":"clear"} "#).unwrap();
    assert_eq!((least.received_at_ms, least.post_id, least.is_id_loaded), (0, None, false));

    for (body, error) in [
        ("", "Failed to read ack body: the body is empty"),
        ("{\"received_at\":1e3}", "Failed to read ack body: field `received_at` is not a whole number"),
        ("{}", "Failed because of missing ack Id"),
        ("{\"id\":\"a\",\"type\":\"clear\"}", "Failed because of missing ack platform"),
        ("{\"id\":\"a\",\"platform\":\"ios\"}", "Failed because of missing ack type"),
    ] {
        assert_eq!(decode_ack(body.as_bytes()).unwrap_err().to_string(), error);
    }

    let mut receipt = Receipt::default();
    assert_eq!(filled(&mut receipt, &ACK_FIELDS), json!({}));
}

#[test]
fn answers_are_flat_objects_of_texts() {
    let encode = |outcome| encode_outcome(&outcome, Compatibility::Improved);
    assert_eq!(encode(Outcome::Delivered), r#"{"status":"OK"}"#);
    assert_eq!(encode(Outcome::Remove), r#"{"status":"REMOVE"}"#);
    let failed = Outcome::Failed { text: "a \"b\"\n<&>".into() };
    assert_eq!(encode(failed), r#"{"status":"FAIL","error":"a \"b\"\n<&>"}"#);
}

#[test]
fn strict_answers_are_gos_byte_for_byte() {
    let encode = |outcome| encode_outcome(&outcome, Compatibility::Strict);
    assert_eq!(encode(Outcome::Delivered), "{\"status\":\"OK\"}\n");
    assert_eq!(encode(Outcome::Remove), "{\"status\":\"REMOVE\"}\n");
    // The text, and what Go's encoder makes of it: HTML and U+2028 and U+2029 escaped, other text as it is.
    let table = [
        ("", ""),
        ("plain", "plain"),
        ("a \"b\" \\ /", r#"a \"b\" \\ /"#),
        ("<b> & </b>", r"\u003cb\u003e \u0026 \u003c/b\u003e"),
        ("\u{2028}\u{2029}", r"\u2028\u2029"),
        ("\u{8}\u{c}\n\r\t", r"\b\f\n\r\t"),
        ("\0\u{1}\u{1f}\u{7f}", "\\u0000\\u0001\\u001f\u{7f}"),
        ("é 👋 \u{fffd} '", "é 👋 \u{fffd} '"),
    ];
    for (text, escaped) in table {
        let expected = format!("{{\"error\":\"{escaped}\",\"status\":\"FAIL\"}}\n");
        assert_eq!(encode(Outcome::Failed { text: text.into() }), expected, "{text:?}");
    }
}

#[test]
fn only_a_strict_answer_quotes_a_server_id_of_any_length() {
    let body = format!(r#"{{"server_id":"{}"}}"#, "s".repeat(100));
    for (compatibility, length) in [(Compatibility::Improved, 64), (Compatibility::Strict, 100)] {
        let error = decode_push(body.as_bytes(), compatibility).unwrap_err().to_string();
        assert_eq!(error, format!("Failed because of missing device Id serverId={}", "s".repeat(length)));
    }
}

/// The name with the letters whose bit is set in upper case.
fn shuffled(name: &str, bits: u32) -> String {
    let letter = |(i, c): (usize, char)| if bits >> (i % 32) & 1 == 1 { c.to_ascii_uppercase() } else { c };
    name.chars().enumerate().map(letter).collect()
}

proptest! {
    #[test]
    fn no_bytes_make_decoding_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = improved(&bytes);
        let _ = decode_ack(&bytes);
    }

    #[test]
    fn no_text_that_looks_like_json_makes_decoding_panic(
        text in r#"(\{|\}|"|:|,|\\|\\u|d8|message|badge|null|[0-9a-f.-]|é| ){0,60}"#,
        cut_at in 0_usize..200,
    ) {
        let text = format!("{{\"server_id\":\"s\",{text}}}").into_bytes();
        let _ = improved(&text);
        let _ = improved(&text[..cut_at.min(text.len())]);
    }

    #[test]
    fn whatever_was_written_as_json_is_read_back_whatever_the_case_of_the_names(
        texts in proptest::collection::vec(any::<String>(), 24),
        numbers in any::<(i64, i64)>(),
        flags in any::<(bool, bool)>(),
        bits in any::<u32>(),
    ) {
        let mut texts = texts.into_iter();
        let mut written = Map::new();
        for name in PUSH_FIELDS {
            written.insert(shuffled(name, bits), match name {
                "badge" => json!(numbers.0),
                "cont_ava" => json!(numbers.1),
                "is_crt_enabled" => json!(flags.0),
                "is_id_loaded" => json!(flags.1),
                _ => json!(texts.next()),
            });
        }
        let body = serde_json::to_vec(&written).unwrap();
        let mut repaired = Vec::new();
        let mut push = lenient::read::<Push<'_>>(&body, &mut repaired).unwrap();
        let expected: Map<_, _> = written
            .into_iter()
            .map(|(name, value)| (name.to_ascii_lowercase(), value))
            .filter(|(_, value)| !matches!(value.to_string().as_str(), "\"\"" | "0" | "false"))
            .collect();
        prop_assert_eq!(filled(&mut push, &PUSH_FIELDS), Value::from(expected));
    }

    #[test]
    fn a_strict_answer_reads_as_the_same_text(text in any::<String>()) {
        let body = encode_outcome(&Outcome::Failed { text: text.clone().into() }, Compatibility::Strict);
        let read: Value = serde_json::from_slice(&body).unwrap();
        prop_assert_eq!(read, json!({"error": text, "status": "FAIL"}));
    }

    #[test]
    fn a_cut_text_is_a_prefix_within_the_limit(text in any::<String>(), limit in 0_usize..40) {
        let cut = cut(text.as_str().into(), limit, Compatibility::Improved);
        prop_assert!(text.starts_with(&*cut));
        prop_assert!(cut.len() <= limit && (cut.len() + 4 > limit || cut.len() == text.len()));
    }
}
