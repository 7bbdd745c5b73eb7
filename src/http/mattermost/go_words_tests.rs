//! The words are those of Go 1.26, from a decoder of the same structs. What chat servers may send by mistake is in the
//! compatibility cases at the front door; here are the corners of the scan.

use proptest::prelude::*;

use super::super::{BadAck, BadPush, Compatibility, Push, Receipt, decode_ack, decode_push};
use super::{MAX_DEPTH, check};

fn words(body: &[u8]) -> String {
    check::<Push<'_>>(body).map_or_else(|error| error.to_string(), |()| "none".to_owned())
}

/// Body and words.
#[rustfmt::skip]
const TABLE: &[(&[u8], &str)] = &[
    // Whether a number is complete only what is behind it shows.
    (b"0", "json: cannot unmarshal number into Go value of type model.PushNotification"),
    (b"01", "json: cannot unmarshal number into Go value of type model.PushNotification"),
    (b"1.", "unexpected EOF"),
    (b"1e+", "unexpected EOF"),
    (b"-x", "invalid character 'x' in numeric literal"),
    (b"1e+-", "invalid character '-' in exponent of numeric literal"),
    (b"[1.5.5]", "invalid character '.' after array element"),
    (b"[-01]", "invalid character '1' after array element"),
    // After the first value nothing counts, not even right behind it.
    (b"nullx", "none"),
    (b"{}}", "none"),
    (b"{} \xff", "none"),
    (b"truex", "json: cannot unmarshal bool into Go value of type model.PushNotification"),
    (b"\"\"\"", "json: cannot unmarshal string into Go value of type model.PushNotification"),
    // White space is what JSON says it is.
    (b" \t\r\n", "EOF"),
    (b" \x0c", r"invalid character '\f' looking for beginning of value"),
    (b"\xc2\xa0{}", "invalid character 'Â' looking for beginning of value"),
    // Which characters are shown.
    (b"\x07", r"invalid character '\a' looking for beginning of value"),
    (b"\x08", r"invalid character '\b' looking for beginning of value"),
    (b"\x1b", r"invalid character '\x1b' looking for beginning of value"),
    (b"\x7f", r"invalid character '\x7f' looking for beginning of value"),
    (b"\x80", r"invalid character '\u0080' looking for beginning of value"),
    (b"\xa0", r"invalid character '\u00a0' looking for beginning of value"),
    (b"\xa1", "invalid character '¡' looking for beginning of value"),
    (b"\xad", r"invalid character '\u00ad' looking for beginning of value"),
    (b"\xff", "invalid character 'ÿ' looking for beginning of value"),
    // Texts.
    (b"\"\\u00", "unexpected EOF"),
    (b"\"\\\n\"", r"invalid character '\n' in string escape code"),
    (b"\"\\U0041\"", "invalid character 'U' in string escape code"),
    (b"\"\\u004\xe9\"", r"invalid character 'é' in \u hexadecimal character escape"),
    (b"{\"a\\\"\":1 2}", "invalid character '2' after object key:value pair"),
    // In containers within containers.
    (b"[]]", "json: cannot unmarshal array into Go value of type model.PushNotification"),
    (b"[[1],{\"a\":[{},2}]", "invalid character '}' after array element"),
    (b"{\"a\":{\"b\":{}}]", "invalid character ']' after object key:value pair"),
    (b"{\"a\":[}", "invalid character '}' looking for beginning of value"),
    (b"{\"a\":{]", "invalid character ']' looking for beginning of object key string"),
    (b"[{\"badge\":\"x\"}]", "json: cannot unmarshal array into Go value of type model.PushNotification"),
    // A field is one by its name in the outermost object, however the name is written.
    (b"{\"x\":{\"badge\":\"x\"},\"y\":[{\"badge\":\"x\"}]}", "none"),
    (b"{\"server_id\":\"s\",\"\":1,\"badge \":\"x\",\"badg\xff\":\"x\",\"\\ud800\":1}", "none"),
    (b"{\"\\u0062adge\":\"x\"}",
        "json: cannot unmarshal string into Go struct field PushNotification.badge of type int"),
    ("{\"tran\u{17f}port\":[1]}".as_bytes(),
        "json: cannot unmarshal array into Go struct field PushNotification.transport of type model.PushTransport"),
    (b"{\"badge\":{\"message\":1},\"message\":1}",
        "json: cannot unmarshal object into Go struct field PushNotification.badge of type int"),
    (b"{\"x\":1.5,\"badge\":null,\"message\":null,\"is_id_loaded\":null,\"sub_type\":false}",
        "json: cannot unmarshal bool into Go struct field PushNotification.sub_type of type model.PushSubType"),
    // Numbers.
    (b"{\"badge\":-0,\"cont_ava\":9223372036854775807}", "none"),
    (b"{\"badge\":-0.0}", "json: cannot unmarshal number -0.0 into Go struct field PushNotification.badge of type int"),
    (b"{\"badge\":-9223372036854775808,\"cont_ava\":0e0}",
        "json: cannot unmarshal number 0e0 into Go struct field PushNotification.cont_ava of type int"),
];

