//! Payloads as wholes, compared as JSON.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::private::Private;
use crate::sender::texts::tests::{any_texts, message};

const BOTH: [Compatibility; 2] = [Compatibility::Improved, Compatibility::Strict];

fn build(notification: &Notification, compatibility: Compatibility) -> Bytes {
    super::build(notification, notification.content.mattermost(), compatibility)
}

fn push_type(notification: &Notification, compatibility: Compatibility) -> PushType {
    PushType::of(notification, notification.content.mattermost(), compatibility)
}

fn built(notification: &Notification, compatibility: Compatibility) -> Value {
    serde_json::from_slice(&build(notification, compatibility)).unwrap()
}

fn changed(change: impl FnOnce(&mut Notification)) -> Notification {
    let mut notification = message();
    change(&mut notification);
    notification
}

/// JSON Merge Patch (RFC 7396): `null` removes a key, objects are merged, everything else replaces.
fn patch(target: &mut Value, patch: &Value) {
    let Value::Object(changes) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    let members = target.as_object_mut().unwrap();
    for (key, change) in changes {
        if change.is_null() {
            members.remove(key);
        } else {
            self::patch(members.entry(key.clone()).or_insert(Value::Null), change);
        }
    }
}

fn whole_message() -> Value {
    json!({
        "aps": {
            "alert": {"title": "Town Square", "body": "@ann: ship it 🚀  :custom:"},
            "badge": 7, "category": "CAN_REPLY", "content-available": 1, "mutable-content": 1, "sound": "default",
            "thread-id": "root",
        },
        "type": "message", "sub_type": "calls", "server_id": "server", "is_crt_enabled": true, "signature": "a.b.c",
        "version": "v2", "channel_name": "Town Square", "ack_id": "ack", "channel_id": "channel", "team_id": "team",
        "sender_id": "sender", "sender_name": "Ann", "post_id": "post", "root_id": "root",
        "override_username": "bot", "override_icon_url": "https://chat.example/bot.png", "from_webhook": "true",
    })
}

#[test]
fn a_message_carries_every_key() {
    for compatibility in BOTH {
        assert_eq!(built(&message(), compatibility), whole_message());
    }
}

