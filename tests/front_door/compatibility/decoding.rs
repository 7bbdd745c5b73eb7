//! Bodies that are odd and yet understood, because Go's decoder understands them: chat servers and other senders have
//! come to rely on it.

use serde_json::{Value, json};

use super::case::{Case, changed};

/// A body that says "hi", left open for more.
const HI: &str = r#"{"server_id":"server-1","device_id":"TOKEN","platform":"apple_rn","type":"message","message":"hi""#;

/// What reaches Apple because of it.
fn hi() -> Value {
    json!({
        "aps": {"alert": "hi", "badge": 0, "content-available": 1, "mutable-content": 1, "sound": "default"},
        "type": "message",
        "sub_type": "",
        "server_id": "server-1",
        "is_crt_enabled": false,
        "signature": "NO_SIGNATURE",
        "version": "",
    })
}

/// A body that says "hi" and nothing else.
fn says_hi(name: &str, body: impl Into<Vec<u8>>) -> Case {
    Case::push(format!("read: {name}"), body).alert(hi())
}

/// A body that begins with [`HI`], goes on with these bytes and ends; and what they change about the payload.
fn goes_on(name: &str, rest: &(impl AsRef<[u8]> + ?Sized), changes: &Value) -> Case {
    let body = [HI.as_bytes(), b",", rest.as_ref(), b"}"].concat();
    Case::push(format!("read: {name}"), body).alert(changed(hi(), changes))
}

/// A body with this message, which stands between quotes as it is given here, and what is shown.
fn message(name: &str, written: &(impl AsRef<[u8]> + ?Sized), shown: &str) -> Case {
    let rest = [b"\"message\":\"", written.as_ref(), b"\""].concat();
    goes_on(&format!("message with {name}"), &rest, &json!({"aps": {"alert": shown}}))
}

pub fn cases() -> Vec<Case> {
    [around(), keys(), duplicates(), nothing(), unknown(), texts(), numbers(), content_types()].concat()
}

