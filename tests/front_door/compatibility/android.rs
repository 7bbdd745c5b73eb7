//! Every field that an Android phone sees: present, empty, absent. All values are texts, as FCM wants it.

use serde_json::json;

use super::case::{Case, to_android};

pub fn cases() -> Vec<Case> {
    [badges(), threads(), texts(), ids(), nothing_shown()].concat()
}

fn badges() -> Vec<Case> {
    vec![
        to_android("Android: badge -1 is left out", &json!({"badge": -1}), &json!({"badge": null})),
        to_android("Android: badge 0", &json!({"badge": 0}), &json!({"badge": "0"})),
        to_android("Android: badge 1", &json!({"badge": 1}), &json!({"badge": "1"})),
        to_android("Android: badge 99", &json!({"badge": 99}), &json!({"badge": "99"})),
        to_android("Android: an absent badge is 0", &json!({"badge": null}), &json!({"badge": "0"})),
        to_android("Android: badge -2 is passed on", &json!({"badge": -2}), &json!({"badge": "-2"})),
        to_android(
            "Android: the largest badge",
            &json!({"badge": 9_223_372_036_854_775_807_i64}),
            &json!({"badge": "9223372036854775807"}),
        ),
        to_android(
            "Android: clear with badge 0, app version 2",
            &json!({"type": "clear", "badge": 0}),
            &json!({
                "type": "clear", "badge": "0", "team_id": null, "sender_id": null, "sender_name": null,
                "message": null, "channel_name": null, "post_id": null, "override_username": null,
                "override_icon_url": null, "from_webhook": null,
            }),
        ),
        to_android(
            "Android: test with badge -1, as Mattermost sends it",
            &json!({
                "ack_id": null, "type": "test", "badge": -1, "version": "2", "message": null, "category": null,
                "channel_id": null, "channel_name": null, "team_id": null, "post_id": null, "sender_id": null,
                "sender_name": null, "signature": null, "cont_ava": null, "sound": null,
            }),
            &json!({
                "ack_id": "", "type": "test", "badge": null, "version": "2", "category": "", "channel_id": "",
                "signature": "NO_SIGNATURE", "team_id": null, "sender_id": null, "sender_name": null,
                "message": null, "channel_name": null, "post_id": null, "override_username": null,
                "override_icon_url": null, "from_webhook": null,
            }),
        ),
    ]
}

fn threads() -> Vec<Case> {
    vec![
        to_android(
            "Android: threads on, in a thread",
            &json!({"is_crt_enabled": true, "root_id": "root-1"}),
            &json!({"is_crt_enabled": "true", "root_id": "root-1"}),
        ),
        to_android(
            "Android: threads on, in no thread",
            &json!({"is_crt_enabled": true}),
            &json!({"is_crt_enabled": "true"}),
        ),
        to_android("Android: threads off, in a thread", &json!({"root_id": "root-1"}), &json!({"root_id": "root-1"})),
        to_android("Android: root id empty", &json!({"root_id": ""}), &json!({})),
        to_android("Android: no channel", &json!({"channel_id": null}), &json!({"channel_id": ""})),
    ]
}