#[test]
#[allow(clippy::too_many_lines, reason = "a table")]
fn each_field_and_kind_changes_what_it_should_and_nothing_else() {
    type Change = fn(&mut Notification);
    let text = "@ann: ship it 🚀  :custom:";
    let plain = "@ann: ship it :rocket: :custom:";
    // What a kind that shows nothing lacks, and what it has in `aps` instead.
    let quiet = |kind: &str, aps: Value| {
        let mut difference = json!({
            "aps": {"alert": null, "category": null, "mutable-content": null, "sound": null},
            "type": kind, "version": null, "channel_name": null,
        });
        difference["aps"].as_object_mut().unwrap().extend(aps.as_object().unwrap().clone());
        difference
    };
    let table: Vec<(&str, Change, Value)> = vec![
        // Channel name and version decide the alert's shape.
        (
            "version 1",
            |n| n.content.mattermost_mut().version = "v1".into(),
            json!({"aps": {"alert": text}, "version": "v1"}),
        ),
        ("no version", |n| n.content.mattermost_mut().version.clear(), json!({"aps": {"alert": text}, "version": ""})),
        (
            "no channel name",
            |n| n.content.mattermost_mut().channel_name = Private::default(),
            json!({"aps": {"alert": text}, "channel_name": null}),
        ),
        (
            "no channel name in version 1",
            |n| {
                n.content.mattermost_mut().channel_name = Private::default();
                n.content.mattermost_mut().version = "v1".into();
            },
            json!({"aps": {"alert": text}, "channel_name": null, "version": "v1"}),
        ),
        (
            "no message",
            |n| n.content.mattermost_mut().message = Private::default(),
            json!({"aps": {"alert": {"body": null}}}),
        ),
        (
            "no message and no channel name",
            |n| {
                n.content.mattermost_mut().message = Private::default();
                n.content.mattermost_mut().channel_name = Private::default();
            },
            json!({"aps": {"alert": ""}, "channel_name": null}),
        ),
        // Thread id.
        (
            "no collapsed threads",
            |n| n.content.mattermost_mut().is_crt_enabled = false,
            json!({"aps": {"thread-id": "channel"}, "is_crt_enabled": false}),
        ),
        (
            "no root",
            |n| n.content.mattermost_mut().root_id.clear(),
            json!({"aps": {"thread-id": "channel"}, "root_id": null}),
        ),
        (
            "no channel",
            |n| n.content.mattermost_mut().channel_id.clear(),
            json!({"aps": {"thread-id": null}, "channel_id": null}),
        ),
        // Badge.
        ("badge 0", |n| n.content.mattermost_mut().badge = 0, json!({"aps": {"badge": 0}})),
        ("badge -1", |n| n.content.mattermost_mut().badge = -1, json!({"aps": {"badge": null}})),
        ("badge -2", |n| n.content.mattermost_mut().badge = -2, json!({"aps": {"badge": -2}})),
        // What is left out when empty, and what is not.
        ("no category", |n| n.content.mattermost_mut().category.clear(), json!({"aps": {"category": null}})),
        ("no sub type", |n| n.content.mattermost_mut().sub_type.clear(), json!({"sub_type": ""})),
        ("no signature", |n| n.signature = Private::default(), json!({"signature": "NO_SIGNATURE"})),
        ("no ack id", |n| n.ack_id.clear(), json!({"ack_id": null})),
        ("no team", |n| n.content.mattermost_mut().team_id.clear(), json!({"team_id": null})),
        ("no sender id", |n| n.content.mattermost_mut().sender_id.clear(), json!({"sender_id": null})),
        (
            "no sender name",
            |n| n.content.mattermost_mut().sender_name = Private::default(),
            json!({"sender_name": null}),
        ),
        ("no post", |n| n.content.mattermost_mut().post_id.clear(), json!({"post_id": null})),
        (
            "no override",
            |n| n.content.mattermost_mut().override_username = Private::default(),
            json!({"override_username": null}),
        ),
        (
            "no picture",
            |n| n.content.mattermost_mut().override_icon_url = Private::default(),
            json!({"override_icon_url": null}),
        ),
        ("no webhook", |n| n.content.mattermost_mut().from_webhook.clear(), json!({"from_webhook": null})),
        ("an unknown transport", |n| n.transport = Transport::Other, json!({})),
        // Kinds.
        ("session", |n| n.kind = PushKind::Session, json!({"aps": {"content-available": null}, "type": "session"})),
        (
            "session in version 1",
            |n| {
                n.kind = PushKind::Session;
                n.content.mattermost_mut().version = "v1".into();
            },
            json!({"aps": {"alert": text, "content-available": null}, "type": "session", "version": "v1"}),
        ),
        ("clear", |n| n.kind = PushKind::Clear, quiet("clear", json!({}))),
        ("test", |n| n.kind = PushKind::Test, quiet("test", json!({}))),
        ("update_badge", |n| n.kind = PushKind::UpdateBadge, quiet("update_badge", json!({"content-available": null}))),
        (
            "an unknown kind",
            |n| n.kind = PushKind::Other("poll".into()),
            quiet("poll", json!({"content-available": null})),
        ),
        (
            "clear to 0",
            |n| {
                n.kind = PushKind::Clear;
                n.content.mattermost_mut().badge = 0;
            },
            quiet("clear", json!({"badge": 1})),
        ),
        (
            "clear to 0 in an old app",
            |n| {
                n.kind = PushKind::Clear;
                n.content.mattermost_mut().badge = 0;
                n.app_version = 1;
            },
            quiet("clear", json!({"badge": 0})),
        ),
        (
            "clear without a badge",
            |n| {
                n.kind = PushKind::Clear;
                n.content.mattermost_mut().badge = -1;
            },
            quiet("clear", json!({"badge": null})),
        ),
        (
            "update_badge to 0",
            |n| {
                n.kind = PushKind::UpdateBadge;
                n.content.mattermost_mut().badge = 0;
            },
            quiet("update_badge", json!({"badge": 0, "content-available": null})),
        ),
        // Only ids: the placeholder as it is, whatever the version and the channel's name.
        (
            "id-loaded",
            |n| n.content.mattermost_mut().is_id_loaded = true,
            json!({"aps": {"alert": {"title": null, "body": plain}}, "id_loaded": true, "channel_name": null}),
        ),
        (
            "id-loaded in version 1",
            |n| {
                n.content.mattermost_mut().is_id_loaded = true;
                n.content.mattermost_mut().version = "v1".into();
            },
            json!({"aps": {"alert": {"title": null, "body": plain}}, "id_loaded": true, "channel_name": null,
                "version": "v1"}),
        ),
        (
            "id-loaded without a placeholder",
            |n| {
                n.content.mattermost_mut().is_id_loaded = true;
                n.content.mattermost_mut().message = Private::default();
            },
            json!({"aps": {"alert": {"title": null, "body": null}}, "id_loaded": true, "channel_name": null}),
        ),
        (
            "id-loaded clear to 0",
            |n| {
                n.content.mattermost_mut().is_id_loaded = true;
                n.kind = PushKind::Clear;
                n.content.mattermost_mut().badge = 0;
            },
            json!({"aps": {"alert": {"title": null, "body": plain}, "badge": 1}, "id_loaded": true,
                "channel_name": null, "type": "clear"}),
        ),
        (
            "id-loaded session without a placeholder",
            |n| {
                n.content.mattermost_mut().is_id_loaded = true;
                n.kind = PushKind::Session;
                n.content.mattermost_mut().message = Private::default();
            },
            json!({"aps": {"alert": {"title": null, "body": null}}, "id_loaded": true, "channel_name": null,
                "type": "session"}),
        ),
    ];
    for (name, change, difference) in table {
        let mut expected = whole_message();
        patch(&mut expected, &difference);
        for compatibility in BOTH {
            let notification = changed(change);
            assert_eq!(built(&notification, compatibility), expected, "{name}");
            assert_eq!(push_type(&notification, compatibility), PushType::Alert, "{name}");
        }
    }
}