fn around() -> Vec<Case> {
    vec![
        says_hi("nothing odd", format!("{HI}}}")),
        says_hi("white space around", format!(" \t\r\n{HI}}}\n\n ")),
        says_hi(
            "white space inside",
            "{\r\n\t\"server_id\" : \"server-1\" ,\n \"device_id\":\"TOKEN\" , \"platform\": \"apple_rn\",\
             \t\"type\":\"message\",\"message\":\n\"hi\"\n}",
        ),
        says_hi("words behind it", format!("{HI}}} and more")),
        says_hi("a second object behind it", format!(r#"{HI}}}{{"message":"two"}}"#)),
        says_hi("half an object behind it", format!(r#"{HI}}}{{"message":"#)),
        says_hi("a bracket behind it", format!("{HI}}}]")),
        says_hi("bytes behind it", [HI.as_bytes(), b"}\x00\xff\xfe"].concat()),
        says_hi(
            "any order",
            r#"{"message":"hi","platform":"apple_rn","type":"message","device_id":"TOKEN","server_id":"server-1"}"#,
        ),
    ]
}

fn keys() -> Vec<Case> {
    vec![
        says_hi(
            "keys in capitals",
            r#"{"SERVER_ID":"server-1","DEVICE_ID":"TOKEN","PLATFORM":"apple_rn","TYPE":"message","MESSAGE":"hi"}"#,
        ),
        says_hi(
            "keys in mixed case",
            r#"{"Server_Id":"server-1","deVice_iD":"TOKEN","Platform":"apple_rn","tYpe":"message","messagE":"hi"}"#,
        ),
        says_hi(
            "keys with escapes",
            r#"{"\u0073erver_id":"server-1","device\u005fid":"TOKEN","platform":"apple_rn","type":"message","message":"hi"}"#,
        ),
        // Two characters that Unicode folds to letters of ASCII.
        goes_on("a key with the Kelvin sign", "\"ac\u{212a}_id\":\"a\"", &json!({"ack_id": "a"})),
        goes_on("a key with the escaped Kelvin sign", r#""AC\u212a_ID":"a""#, &json!({"ack_id": "a"})),
        goes_on("a key with a long s", "\"po\u{17f}t_id\":\"p\"", &json!({"post_id": "p"})),
        goes_on("a key with an accent is another key", "\"t\u{e9}am_id\":\"t\"", &json!({})),
        goes_on("a key with a space is another key", r#""team_id ":"t"," team_id":"t","team id":"t""#, &json!({})),
        goes_on("a key with hyphens is another key", r#""team-id":"t","teamId":"t""#, &json!({})),
        goes_on("an empty key", r#""":"t""#, &json!({})),
        goes_on("a key that is no Unicode", b"\"te\xffam_id\":\"t\"", &json!({})),
        goes_on("a key of half a surrogate pair", r#""\ud800":"t""#, &json!({})),
    ]
}

fn duplicates() -> Vec<Case> {
    vec![
        goes_on("of two texts the later", r#""team_id":"a","team_id":"b""#, &json!({"team_id": "b"})),
        goes_on("of two texts the later, even if empty", r#""team_id":"a","team_id":"""#, &json!({})),
        goes_on("of two numbers the later", r#""badge":1,"badge":2"#, &json!({"aps": {"badge": 2}})),
        goes_on(
            "of two flags the later",
            r#""is_crt_enabled":true,"is_crt_enabled":false"#,
            &json!({"is_crt_enabled": false}),
        ),
        goes_on("of two in different case the later", r#""team_id":"a","TEAM_ID":"b""#, &json!({"team_id": "b"})),
        goes_on("of two, the exact key has no privilege", r#""TEAM_ID":"b","team_id":"a""#, &json!({"team_id": "a"})),
        goes_on("a text and null: the text", r#""team_id":"a","team_id":null"#, &json!({"team_id": "a"})),
        goes_on("a number and null: the number", r#""badge":5,"badge":null"#, &json!({"aps": {"badge": 5}})),
        goes_on(
            "a flag and null: the flag",
            r#""is_crt_enabled":true,"is_crt_enabled":null"#,
            &json!({"is_crt_enabled": true}),
        ),
    ]
}

fn nothing() -> Vec<Case> {
    vec![
        goes_on("null for a number", r#""badge":null"#, &json!({})),
        goes_on("null for flags", r#""is_crt_enabled":null,"is_id_loaded":null"#, &json!({})),
        goes_on(
            "null for every text",
            r#""ack_id":null,"post_id":null,"category":null,"sound":null,"team_id":null,"channel_id":null,"root_id":null,
            "channel_name":null,"sub_type":null,"sender_id":null,"sender_name":null,"override_username":null,
            "override_icon_url":null,"from_webhook":null,"version":null,"signature":null,"transport":null,"cont_ava":null"#,
            &json!({}),
        ),
        goes_on(
            "every text empty",
            r#""ack_id":"","post_id":"","category":"","sound":"","team_id":"","channel_id":"","root_id":"",
            "channel_name":"","sub_type":"","sender_id":"","sender_name":"","override_username":"",
            "override_icon_url":"","from_webhook":"","version":"","signature":"","transport":"","cont_ava":0"#,
            &json!({}),
        ),
        Case::push(
            "read: null for the message alone",
            r#"{"server_id":"server-1","device_id":"TOKEN","platform":"apple_rn","type":"message","message":null}"#,
        )
        .alert(changed(hi(), &json!({"aps": {"alert": ""}}))),
        Case::push(
            "read: null for the type",
            r#"{"server_id":"server-1","device_id":"TOKEN","platform":"apple_rn","type":null,"message":"hi"}"#,
        )
        .alert(changed(
            hi(),
            &json!({
                "type": "", "version": null,
                "aps": {"alert": null, "content-available": null, "mutable-content": null, "sound": null},
            }),
        )),
    ]
}

fn unknown() -> Vec<Case> {
    let nested = |levels: usize| format!("\"x\":{}{}", "[".repeat(levels), "]".repeat(levels));
    vec![
        goes_on(
            "unknown fields",
            r#""id":"a","app_version":2,"post_type":"x","channel_type":"D","x":true"#,
            &json!({}),
        ),
        goes_on("an unknown object", r#""x":{"message":"b","badge":"c","y":[1,{"z":null}]}"#, &json!({})),
        goes_on(
            "an unknown number beyond all bounds",
            r#""x":1e999,"y":-1e-999,"z":123456789012345678901234"#,
            &json!({}),
        ),
        goes_on("an unknown text with half a surrogate pair", r#""x":"\ud800""#, &json!({})),
        goes_on("an unknown text that is no Unicode", b"\"x\":\"\xff\xfe\"", &json!({})),
        goes_on("300 levels", &nested(300), &json!({})),
        goes_on("9,999 levels beside the outermost", &nested(9_999), &json!({})),
    ]
}

fn texts() -> Vec<Case> {
    vec![
        message("every short escape", r#"\"\\\/\b\f\n\r\t"#, "\"\\/\u{8}\u{c}\n\r\t"),
        message("an escape by number", r"\u0041\u00e9\u65e5", "Aé日"),
        message("capitals in an escape", r"\u00E9\uD83D\uDE04", "é😄"),
        message("an escaped null character", r"a\u0000b", "a\0b"),
        message("a surrogate pair", r"\ud83d\ude04", "😄"),
        message("the first half of a pair", r"\ud83d", "\u{fffd}"),
        message("the second half of a pair", r"\ude04", "\u{fffd}"),
        message("the halves of a pair in the wrong order", r"\ude04\ud83d", "\u{fffd}\u{fffd}"),
        message("two first halves and a second", r"\ud83d\ud83d\ude04", "\u{fffd}😄"),
        message("a first half before a letter", r"\ud83dx", "\u{fffd}x"),
        message("a first half before an escaped letter", r"\ud83d\u0041", "\u{fffd}A"),
        message("a first half before a line break", r"\ud83d\n", "\u{fffd}\n"),
        message("an escaped backslash before what looks like a half", r"\\ud83d", r"\ud83d"),
        message("a byte that is no Unicode", b"a\xffb", "a\u{fffd}b"),
        message("the beginning of a character", b"a\xe2\x82", "a\u{fffd}\u{fffd}"),
        message("the beginning of a character before a letter", b"\xf0\x9f\x98x", "\u{fffd}\u{fffd}\u{fffd}x"),
        message("a surrogate in UTF-8", b"\xed\xa0\x80", "\u{fffd}\u{fffd}\u{fffd}"),
        message("a slash in two bytes", b"\xc0\xaf", "\u{fffd}\u{fffd}"),
        message("a character beyond Unicode", b"\xf4\x90\x80\x80", "\u{fffd}\u{fffd}\u{fffd}\u{fffd}"),
        message("a byte order mark", "\u{feff}a", "\u{feff}a"),
        message("a delete character and a line separator", "\u{7f}\u{2028}", "\u{7f}\u{2028}"),
        goes_on("a server id that is no Unicode", b"\"server_id\":\"s\xff\"", &json!({"server_id": "s\u{fffd}"})),
        goes_on("a text of spaces is not empty", r#""team_id":" ""#, &json!({"team_id": " "})),
    ]
}

fn numbers() -> Vec<Case> {
    vec![
        goes_on("a negative zero", r#""badge":-0"#, &json!({})),
        goes_on(
            "the largest number",
            r#""badge":9223372036854775807"#,
            &json!({
                "aps": {"badge": 9_223_372_036_854_775_807_i64},
            }),
        ),
        goes_on(
            "the smallest number",
            r#""badge":-9223372036854775808"#,
            &json!({
                "aps": {"badge": -9_223_372_036_854_775_808_i64},
            }),
        ),
        goes_on("flags", r#""is_crt_enabled":true,"is_id_loaded":false"#, &json!({"is_crt_enabled": true})),
    ]
}

fn content_types() -> Vec<Case> {
    ["application/json", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "x"]
        .into_iter()
        .map(|content_type| Case {
            content_type: Some(content_type),
            ..says_hi(&format!("a content type of {content_type}"), format!("{HI}}}"))
        })
        .collect()
}
