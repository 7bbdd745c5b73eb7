//! Bodies of `messages:send` as wholes, compared as JSON.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::notification::Content;
use crate::private::Private;
use crate::sender::texts::tests::{any_texts, message};

fn build(notification: &Notification, compatibility: Compatibility) -> Bytes {
    super::build(notification, notification.content.mattermost(), compatibility, None)
}

fn built(notification: &Notification, compatibility: Compatibility) -> Value {
    serde_json::from_slice(&build(notification, compatibility)).unwrap()
}

#[test]
fn a_message_carries_every_key() {
    let expected = json!({"message": {
        "token": "token",
        "data": {
            "ack_id": "ack", "type": "message", "sub_type": "calls", "version": "v2", "channel_id": "channel",
            "is_crt_enabled": "true", "server_id": "server", "category": "CAN_REPLY", "signature": "a.b.c",
            "badge": "7", "root_id": "root", "team_id": "team", "sender_id": "sender", "sender_name": "Ann",
            "message": "@ann: ship it 🚀  :custom:", "channel_name": "Town Square", "post_id": "post",
            "override_username": "bot", "override_icon_url": "https://chat.example/bot.png", "from_webhook": "true",
        },
        "android": {"priority": "high"},
    }});
    assert_eq!(built(&message(), Compatibility::Improved), expected);
    assert_eq!(built(&message(), Compatibility::Strict), expected);
}

#[test]
fn google_is_told_how_long_a_push_is_worth_something_and_not_in_the_references_words() {
    let android = |compatibility, keep| {
        let message = message();
        let body = super::build(&message, message.content.mattermost(), compatibility, keep);
        serde_json::from_slice::<Value>(&body).unwrap()["message"]["android"].clone()
    };
    let four_weeks = 28 * 24 * 3_600_000;
    for (milliseconds, ttl) in
        [(0, "0s"), (999, "0s"), (60_999, "60s"), (four_weeks, "2419200s"), (four_weeks + 1_000, "2419200s")]
    {
        let keep = Some(Duration::from_millis(milliseconds));
        assert_eq!(android(Compatibility::Improved, keep), json!({"priority": "high", "ttl": ttl}));
        assert_eq!(android(Compatibility::Strict, keep), json!({"priority": "high"}));
    }
}

/// What the reference sends with every field empty but those it checks.
fn bare() -> Notification {
    let mut bare = message();
    bare.ack_id = String::new();
    bare.signature = Private::default();
    bare.content = Content::Mattermost(MattermostContent::default());
    bare
}

#[test]
fn what_a_kind_does_not_use_is_left_out_and_the_rest_is_there_even_if_empty() {
    let always = json!({"ack_id": "", "sub_type": "", "version": "", "channel_id": "", "is_crt_enabled": "false",
        "server_id": "server", "category": "", "signature": "NO_SIGNATURE"});
    let shown = json!({"team_id": "", "sender_id": "", "sender_name": "", "message": "", "channel_name": "",
        "post_id": "", "override_username": "", "override_icon_url": "", "from_webhook": ""});
    let id_loaded = json!({"post_id": "", "message": "", "sender_id": "", "team_id": "", "id_loaded": "true",
        "sender_name": "Someone"});
    for kind in ["message", "session", "clear", "update_badge", "test", "poll", ""] {
        for is_id_loaded in [false, true] {
            for (badge, badge_text) in [(-1, None), (0, Some("0")), (12, Some("12")), (-2, Some("-2"))] {
                for (root_id, root) in [("", None), ("root", Some("root"))] {
                    let mut notification = bare();
                    notification.kind = PushKind::from_wire(kind);
                    notification.content.mattermost_mut().is_id_loaded = is_id_loaded;
                    notification.content.mattermost_mut().badge = badge;
                    notification.content.mattermost_mut().root_id = root_id.into();

                    let mut expected = always.as_object().unwrap().clone();
                    expected.insert("type".into(), kind.into());
                    if is_id_loaded {
                        expected.extend(id_loaded.as_object().unwrap().clone());
                    } else if kind == "message" || kind == "session" {
                        expected.extend(shown.as_object().unwrap().clone());
                    }
                    expected.extend(badge_text.map(|text| ("badge".into(), text.into())));
                    expected.extend(root.map(|text| ("root_id".into(), text.into())));
                    for compatibility in [Compatibility::Improved, Compatibility::Strict] {
                        let body = built(&notification, compatibility);
                        assert_eq!(body["message"]["data"], Value::from(expected.clone()), "{kind} {is_id_loaded}");
                    }
                }
            }
        }
    }
}

#[test]
fn an_id_loaded_push_shows_its_placeholder_as_it_is_and_names_nobody() {
    let mut notification = message();
    notification.content.mattermost_mut().is_id_loaded = true;
    let body = built(&notification, Compatibility::Improved);
    let data = &body["message"]["data"];
    assert_eq!(data["message"], "@ann: ship it :rocket: :custom:");
    assert_eq!((&data["sender_name"], &data["id_loaded"]), (&json!("Someone"), &json!("true")));
    assert!(data.get("channel_name").is_none() && data.get("override_username").is_none());
}

#[test]
fn a_transport_for_apple_changes_nothing() {
    let mut voip = message();
    voip.transport = crate::notification::Transport::Voip;
    assert_eq!(build(&voip, Compatibility::Improved), build(&message(), Compatibility::Improved));
}

fn data_bytes(body: &Value) -> usize {
    let data = body["message"]["data"].as_object().unwrap();
    data.iter().map(|(key, value)| key.len() + value.as_str().unwrap().len()).sum()
}

#[test]
fn a_message_too_long_is_shortened_to_the_last_byte_unless_strict() {
    let mut notification = message();
    notification.content.mattermost_mut().message = Private::new(":a:".repeat(680));
    assert!(data_bytes(&built(&notification, Compatibility::Strict)) > DATA_LIMIT);
    let body = built(&notification, Compatibility::Improved);
    // One character of what `:a:` expands to is up to four bytes.
    assert!((DATA_LIMIT - 4..=DATA_LIMIT).contains(&data_bytes(&body)));
    assert!(body["message"]["data"]["message"].as_str().unwrap().ends_with('…'));
    assert_eq!(body["message"]["data"]["sender_name"], "Ann");
}

proptest! {
    #[test]
    fn no_texts_make_the_data_too_large(notification in any_texts(3_000)) {
        let body = built(&notification, Compatibility::Improved);
        prop_assert!(data_bytes(&body) <= DATA_LIMIT);
    }

    #[test]
    fn texts_that_fit_are_not_touched(notification in any_texts(60)) {
        let strict = built(&notification, Compatibility::Strict);
        prop_assert!(data_bytes(&strict) <= DATA_LIMIT);
        prop_assert_eq!(built(&notification, Compatibility::Improved), strict);
    }
}
