//! Every field that an iPhone sees: present, empty, absent. And calls, which take a channel of their own.

use serde_json::{Value, json};

use super::case::{Case, changed, to_apple, usual_request};

pub fn cases() -> Vec<Case> {
    [badges(), threads(), texts(), ids(), nothing_shown(), calls()].concat()
}

fn badges() -> Vec<Case> {
    let silent = json!({
        "aps": {"alert": null, "category": null, "mutable-content": null, "sound": null},
        "version": null, "channel_name": null,
    });
    let quiet = changed_patch(&silent, &json!({"aps": {"content-available": null}}));
    vec![
        to_apple("iPhone: badge -1 is left out", &json!({"badge": -1}), &json!({"aps": {"badge": null}})),
        to_apple("iPhone: badge 0 clears the badge", &json!({"badge": 0}), &json!({"aps": {"badge": 0}})),
        to_apple("iPhone: badge 1", &json!({"badge": 1}), &json!({"aps": {"badge": 1}})),
        to_apple("iPhone: badge 99", &json!({"badge": 99}), &json!({"aps": {"badge": 99}})),
        to_apple("iPhone: an absent badge is 0", &json!({"badge": null}), &json!({"aps": {"badge": 0}})),
        to_apple("iPhone: badge -2 is passed on", &json!({"badge": -2}), &json!({"aps": {"badge": -2}})),
        to_apple(
            "iPhone: the largest badge",
            &json!({"badge": 9_223_372_036_854_775_807_i64}),
            &json!({"aps": {"badge": 9_223_372_036_854_775_807_i64}}),
        ),
        to_apple(
            "iPhone: the smallest badge",
            &json!({"badge": -9_223_372_036_854_775_808_i64}),
            &json!({"aps": {"badge": -9_223_372_036_854_775_808_i64}}),
        ),
        to_apple(
            "iPhone: clear with badge 7",
            &json!({"type": "clear", "badge": 7}),
            &changed_patch(&silent, &json!({"type": "clear", "aps": {"badge": 7}})),
        ),
        to_apple(
            "iPhone: clear with badge -1",
            &json!({"type": "clear", "badge": -1}),
            &changed_patch(&silent, &json!({"type": "clear", "aps": {"badge": null}})),
        ),
        to_apple(
            "iPhone: clear without a badge, app version 2",
            &json!({"type": "clear", "badge": null}),
            &changed_patch(&silent, &json!({"type": "clear", "aps": {"badge": 1}})),
        ),
        to_apple(
            "iPhone: clear without a badge, app version 1",
            &json!({"type": "clear", "badge": null, "platform": "apple_rn"}),
            &changed_patch(&silent, &json!({"type": "clear", "aps": {"badge": 0}})),
        ),
        to_apple(
            "iPhone: clear that is id-loaded, badge 0, app version 2",
            &json!({"type": "clear", "badge": 0, "is_id_loaded": true}),
            &json!({
                "type": "clear", "id_loaded": true, "channel_name": null, "aps": {"badge": 1, "alert": {"title": null}},
            }),
        ),
        to_apple(
            "iPhone: update_badge with badge 0, app version 2",
            &json!({"type": "update_badge", "badge": 0}),
            &changed_patch(&quiet, &json!({"type": "update_badge", "aps": {"badge": 0}})),
        ),
        to_apple(
            "iPhone: update_badge with badge -1",
            &json!({"type": "update_badge", "badge": -1}),
            &changed_patch(&quiet, &json!({"type": "update_badge", "aps": {"badge": null}})),
        ),
        to_apple(
            "iPhone: test with badge -1, as Mattermost sends it",
            &json!({
                "ack_id": null, "type": "test", "badge": -1, "version": "2", "message": null, "category": null,
                "channel_id": null, "channel_name": null, "team_id": null, "post_id": null, "sender_id": null,
                "sender_name": null, "signature": null, "cont_ava": null, "sound": null,
            }),
            &json!({
                "aps": {
                    "alert": null, "badge": null, "category": null, "mutable-content": null, "sound": null,
                    "thread-id": null,
                },
                "type": "test", "version": null, "channel_name": null, "ack_id": null, "channel_id": null,
                "team_id": null, "sender_id": null, "sender_name": null, "post_id": null, "signature": "NO_SIGNATURE",
            }),
        ),
    ]
}