fn texts() -> Vec<Case> {
    vec![
        to_android(
            "Android: a webhook's name",
            &json!({"override_username": "build bot"}),
            &json!({"override_username": "build bot"}),
        ),
        to_android(
            "Android: a webhook's picture",
            &json!({"override_icon_url": "https://chat.example/bot.png?a=1&b=<2>"}),
            &json!({"override_icon_url": "https://chat.example/bot.png?a=1&b=<2>"}),
        ),
        to_android("Android: from a webhook", &json!({"from_webhook": "true"}), &json!({"from_webhook": "true"})),
        to_android("Android: no category", &json!({"category": null}), &json!({"category": ""})),
        to_android("Android: another category", &json!({"category": "X"}), &json!({"category": "X"})),
        to_android("Android: no message", &json!({"message": null}), &json!({"message": ""})),
        to_android(
            "Android: a session push without a message",
            &json!({"type": "session", "message": null}),
            &json!({"type": "session", "message": ""}),
        ),
        to_android("Android: no sender name", &json!({"sender_name": null}), &json!({"sender_name": ""})),
        to_android("Android: the sound is not sent", &json!({"sound": "none"}), &json!({})),
        to_android("Android: cont_ava is not sent", &json!({"cont_ava": 0}), &json!({})),
        to_android("Android: no version", &json!({"version": null}), &json!({"version": ""})),
        to_android(
            "Android: an id-loaded push of a webhook hides its name",
            &json!({"is_id_loaded": true, "override_username": "bot", "from_webhook": "true"}),
            &json!({
                "id_loaded": "true", "sender_name": "Someone", "channel_name": null, "override_username": null,
                "override_icon_url": null, "from_webhook": null,
            }),
        ),
        to_android(
            "Android: an id-loaded push without anything",
            &json!({
                "is_id_loaded": true, "message": null, "post_id": null, "sender_id": null, "team_id": null,
                "sender_name": null,
            }),
            &json!({
                "id_loaded": "true", "sender_name": "Someone", "channel_name": null, "override_username": null,
                "override_icon_url": null, "from_webhook": null, "message": "", "post_id": "", "sender_id": "",
                "team_id": "",
            }),
        ),
        to_android(
            "Android: quotes, line breaks and markup in a message",
            &json!({"message": "\"a\"\n\t<b> & \\ \u{2028} \u{0} é 日本 😄"}),
            &json!({"message": "\"a\"\n\t<b> & \\ \u{2028} \u{0} é 日本 😄"}),
        ),
    ]
}

fn ids() -> Vec<Case> {
    vec![
        to_android("Android: no ack id", &json!({"ack_id": null}), &json!({"ack_id": ""})),
        to_android("Android: no signature", &json!({"signature": null}), &json!({"signature": "NO_SIGNATURE"})),
        to_android("Android: signature empty", &json!({"signature": ""}), &json!({"signature": "NO_SIGNATURE"})),
        to_android("Android: no team", &json!({"team_id": null}), &json!({"team_id": ""})),
        to_android("Android: no post", &json!({"post_id": null}), &json!({"post_id": ""})),
        to_android("Android: no sender", &json!({"sender_id": null}), &json!({"sender_id": ""})),
        to_android("Android: a call's sub-type", &json!({"sub_type": "calls"}), &json!({"sub_type": "calls"})),
        // There is no such channel on Android.
        to_android("Android: a call is an ordinary message", &json!({"transport": "voip"}), &json!({})),
        to_android("Android: an unknown transport is the usual one", &json!({"transport": "pigeon"}), &json!({})),
        to_android("Android: app version 1", &json!({"platform": "android_rn"}), &json!({})),
        to_android("Android: any server id", &json!({"server_id": "<s>"}), &json!({"server_id": "<s>"})),
    ]
}

fn nothing_shown() -> Vec<Case> {
    let bare = r#"{"server_id":"server-1","device_id":"TOKEN","platform":"android_rn""#;
    vec![
        Case::push("Android: the least that is sent", format!("{bare}}}")).message(json!({
            "ack_id": "", "type": "", "sub_type": "", "version": "", "channel_id": "", "is_crt_enabled": "false",
            "server_id": "server-1", "category": "", "signature": "NO_SIGNATURE", "badge": "0",
        })),
        Case::push("Android: the least of a message", format!(r#"{bare},"type":"message"}}"#)).message(json!({
            "ack_id": "", "type": "message", "sub_type": "", "version": "", "channel_id": "", "is_crt_enabled": "false",
            "server_id": "server-1", "category": "", "signature": "NO_SIGNATURE", "badge": "0", "team_id": "",
            "sender_id": "", "sender_name": "", "message": "", "channel_name": "", "post_id": "",
            "override_username": "", "override_icon_url": "", "from_webhook": "",
        })),
    ]
}
