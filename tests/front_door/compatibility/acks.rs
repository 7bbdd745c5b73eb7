//! Receipts, which the server forwards from the phone.

use super::case::{Case, fail, unreadable};

/// What is said of a receipt, and the receipt.
const RECEIVED: &[(&str, &str)] = &[
    (
        "as an iPhone sends it",
        r#"{"id":"ack-1","received_at":1700000000000,"platform":"ios","type":"message","post_id":"p","is_id_loaded":true}"#,
    ),
    ("as an Android phone sends it", r#"{"id":"ack-1","received_at":1,"platform":"android","type":"clear"}"#),
    ("with what is required", r#"{"id":"ack-1","platform":"ios","type":"message"}"#),
    ("of an odd platform", r#"{"id":"ack-1","platform":"<toaster> & \"kettle\"","type":"message"}"#),
    ("of an odd type", r#"{"id":"ack-1","platform":"ios","type":"poll"}"#),
    ("with spaces for everything", r#"{"id":" ","platform":" ","type":" "}"#),
    ("with keys in capitals", r#"{"ID":"ack-1","Platform":"ios","TYPE":"message"}"#),
    (
        "with null where it may be",
        r#"{"id":"a","platform":"i","type":"t","received_at":null,"post_id":null,"is_id_loaded":null}"#,
    ),
    ("with words behind it", r#"{"id":"ack-1","platform":"ios","type":"message"} and more"#),
    ("with unknown fields", r#"{"id":"ack-1","platform":"ios","type":"message","x":{"id":1},"server_id":1}"#),
    ("with a time before 1970", r#"{"id":"ack-1","platform":"ios","type":"message","received_at":-1}"#),
    ("with the latest time", r#"{"id":"ack-1","platform":"ios","type":"message","received_at":9223372036854775807}"#),
    ("with an id and null", r#"{"id":"ack-1","id":null,"platform":"ios","type":"message"}"#),
    ("with an id that is no Unicode", "{\"id\":\"\\ud800\",\"platform\":\"ios\",\"type\":\"message\"}"),
];

/// The same, and what the answer says, as it stands in the JSON.
#[rustfmt::skip]
const REFUSED: &[(&str, &str, &str)] = &[
    ("without an id", r#"{"platform":"ios","type":"message"}"#, "Failed because of missing ack Id"),
    ("with an empty id", r#"{"id":"","platform":"ios","type":"message"}"#, "Failed because of missing ack Id"),
    ("with an id of null", r#"{"id":null,"platform":"ios","type":"message"}"#, "Failed because of missing ack Id"),
    ("without a platform", r#"{"id":"a","type":"message"}"#, "Failed because of missing ack platform"),
    ("with an empty platform", r#"{"id":"a","platform":"","type":"message"}"#, "Failed because of missing ack platform"),
    ("with a platform of null", r#"{"id":"a","platform":null,"type":"t"}"#, "Failed because of missing ack platform"),
    ("without a type", r#"{"id":"a","platform":"ios"}"#, "Failed because of missing ack type"),
    ("with an empty type", r#"{"id":"a","platform":"ios","type":""}"#, "Failed because of missing ack type"),
    ("with a type of null", r#"{"id":"a","platform":"ios","type":null}"#, "Failed because of missing ack type"),
    ("without anything", "{}", "Failed because of missing ack Id"),
    ("that is null", "null", "Failed because of missing ack Id"),
    ("without platform and type", r#"{"id":"a"}"#, "Failed because of missing ack platform"),
];

/// The same, and what Go says of it.
#[rustfmt::skip]
const UNREADABLE: &[(&str, &str, &str)] = &[
    ("that is empty", "", "EOF"),
    ("that is cut off", r#"{"id":"a""#, "unexpected EOF"),
    ("that is no JSON", "hello", "invalid character 'h' looking for beginning of value"),
    ("that is markup", "<a>", r"invalid character '\u003c' looking for beginning of value"),
    ("that is a list", "[]",
        "json: cannot unmarshal array into Go value of type model.PushNotificationAck"),
    ("that is a text", r#""x""#,
        "json: cannot unmarshal string into Go value of type model.PushNotificationAck"),
];

/// Field, value, what Go found and what it expected.
#[rustfmt::skip]
const WRONG: &[(&str, &str, &str, &str)] = &[
    ("id", "1", "number", "string"),
    ("platform", "true", "bool", "string"),
    ("type", "{}", "object", "string"),
    ("post_id", "[]", "array", "string"),
    ("received_at", r#""1""#, "string", "int64"),
    ("received_at", "1.5", "number 1.5", "int64"),
    ("received_at", "1e3", "number 1e3", "int64"),
    ("received_at", "9223372036854775808", "number 9223372036854775808", "int64"),
    ("is_id_loaded", r#""yes""#, "string", "bool"),
];

pub fn cases() -> Vec<Case> {
    let received = RECEIVED.iter().map(|(name, body)| Case::ack(format!("a receipt {name}"), *body));
    let refused =
        REFUSED.iter().map(|(name, body, words)| Case::ack(format!("a receipt {name}"), *body).refused(fail(words)));
    let unread = UNREADABLE
        .iter()
        .map(|(name, body, words)| Case::ack(format!("a receipt {name}"), *body).refused(unreadable("ack", words)));
    let wrong = WRONG.iter().map(|(field, value, found, expected)| {
        let body = format!(r#"{{"id":"a","platform":"ios","type":"message","{field}":{value}}}"#);
        let words = format!(
            "json: cannot unmarshal {found} into Go struct field PushNotificationAck.{field} of type {expected}"
        );
        Case::ack(format!("a receipt whose {field} is {value}"), body).refused(unreadable("ack", &words))
    });
    received.chain(refused).chain(unread).chain(wrong).collect()
}