/// Two lists of changes as one: unlike [`changed`], `null` stays, because it says that a key is taken out.
fn changed_patch(base: &Value, more: &Value) -> Value {
    let (Some(base), Some(more)) = (base.as_object(), more.as_object()) else { return more.clone() };
    let mut both = base.clone();
    for (key, value) in more {
        let before = base.get(key).cloned().unwrap_or_else(|| json!({}));
        both.insert(key.clone(), changed_patch(&before, value));
    }
    both.into()
}

fn threads() -> Vec<Case> {
    vec![
        to_apple(
            "iPhone: threads on, in a thread",
            &json!({"is_crt_enabled": true, "root_id": "root-1"}),
            &json!({"is_crt_enabled": true, "root_id": "root-1", "aps": {"thread-id": "root-1"}}),
        ),
        to_apple(
            "iPhone: threads on, in no thread",
            &json!({"is_crt_enabled": true}),
            &json!({"is_crt_enabled": true}),
        ),
        to_apple(
            "iPhone: threads on, root id empty",
            &json!({"is_crt_enabled": true, "root_id": ""}),
            &json!({"is_crt_enabled": true}),
        ),
        to_apple("iPhone: threads off, in a thread", &json!({"root_id": "root-1"}), &json!({"root_id": "root-1"})),
        to_apple(
            "iPhone: threads on, in a thread of no channel",
            &json!({"is_crt_enabled": true, "root_id": "root-1", "channel_id": null}),
            &json!({"is_crt_enabled": true, "root_id": "root-1", "channel_id": null, "aps": {"thread-id": null}}),
        ),
        to_apple(
            "iPhone: no channel",
            &json!({"channel_id": null}),
            &json!({"channel_id": null, "aps": {"thread-id": null}}),
        ),
        to_apple(
            "iPhone: channel id empty",
            &json!({"channel_id": ""}),
            &json!({"channel_id": null, "aps": {"thread-id": null}}),
        ),
        to_apple(
            "iPhone: a clear push of a thread",
            &json!({"type": "clear", "is_crt_enabled": true, "root_id": "root-1"}),
            &json!({
                "aps": {
                    "alert": null, "category": null, "mutable-content": null, "sound": null, "thread-id": "root-1",
                },
                "type": "clear", "version": null, "channel_name": null, "is_crt_enabled": true, "root_id": "root-1",
            }),
        ),
    ]
}