#[test]
fn the_corners_of_the_scan_have_gos_words() {
    for (body, expected) in TABLE {
        assert_eq!(words(body), *expected, "{}", body.escape_ascii());
    }
}

#[test]
fn what_ends_early_is_said_to_wherever_it_ends() {
    let body = br#" {"server_id":"s\u00e9\n","badge":-1.5e+3,"x":[{"a":true},false,null,{},[]],"is_id_loaded":"x"}"#;
    for end in 2..body.len() {
        assert_eq!(words(&body[..end]), "unexpected EOF", "{}", body[..end].escape_ascii());
    }
    assert_eq!(words(&body[..1]), "EOF");
    assert!(words(body).starts_with("json: cannot unmarshal number -1.5e+3 into"));
}

#[test]
fn words_with_a_letter_wrong_are_said_to_be() {
    for word in ["true", "false", "null"] {
        for (place, letter) in word.char_indices().skip(1) {
            let body = format!("{{\"x\":{}?", &word[..place]);
            assert_eq!(
                words(body.as_bytes()),
                format!("invalid character '?' in literal {word} (expecting '{letter}')")
            );
        }
    }
}

#[test]
fn one_level_too_many_is_as_bad_as_broken_json() {
    let nested = |levels: usize| format!("{{\"badge\":{}{}}}", "[".repeat(levels - 1), "]".repeat(levels - 1));
    assert!(words(nested(MAX_DEPTH).as_bytes()).starts_with("json: cannot unmarshal array into"));
    assert_eq!(words(nested(MAX_DEPTH + 1).as_bytes()), "invalid character '[' exceeded max depth");
    assert_eq!(words("{\"x\":".repeat(MAX_DEPTH + 1).as_bytes()), "invalid character '{' exceeded max depth");
}

#[test]
fn a_long_number_is_not_sent_back_whole() {
    let of = |digits: usize| words(format!("{{\"badge\":{}}}", "9".repeat(digits)).as_bytes());
    let rest = "into Go struct field PushNotification.badge of type int";
    assert_eq!(of(64), format!("json: cannot unmarshal number {} {rest}", "9".repeat(64)));
    assert_eq!(of(65), format!("json: cannot unmarshal number {}… {rest}", "9".repeat(64)));
    assert_eq!(of(4_000), of(65));
}

#[test]
fn the_caller_hears_gos_words_only_where_the_reference_is_followed_strictly() {
    let body = b"{\"badge\":\"hush\"}";
    let bad = decode_push(body, Compatibility::Strict).unwrap_err();
    assert_eq!(bad.to_string(), "Failed to read message body: field `badge` is not a whole number");
    assert_eq!(bad.text(body, Compatibility::Improved), bad.to_string());
    assert_eq!(
        bad.text(body, Compatibility::Strict),
        "Failed to read message body: json: cannot unmarshal string into Go struct field PushNotification.badge of type int"
    );

    let body = b"{\"id\":\"a\",\"received_at\":1e3}";
    let bad = decode_ack(body).unwrap_err();
    assert_eq!(bad.text(body, Compatibility::Improved), bad.to_string());
    assert_eq!(
        bad.text(body, Compatibility::Strict),
        "Failed to read ack body: json: cannot unmarshal number 1e3 into Go struct field PushNotificationAck.received_at of type int64"
    );
}

proptest! {
    #[test]
    fn whatever_is_refused_is_refused_in_few_words(
        text in r#"(\{|\}|\[|\]|"|:|,|\\|\\u|d8|"message":|"badge":|"id":|true|null|[0-9a-f.-]|é| ){0,60}"#,
        bytes in proptest::collection::vec(any::<u8>(), 0..20),
        cut_at in 0_usize..200,
    ) {
        let mut body = format!("{{\"server_id\":\"s\",{text}").into_bytes();
        body.truncate(cut_at);
        body.extend(bytes);
        let push = check::<Push<'_>>(&body);
        if let Err(bad) = decode_push(&body, Compatibility::Strict) {
            prop_assert!(push.is_err() || !matches!(bad, BadPush::Unreadable(_)));
        }
        let ack = check::<Receipt<'_>>(&body);
        if let Err(bad) = decode_ack(&body) {
            prop_assert!(ack.is_err() || !matches!(bad, BadAck::Unreadable(_)));
        }
        for error in [push.err(), ack.err()].into_iter().flatten() {
            prop_assert!(error.to_string().len() < 200);
        }
    }
}
