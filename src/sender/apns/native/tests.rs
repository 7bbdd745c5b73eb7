//! Requests as wholes: payloads compared as JSON, headers as texts.

use http::Request;
use serde_json::{Value, json};

use super::*;
use crate::message::Push;
use crate::message::tests::{alert, object, silent};
use crate::private::Private;

fn payload(message: &Message) -> Value {
    serde_json::from_slice(&build(message).unwrap()).unwrap()
}

fn request(message: &Message) -> Request<()> {
    let addressing = Addressing::new("https://api.push.apple.com".to_owned(), "com.example.app").unwrap();
    prepare(&addressing, &DeviceToken::new("ab12").unwrap(), message, None).unwrap().head(None)
}

/// topic, push type, priority, expiration, collapse id
fn headers(message: &Message) -> [String; 5] {
    let request = request(message);
    ["apns-topic", "apns-push-type", "apns-priority", "apns-expiration", "apns-collapse-id"]
        .map(|name| request.headers().get(name).map_or_else(String::new, |value| value.to_str().unwrap().to_owned()))
}

#[test]
fn an_alert_carries_every_field_and_its_data_beside_aps() {
    let expected = json!({
        "aps": {
            "alert": {"title": "Town Square", "body": "Ann: ship it 🚀"}, "badge": 7, "sound": "ping.caf",
            "thread-id": "channel-1", "category": "REPLY", "mutable-content": 1,
        },
        "zone": "eu", "channel": "c1",
    });
    assert_eq!(payload(&alert()), expected);
    assert_eq!(headers(&alert()), ["com.example.app", "alert", "10", "", "post-1"]);
}

#[test]
fn what_an_alert_does_not_say_is_left_out() {
    let shows = |alert: Alert| payload(&silent(Push::Alert(alert)))["aps"].clone();
    let text = |text| Private::new(text);
    assert_eq!(shows(Alert { title: text("t"), ..Alert::default() }), json!({"alert": {"title": "t"}}));
    assert_eq!(shows(Alert { body: text("b"), ..Alert::default() }), json!({"alert": {"body": "b"}}));
    assert_eq!(shows(Alert { badge: Some(0), ..Alert::default() }), json!({"badge": 0}));
    assert_eq!(headers(&silent(Push::Alert(Alert::default()))), ["com.example.app", "alert", "5", "", ""]);
}

#[test]
fn a_background_push_only_wakes_the_app_and_is_never_urgent() {
    let mut message = silent(Push::Background);
    assert_eq!(payload(&message), json!({"aps": {"content-available": 1}, "zone": "eu"}));
    message.priority = Priority::High;
    assert_eq!(headers(&message), ["com.example.app", "background", "5", "", ""]);
}

#[test]
fn a_call_has_a_topic_and_a_limit_of_its_own() {
    let mut message = silent(Push::Voip);
    message.priority = Priority::High;
    message.ttl_seconds = Some(0);
    assert_eq!(payload(&message), json!({"aps": {}, "zone": "eu"}));
    assert_eq!(headers(&message), ["com.example.app.voip", "voip", "10", "", ""]);
}

#[test]
fn further_members_of_aps_are_merged_and_win() {
    let mut message = alert();
    message.apns = object(json!({
        "interruption-level": "time-sensitive", "relevance-score": 0.5, "alert": {"loc-key": "K", "loc-args": ["a"]},
        "sound": {"critical": 1, "name": "default", "volume": 0.5}, "content-available": 1,
    }));
    let expected = json!({
        "alert": {"loc-key": "K", "loc-args": ["a"]}, "badge": 7,
        "sound": {"critical": 1, "name": "default", "volume": 0.5}, "thread-id": "channel-1", "category": "REPLY",
        "mutable-content": 1, "content-available": 1, "interruption-level": "time-sensitive", "relevance-score": 0.5,
    });
    let written = String::from_utf8(build(&message).unwrap().to_vec()).unwrap();
    assert_eq!(payload(&message)["aps"], expected);
    assert_eq!(written.matches("\"alert\"").count(), 1, "no member stands there twice: {written}");
}

#[test]
fn a_payload_is_as_large_as_apple_takes_it_and_not_a_byte_larger() {
    for (push, limit) in [(Push::Background, LIMIT), (Push::Voip, VOIP_LIMIT)] {
        let mut message = silent(push);
        message.data = vec![("k".into(), Private::default())];
        let room = limit - build(&message).unwrap().len();
        message.data = vec![("k".into(), Private::new("x".repeat(room)))];
        assert_eq!(build(&message).unwrap().len(), limit);
        message.data = vec![("k".into(), Private::new("x".repeat(room + 1)))];
        assert_eq!(build(&message), Err(PAYLOAD_TOO_LARGE));
    }
}

#[test]
fn each_device_has_an_id_of_its_own() {
    let id = || request(&alert()).headers()["apns-id"].to_str().unwrap().to_owned();
    assert_ne!(id(), id());
}

#[test]
fn a_token_of_impossible_length_is_told_from_a_payload_too_large() {
    let addressing = Addressing::new("https://api.push.apple.com".to_owned(), "com.example.app").unwrap();
    let device = DeviceToken::new("a".repeat(4_096)).unwrap();
    assert_eq!(prepare(&addressing, &device, &alert(), None).unwrap_err(), TOKEN_TOO_LONG);
}