fn texts() -> Vec<Case> {
    vec![
        to_apple(
            "iPhone: a webhook's name",
            &json!({"override_username": "build bot"}),
            &json!({"override_username": "build bot"}),
        ),
        to_apple(
            "iPhone: a webhook's picture",
            &json!({"override_icon_url": "https://chat.example/bot.png?a=1&b=<2>"}),
            &json!({"override_icon_url": "https://chat.example/bot.png?a=1&b=<2>"}),
        ),
        to_apple("iPhone: from a webhook", &json!({"from_webhook": "true"}), &json!({"from_webhook": "true"})),
        to_apple(
            "iPhone: a webhook's fields all at once",
            &json!({"from_webhook": "true", "override_username": "bot", "override_icon_url": "https://a.example/b"}),
            &json!({"from_webhook": "true", "override_username": "bot", "override_icon_url": "https://a.example/b"}),
        ),
        to_apple(
            "iPhone: a webhook's fields empty",
            &json!({"from_webhook": "", "override_username": "", "override_icon_url": ""}),
            &json!({}),
        ),
        to_apple("iPhone: no category", &json!({"category": null}), &json!({"aps": {"category": null}})),
        to_apple("iPhone: category empty", &json!({"category": ""}), &json!({"aps": {"category": null}})),
        to_apple(
            "iPhone: another category",
            &json!({"category": "CANNOT_REPLY"}),
            &json!({"aps": {"category": "CANNOT_REPLY"}}),
        ),
        to_apple("iPhone: any sound is the default one", &json!({"sound": "none"}), &json!({})),
        to_apple("iPhone: no sound is the default one too", &json!({"sound": null}), &json!({})),
        to_apple("iPhone: cont_ava is not read", &json!({"cont_ava": 0}), &json!({})),
        to_apple("iPhone: no cont_ava", &json!({"cont_ava": null}), &json!({})),
        to_apple("iPhone: no sender name", &json!({"sender_name": null}), &json!({"sender_name": null})),
        to_apple("iPhone: sender name empty", &json!({"sender_name": ""}), &json!({"sender_name": null})),
        to_apple(
            "iPhone: channel name empty",
            &json!({"channel_name": ""}),
            &json!({
                "channel_name": null, "aps": {"alert": "ship it"},
            }),
        ),
        to_apple(
            "iPhone: no message, but a channel name",
            &json!({"message": null}),
            &json!({"aps": {"alert": {"body": null}}}),
        ),
        to_apple(
            "iPhone: no message and no channel name",
            &json!({"message": null, "channel_name": null}),
            &json!({"aps": {"alert": ""}, "channel_name": null}),
        ),
        to_apple(
            "iPhone: a session push without a message is shown all the same",
            &json!({"type": "session", "message": null, "channel_name": null}),
            &json!({"type": "session", "aps": {"alert": "", "content-available": null}, "channel_name": null}),
        ),
        to_apple(
            "iPhone: an id-loaded push without a message",
            &json!({"is_id_loaded": true, "message": null}),
            &json!({"id_loaded": true, "aps": {"alert": {"title": null, "body": null}}, "channel_name": null}),
        ),
        to_apple(
            "iPhone: quotes, line breaks and markup in a message",
            &json!({"message": "\"a\"\n\t<b> & \\ \u{2028} \u{0} é 日本 😄"}),
            &json!({"aps": {"alert": {"body": "\"a\"\n\t<b> & \\ \u{2028} \u{0} é 日本 😄"}}}),
        ),
        to_apple("iPhone: no version", &json!({"version": null}), &json!({"version": "", "aps": {"alert": "ship it"}})),
        to_apple(
            "iPhone: the version's case counts",
            &json!({"version": "V2"}),
            &json!({"version": "V2", "aps": {"alert": "ship it"}}),
        ),
        to_apple(
            "iPhone: the type's case counts",
            &json!({"type": "Message"}),
            &json!({
                "aps": {
                    "alert": null, "category": null, "mutable-content": null, "sound": null, "content-available": null,
                },
                "type": "Message", "version": null, "channel_name": null,
            }),
        ),
    ]
}

fn ids() -> Vec<Case> {
    vec![
        to_apple("iPhone: no ack id", &json!({"ack_id": null}), &json!({"ack_id": null})),
        to_apple("iPhone: ack id empty", &json!({"ack_id": ""}), &json!({"ack_id": null})),
        to_apple("iPhone: no signature", &json!({"signature": null}), &json!({"signature": "NO_SIGNATURE"})),
        to_apple("iPhone: signature empty", &json!({"signature": ""}), &json!({"signature": "NO_SIGNATURE"})),
        to_apple(
            "iPhone: any signature is passed on as it came",
            &json!({"signature": " <not a JWS> "}),
            &json!({"signature": " <not a JWS> "}),
        ),
        to_apple("iPhone: no team", &json!({"team_id": null}), &json!({"team_id": null})),
        to_apple("iPhone: team id empty", &json!({"team_id": ""}), &json!({"team_id": null})),
        to_apple("iPhone: no post", &json!({"post_id": null}), &json!({"post_id": null})),
        to_apple("iPhone: post id empty", &json!({"post_id": ""}), &json!({"post_id": null})),
        to_apple("iPhone: no sender", &json!({"sender_id": null}), &json!({"sender_id": null})),
        to_apple("iPhone: sender id empty", &json!({"sender_id": ""}), &json!({"sender_id": null})),
        to_apple("iPhone: a call's sub-type", &json!({"sub_type": "calls"}), &json!({"sub_type": "calls"})),
        to_apple("iPhone: any sub-type", &json!({"sub_type": "poll"}), &json!({"sub_type": "poll"})),
        to_apple("iPhone: sub-type empty", &json!({"sub_type": ""}), &json!({"sub_type": ""})),
        to_apple(
            "iPhone: any server id",
            &json!({"server_id": "a <server> & more"}),
            &json!({"server_id": "a <server> & more"}),
        ),
        to_apple("iPhone: an empty transport is the usual one", &json!({"transport": ""}), &json!({})),
        to_apple("iPhone: an unknown transport is the usual one", &json!({"transport": "pigeon"}), &json!({})),
        to_apple("iPhone: the transport's case counts", &json!({"transport": "VOIP"}), &json!({})),
    ]
}

