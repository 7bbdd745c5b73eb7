//! Bodies of `messages:send` as wholes, compared as JSON.

use serde_json::json;

use super::*;
use crate::message::Push;
use crate::message::tests::{alert, object, silent};

fn built(message: &Message) -> Value {
    let body = build(message, &DeviceToken::new("token").unwrap(), None).unwrap();
    serde_json::from_slice::<Value>(&body).unwrap()["message"].clone()
}

#[test]
fn an_alert_is_shown_by_google_and_carries_its_data() {
    let expected = json!({
        "token": "token",
        "notification": {"title": "Town Square", "body": "Ann: ship it 🚀"},
        "data": {"zone": "eu", "channel": "c1"},
        "android": {
            "priority": "high", "ttl": "3600s", "collapse_key": "post-1",
            "notification": {"sound": "ping.caf", "notification_count": 7},
        },
    });
    assert_eq!(built(&alert()), expected);
}

#[test]
fn what_shows_nothing_is_data_only() {
    let bare = json!({"token": "token", "data": {"zone": "eu"}, "android": {"priority": "normal"}});
    let badge_only = Alert { badge: Some(3), ..Alert::default() };
    for push in [Push::Background, Push::Voip, Push::Alert(badge_only)] {
        let mut message = silent(push);
        assert_eq!(built(&message), bare);
        message.priority = Priority::High;
        message.ttl_seconds = Some(0);
        assert_eq!(built(&message)["android"], json!({"priority": "high", "ttl": "0s"}));
        message.data.clear();
        assert!(built(&message).get("data").is_none());
    }
}

#[test]
fn a_message_is_kept_as_long_as_asked_for_and_no_longer_than_it_is_worth_something() {
    let device = DeviceToken::new("token").unwrap();
    for (ttl_seconds, remaining, ttl) in [
        (None, None, None),
        (None, Some(60), Some("60s")),
        (Some(3_600), Some(60), Some("60s")),
        (Some(10), Some(60), Some("10s")),
        (Some(10), None, Some("10s")),
        (Some(10), Some(0), Some("0s")),
        (Some(0), Some(60), Some("0s")),
    ] {
        let message = Message { ttl_seconds, ..silent(Push::Background) };
        let body = build(&message, &device, remaining.map(Duration::from_secs)).unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["message"]["android"]["ttl"].as_str(), ttl, "{ttl_seconds:?} {remaining:?}");
    }
}

#[test]
fn what_an_alert_does_not_say_is_left_out() {
    let mut message = silent(Push::Alert(Alert { body: Private::new("b"), badge: Some(0), ..Alert::default() }));
    message.data.clear();
    let expected = json!({"token": "token", "notification": {"body": "b"}, "android": {"priority": "normal"}});
    assert_eq!(built(&message), expected);
}

#[test]
fn further_members_of_android_are_merged_and_those_of_its_notification_win() {
    let mut message = alert();
    message.fcm = object(json!({
        "direct_boot_ok": true, "notification": {"channel_id": "messages", "sound": "other", "color": "#ff0000"},
    }));
    let expected = json!({
        "priority": "high", "ttl": "3600s", "collapse_key": "post-1", "direct_boot_ok": true,
        "notification": {"channel_id": "messages", "sound": "other", "color": "#ff0000", "notification_count": 7},
    });
    assert_eq!(built(&message)["android"], expected);
    let written = build(&message, &DeviceToken::new("token").unwrap(), None).unwrap();
    let written = String::from_utf8(written.to_vec()).unwrap();
    assert_eq!(written.matches("\"sound\"").count(), 1, "no member stands there twice: {written}");
}

#[test]
fn a_message_is_as_large_as_google_takes_it_and_not_a_byte_larger() {
    let device = DeviceToken::new("token").unwrap();
    for push in [Push::Background, Push::Alert(Alert { body: Private::new("é"), ..Alert::default() })] {
        let mut message = silent(push);
        message.data = vec![("k".into(), Private::default())];
        let room = DATA_LIMIT - size(&message);
        // What JSON adds to a text does not count.
        message.data = vec![("k".into(), Private::new("\n".repeat(room)))];
        assert!(build(&message, &device, None).is_ok());
        message.data = vec![("k".into(), Private::new("\n".repeat(room + 1)))];
        assert_eq!(build(&message, &device, None), Err(PAYLOAD_TOO_LARGE));
    }
}
