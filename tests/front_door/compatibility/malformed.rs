//! Bodies that are not understood. The words behind the colon are those of Go's `encoding/json`.

use super::case::{Case, fail, unreadable};

/// A body, and what Go says about it, as it stands in the answer's JSON. No byte above 127 but in the body: Go reads
/// bytes, so a character of several is named after its first.
#[rustfmt::skip]
const UNREADABLE: &[(&[u8], &str)] = &[
    // Nothing, or too little.
    (b"", "EOF"),
    (b" ", "EOF"),
    (b"\n\t\r\n", "EOF"),
    (b"{", "unexpected EOF"),
    (b"[", "unexpected EOF"),
    (b"\"", "unexpected EOF"),
    (b"nul", "unexpected EOF"),
    (b"-", "unexpected EOF"),
    (br#"{"server_id""#, "unexpected EOF"),
    (br#"{"server_id":"#, "unexpected EOF"),
    (br#"{"server_id":"s"#, "unexpected EOF"),
    (br#"{"server_id":"s\"#, "unexpected EOF"),
    (br#"{"server_id":"s""#, "unexpected EOF"),
    (br#"{"server_id":"s","#, "unexpected EOF"),
    (br#"{"server_id":"s","device_id":"TOKEN","platform":"apple_rn","#, "unexpected EOF"),
    // Another value than an object.
    (b"true", "json: cannot unmarshal bool into Go value of type model.PushNotification"),
    (b"false", "json: cannot unmarshal bool into Go value of type model.PushNotification"),
    (b"17", "json: cannot unmarshal number into Go value of type model.PushNotification"),
    (b"-1.5e3", "json: cannot unmarshal number into Go value of type model.PushNotification"),
    (br#""text""#, "json: cannot unmarshal string into Go value of type model.PushNotification"),
    (b"[]", "json: cannot unmarshal array into Go value of type model.PushNotification"),
    (br#"[{"server_id":"s","device_id":"TOKEN"}]"#,
        "json: cannot unmarshal array into Go value of type model.PushNotification"),
    // No JSON at all.
    (b"hello", "invalid character 'h' looking for beginning of value"),
    (b"server_id=s&device_id=TOKEN", "invalid character 's' looking for beginning of value"),
    (b"<html>", r"invalid character '\u003c' looking for beginning of value"),
    (b"&", r"invalid character '\u0026' looking for beginning of value"),
    (b"/* no comment */{}", "invalid character '/' looking for beginning of value"),
    (b"'", r"invalid character '\\'' looking for beginning of value"),
    (b"\\", r"invalid character '\\\\' looking for beginning of value"),
    (b"}", "invalid character '}' looking for beginning of value"),
    (b"\x00", r"invalid character '\\x00' looking for beginning of value"),
    // Other encodings.
    (b"\xef\xbb\xbf{}", "invalid character 'ï' looking for beginning of value"),
    (b"\xff\xfe{\x00}\x00", "invalid character 'ÿ' looking for beginning of value"),
    (b"\xfe\xff\x00{\x00}", "invalid character 'þ' looking for beginning of value"),
    (b"{\x00\"\x00", r"invalid character '\\x00' looking for beginning of object key string"),
    (b"\xc3\xa9", "invalid character 'Ã' looking for beginning of value"),
    (b"\xff{}", "invalid character 'ÿ' looking for beginning of value"),
    // Commas, colons and brackets.
    (b"{,}", "invalid character ',' looking for beginning of object key string"),
    (br#"{"server_id":"s",}"#, "invalid character '}' looking for beginning of object key string"),
    (b"{'server_id':1}", r"invalid character '\\'' looking for beginning of object key string"),
    (b"{server_id:1}", "invalid character 's' looking for beginning of object key string"),
    (b"{<", r"invalid character '\u003c' looking for beginning of object key string"),
    (br#"{"server_id" "s"}"#, r#"invalid character '\"' after object key"#),
    (br#"{"server_id"}"#, "invalid character '}' after object key"),
    (br#"{"server_id":"s" "device_id":"d"}"#, r#"invalid character '\"' after object key:value pair"#),
    (br#"{"server_id":"s"]"#, "invalid character ']' after object key:value pair"),
    (br#"{"x":1//
}"#, "invalid character '/' after object key:value pair"),
    (br#"{"x":[1,]}"#, "invalid character ']' looking for beginning of value"),
    (br#"{"x":[1 2]}"#, "invalid character '2' after array element"),
    (b"{\"x\":\x0b1}", r"invalid character '\\v' looking for beginning of value"),
    // Texts.
    (b"{\"server_id\":\"a\nb\"}", r"invalid character '\\n' in string literal"),
    (b"{\"server_id\":\"a\tb\"}", r"invalid character '\\t' in string literal"),
    (b"{\"server_id\":\"a\x00b\"}", r"invalid character '\\x00' in string literal"),
    (b"{\"server_id\":\"a\x1fb\"}", r"invalid character '\\x1f' in string literal"),
    (br#"{"server_id":"\x41"}"#, "invalid character 'x' in string escape code"),
    (br#"{"server_id":"\u12g4"}"#, r"invalid character 'g' in \\u hexadecimal character escape"),
    (br#"{"server_id":"\u"}"#, r#"invalid character '\"' in \\u hexadecimal character escape"#),
    (br#"{"server_id":'s'}"#, r"invalid character '\\'' looking for beginning of value"),
    // Words and numbers.
    (br#"{"x":nul}"#, "invalid character '}' in literal null (expecting 'l')"),
    (br#"{"x":nulL}"#, "invalid character 'L' in literal null (expecting 'l')"),
    (br#"{"x":tru}"#, "invalid character '}' in literal true (expecting 'e')"),
    (br#"{"x":t}"#, "invalid character '}' in literal true (expecting 'r')"),
    (br#"{"x":falsy}"#, "invalid character 'y' in literal false (expecting 'e')"),
    (br#"{"x":fa}"#, "invalid character '}' in literal false (expecting 'l')"),
    (br#"{"is_crt_enabled":True}"#, "invalid character 'T' looking for beginning of value"),
    (br#"{"badge":01}"#, "invalid character '1' after object key:value pair"),
    (br#"{"badge":0x10}"#, "invalid character 'x' after object key:value pair"),
    (br#"{"badge":+1}"#, "invalid character '+' looking for beginning of value"),
    (br#"{"badge":.5}"#, "invalid character '.' looking for beginning of value"),
    (br#"{"badge":NaN}"#, "invalid character 'N' looking for beginning of value"),
    (br#"{"badge":-}"#, "invalid character '}' in numeric literal"),
    (br#"{"badge":1.}"#, "invalid character '}' after decimal point in numeric literal"),
    (br#"{"badge":1e}"#, "invalid character '}' in exponent of numeric literal"),
];

/// A field's value, and what Go says about its type; the field's name stands before the ` of type`.
#[rustfmt::skip]
const WRONG: &[(&str, &str, &str, &str)] = &[
    ("server_id", "1", "number", "string"),
    ("server_id", "1.5", "number", "string"),
    ("server_id", "true", "bool", "string"),
    ("server_id", "false", "bool", "string"),
    ("server_id", "{}", "object", "string"),
    ("server_id", r#"{"a":1}"#, "object", "string"),
    ("server_id", "[]", "array", "string"),
    ("server_id", r#"["s"]"#, "array", "string"),
    ("ack_id", "1", "number", "string"),
    ("platform", "1", "number", "string"),
    ("device_id", "1", "number", "string"),
    ("post_id", "1", "number", "string"),
    ("category", "1", "number", "string"),
    ("sound", "1", "number", "string"),
    ("message", "1", "number", "string"),
    ("team_id", "1", "number", "string"),
    ("channel_id", "1", "number", "string"),
    ("root_id", "1", "number", "string"),
    ("channel_name", "1", "number", "string"),
    ("type", "1", "number", "string"),
    ("sub_type", "1", "number", "model.PushSubType"),
    ("sender_id", "1", "number", "string"),
    ("sender_name", "1", "number", "string"),
    ("override_username", "1", "number", "string"),
    ("override_icon_url", "1", "number", "string"),
    ("from_webhook", "true", "bool", "string"),
    ("version", "2", "number", "string"),
    ("signature", "1", "number", "string"),
    ("transport", "1", "number", "model.PushTransport"),
    ("badge", r#""1""#, "string", "int"),
    ("badge", r#""<text> \"quoted\"""#, "string", "int"),
    ("badge", "true", "bool", "int"),
    ("badge", "{}", "object", "int"),
    ("badge", "[]", "array", "int"),
    ("badge", "1.0", "number 1.0", "int"),
    ("badge", "1.5", "number 1.5", "int"),
    ("badge", "1e2", "number 1e2", "int"),
    ("badge", "1E+2", "number 1E+2", "int"),
    ("badge", "9223372036854775808", "number 9223372036854775808", "int"),
    ("badge", "-9223372036854775809", "number -9223372036854775809", "int"),
    ("badge", "99999999999999999999999999", "number 99999999999999999999999999", "int"),
    ("badge", "1e999", "number 1e999", "int"),
    ("cont_ava", r#""1""#, "string", "int"),
    ("cont_ava", "true", "bool", "int"),
    ("is_crt_enabled", "1", "number", "bool"),
    ("is_crt_enabled", r#""true""#, "string", "bool"),
    ("is_id_loaded", "0", "number", "bool"),
    ("is_id_loaded", r#""""#, "string", "bool"),
    ("is_id_loaded", "[]", "array", "bool"),
];

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (body, words) in UNREADABLE {
        let name = format!("unreadable: {:?}", body.escape_ascii().to_string());
        cases.push(Case::push(name, *body).refused(unreadable("message", words)));
    }
    for (field, value, found, expected) in WRONG {
        // Everything else is right, and still nothing is sent.
        let body = format!(
            r#"{{"server_id":"server-1","device_id":"TOKEN","platform":"apple_rn","type":"message","{field}":{value}}}"#
        );
        let words =
            format!("json: cannot unmarshal {found} into Go struct field PushNotification.{field} of type {expected}");
        let name = format!("wrong type: {field} is {value}");
        cases.push(Case::push(name, body).refused(unreadable("message", &words)));
    }
    cases.extend(which_comes_first());
    cases
}

/// Several things wrong at once: which one is spoken of.
fn which_comes_first() -> Vec<Case> {
    let server = "json: cannot unmarshal number into Go struct field PushNotification.server_id of type string";
    let badge = "json: cannot unmarshal string into Go struct field PushNotification.badge of type int";
    let of_reading: &[(&str, &str, &str)] = &[
        ("the first of two wrong types", r#"{"server_id":1,"badge":"x"}"#, server),
        ("the first of two wrong types, the other way round", r#"{"badge":"x","server_id":1}"#, badge),
        ("a wrong type in capitals", r#"{"SERVER_ID":1}"#, server),
        ("a wrong type that is put right later", r#"{"server_id":1,"server_id":"s","device_id":"TOKEN"}"#, server),
        ("a wrong type put wrong later", r#"{"server_id":"s","device_id":"TOKEN","badge":1,"badge":"x"}"#, badge),
        ("a wrong type before words behind it", r#"{"server_id":1} x"#, server),
        (
            "broken JSON behind a wrong type",
            r#"{"server_id":1 x}"#,
            "invalid character 'x' after object key:value pair",
        ),
        ("too little JSON behind a wrong type", r#"{"server_id":1,"message":"#, "unexpected EOF"),
        ("a wrong type before a missing server id", r#"{"badge":"x"}"#, badge),
    ];

    let no_server = "Failed because of missing server Id";
    let no_device = "Failed because of missing device Id serverId=server-1";
    let of_missing: &[(&str, &str, &str)] = &[
        ("nothing at all", "{}", no_server),
        ("null", "null", no_server),
        ("null and words behind it", "null and more", no_server),
        ("an empty server id", r#"{"server_id":"","device_id":"TOKEN","platform":"apple_rn"}"#, no_server),
        ("a server id of null", r#"{"server_id":null,"device_id":"TOKEN","platform":"apple_rn"}"#, no_server),
        ("no server id", r#"{"device_id":"TOKEN","platform":"apple_rn"}"#, no_server),
        ("no server id before no device id", r#"{"platform":"apple_rn"}"#, no_server),
        ("no server id before an unknown platform", r#"{"device_id":"TOKEN","platform":"windows"}"#, no_server),
        ("no device id", r#"{"server_id":"server-1","platform":"apple_rn"}"#, no_device),
        ("an empty device id", r#"{"server_id":"server-1","device_id":"","platform":"apple_rn"}"#, no_device),
        ("a device id of null", r#"{"server_id":"server-1","device_id":null,"platform":"apple_rn"}"#, no_device),
        ("no device id before an unknown platform", r#"{"server_id":"server-1","platform":"windows"}"#, no_device),
        ("no device id and no platform", r#"{"server_id":"server-1"}"#, no_device),
        (
            "no device id of a server with an odd id",
            r#"{"server_id":"<a> & \"b\"\n\u2028\u0001é"}"#,
            r#"Failed because of missing device Id serverId=\u003ca\u003e \u0026 \"b\"\n\u2028\u0001é"#,
        ),
        (
            "an unknown platform of a server with an odd id",
            r#"{"server_id":"<a>","device_id":"TOKEN","platform":"windows"}"#,
            r"Did not send message because of missing platform property type=windows serverId=\u003ca\u003e",
        ),
        (
            "an unknown platform of no type",
            r#"{"server_id":"server-1","device_id":"TOKEN","platform":"windows","type":""}"#,
            "Did not send message because of missing platform property type=windows serverId=server-1",
        ),
    ];

    // Names and ids are quoted whole, however long they are.
    let long = "l".repeat(2_000);
    let no_device_of_long = format!("Failed because of missing device Id serverId={long}");
    let nowhere = format!("Did not send message because of missing platform property type={long} serverId={long}");
    let of_long = [
        ("no device id of a server with a long id", format!(r#"{{"server_id":"{long}"}}"#), no_device_of_long),
        (
            "a long platform of a server with a long id",
            format!(r#"{{"server_id":"{long}","device_id":"TOKEN","platform":"{long}"}}"#),
            nowhere,
        ),
    ];

    let named = |name: &str, body: &str| Case::push(format!("what is spoken of: {name}"), body);
    let of_reading =
        of_reading.iter().map(|(name, body, words)| named(name, body).refused(unreadable("message", words)));
    let of_missing = of_missing.iter().map(|(name, body, words)| named(name, body).refused(fail(words)));
    let of_long = of_long.iter().map(|(name, body, words)| named(name, body).refused(fail(words)));
    of_reading.chain(of_missing).chain(of_long).collect()
}