fn nothing_shown() -> Vec<Case> {
    let bare = r#"{"server_id":"server-1","device_id":"TOKEN","platform":"apple_rn""#;
    let empty = json!({
        "aps": {"badge": 0}, "type": "", "sub_type": "", "server_id": "server-1", "is_crt_enabled": false,
        "signature": "NO_SIGNATURE",
    });
    vec![
        Case::push("iPhone: the least that is sent", format!("{bare}}}")).alert(empty.clone()),
        Case::push("iPhone: the least of a message", format!(r#"{bare},"type":"message"}}"#)).alert(changed(
            empty.clone(),
            &json!({
                "aps": {"alert": "", "content-available": 1, "mutable-content": 1, "sound": "default"},
                "type": "message", "version": "",
            }),
        )),
        Case::push("iPhone: the least of a clear push", format!(r#"{bare},"type":"clear"}}"#))
            .alert(changed(empty.clone(), &json!({"aps": {"content-available": 1}, "type": "clear"}))),
        Case::push("iPhone: the least of an id-loaded push", format!(r#"{bare},"is_id_loaded":true}}"#)).alert(
            changed(
                empty,
                &json!({
                    "aps": {"alert": {}, "content-available": 1, "mutable-content": 1, "sound": "default"},
                    "version": "", "id_loaded": true,
                }),
            ),
        ),
    ]
}

/// A call as a Mattermost server sends it, with these changes, and what they change about the payload.
fn call(name: &str, request: &Value, payload: &Value) -> Case {
    let usual = changed(usual_request(), &json!({"transport": "voip", "sub_type": "calls", "root_id": "root-1"}));
    let rings = json!({
        "aps": {"content-available": 1},
        "type": "message",
        "sub_type": "calls",
        "channel_id": "channel-1",
        "server_id": "server-1",
        "post_id": "post-1",
        "thread_id": "root-1",
        "sender_id": "user-1",
        "id_loaded": false,
        "signature": "header.claims.signature",
        "sender_name": "@ann",
        "channel_name": "Town Square",
        "ack_id": "ack-1",
    });
    Case::push(name, changed(usual, request).to_string()).voip(changed(rings, payload))
}

fn calls() -> Vec<Case> {
    vec![
        call("a call", &json!({}), &json!({})),
        call("a call in no thread", &json!({"root_id": null}), &json!({"thread_id": ""})),
        call("a call with threads on", &json!({"is_crt_enabled": true}), &json!({})),
        call("a call without a sub-type", &json!({"sub_type": null}), &json!({"sub_type": ""})),
        call("a call without a signature", &json!({"signature": null}), &json!({"signature": "NO_SIGNATURE"})),
        call("a call without an ack id", &json!({"ack_id": null}), &json!({"ack_id": null})),
        call("a call without a sender name", &json!({"sender_name": ""}), &json!({"sender_name": null})),
        call("a call without a channel name", &json!({"channel_name": null}), &json!({"channel_name": null})),
        call(
            "a call that is id-loaded",
            &json!({"is_id_loaded": true, "sender_name": null, "channel_name": null}),
            &json!({"id_loaded": true, "sender_name": null, "channel_name": null}),
        ),
        call("a call that is id-loaded, with names", &json!({"is_id_loaded": true}), &json!({"id_loaded": true})),
        call("a call that has ended", &json!({"type": "clear"}), &json!({"type": "clear"})),
        call("a call of no type", &json!({"type": null}), &json!({"type": ""})),
        call("a call to app version 1", &json!({"platform": "apple_rn"}), &json!({})),
        call(
            "a call without ids",
            &json!({"channel_id": null, "post_id": null, "root_id": null, "sender_id": null}),
            &json!({"channel_id": "", "post_id": "", "thread_id": "", "sender_id": ""}),
        ),
        call("a call's badge, message and category are not sent", &json!({"badge": 0}), &json!({})),
        call("a call's team and webhook are not sent", &json!({"from_webhook": "true"}), &json!({})),
        call(
            "a call's emoji codes stay as they are",
            &json!({"channel_name": ":rocket:"}),
            &json!({
                "channel_name": ":rocket:",
            }),
        ),
    ]
}