#[test]
fn a_session_without_a_message_is_silent_unless_strict() {
    let notification = changed(|n| {
        n.kind = PushKind::Session;
        n.content.mattermost_mut().message = Private::default();
    });
    let mut silent = whole_message();
    silent["aps"] = json!({"content-available": 1});
    silent["type"] = "session".into();
    assert_eq!(built(&notification, Compatibility::Improved), silent);
    assert_eq!(push_type(&notification, Compatibility::Improved), PushType::Background);

    let strict = built(&notification, Compatibility::Strict);
    assert_eq!(strict["aps"]["alert"], json!({"title": "Town Square"}));
    assert_eq!(push_type(&notification, Compatibility::Strict), PushType::Alert);
}

#[test]
fn a_call_carries_its_own_keys_whatever_its_kind() {
    let mut expected = json!({
        "aps": {"content-available": 1},
        "type": "message", "sub_type": "calls", "channel_id": "channel", "server_id": "server", "post_id": "post",
        "thread_id": "root", "sender_id": "sender", "id_loaded": false, "signature": "a.b.c",
        "sender_name": "Ann", "channel_name": "Town Square", "ack_id": "ack",
    });
    for compatibility in BOTH {
        let notification = changed(|n| n.transport = Transport::Voip);
        assert_eq!(built(&notification, compatibility), expected);
        assert_eq!(push_type(&notification, compatibility), PushType::Voip);
    }

    let bare = changed(|n| {
        n.transport = Transport::Voip;
        n.kind = PushKind::Session;
        n.ack_id.clear();
        n.signature = Private::default();
        *n.content.mattermost_mut() = MattermostContent { is_id_loaded: true, ..Default::default() };
    });
    patch(
        &mut expected,
        &json!({"type": "session", "sub_type": "", "channel_id": "", "post_id": "", "thread_id": "", "sender_id": "",
            "id_loaded": true, "signature": "NO_SIGNATURE", "sender_name": null, "channel_name": null, "ack_id": null}),
    );
    for compatibility in BOTH {
        assert_eq!(built(&bare, compatibility), expected);
    }
}

#[test]
fn a_message_too_long_is_shortened_to_the_last_byte_unless_strict() {
    let notification = changed(|n| n.content.mattermost_mut().message = Private::new("\u{1}".repeat(2_000)));
    assert!(build(&notification, Compatibility::Strict).len() > LIMIT);
    let payload = build(&notification, Compatibility::Improved);
    // Each of these characters takes six bytes in JSON.
    assert!((LIMIT - 6..=LIMIT).contains(&payload.len()));
    let payload: Value = serde_json::from_slice(&payload).unwrap();
    assert!(payload["aps"]["alert"]["body"].as_str().unwrap().ends_with("\u{1}…"));
    assert_eq!(payload["override_icon_url"], "https://chat.example/bot.png");
}

#[test]
fn ids_and_the_signature_are_never_cut() {
    let payload = built(&changed(|n| n.signature = Private::new("s".repeat(5_000))), Compatibility::Improved);
    assert_eq!(payload["signature"], "s".repeat(5_000));
    assert_eq!(payload["post_id"], "post");
}

proptest! {
    #[test]
    fn no_texts_make_a_payload_too_large(notification in any_texts(3_000)) {
        let limit = if notification.transport == Transport::Voip { VOIP_LIMIT } else { LIMIT };
        let payload = build(&notification, Compatibility::Improved);
        prop_assert!(payload.len() <= limit);
        prop_assert!(serde_json::from_slice::<Value>(&payload).is_ok());
    }

    #[test]
    fn texts_that_fit_are_not_touched(notification in any_texts(60)) {
        let strict = build(&notification, Compatibility::Strict);
        prop_assert!(strict.len() <= LIMIT);
        if push_type(&notification, Compatibility::Improved) != PushType::Background {
            prop_assert_eq!(build(&notification, Compatibility::Improved), strict);
        }
    }
}
