//! Any body in the place of a push or a receipt: nothing panics, both modes read the same, and what was read is what
//! would be read again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pushrelay::http::mattermost::{BadPush, decode_ack, decode_push, encode_outcome};
use pushrelay::notification::{Compatibility, Content, MattermostContent, Notification};
use pushrelay::outcome::Outcome;
use serde_json::{Value, json};

const MODES: [Compatibility; 2] = [Compatibility::Improved, Compatibility::Strict];

fuzz_target!(|body: &[u8]| {
    let [improved, strict] = MODES.map(|mode| decode_push(body, mode));
    assert_eq!(improved.is_ok(), strict.is_ok(), "the modes differ in what they take");
    if let (Ok(improved), Ok(strict)) = (&improved, &strict) {
        check_limits(improved);
        check_differences(improved, strict);
        for (push, mode) in [(improved, Compatibility::Improved), (strict, Compatibility::Strict)] {
            check_again(push, mode);
        }
        let longer = [body, b" {\"server_id\": 1} \xff"].concat();
        let again = decode_push(&longer, Compatibility::Improved).expect("what follows the first value does not count");
        assert_eq!(fields(&again), fields(improved));
    }
    for (push, mode) in [(improved, Compatibility::Improved), (strict, Compatibility::Strict)] {
        if let Err(bad) = push {
            check_failure(&bad.text(body, mode), mode);
            // For the log, which is bounded; the text of one error quotes the server's id, which is cut.
            let shown = bad.to_string().len();
            assert!(shown <= 512 || matches!((bad, mode), (BadPush::MissingDeviceId { .. }, Compatibility::Strict)));
        }
    }
    match decode_ack(body) {
        Ok(ack) => assert!(!ack.id.is_empty() && !ack.platform.is_empty() && !ack.kind.as_str().is_empty()),
        Err(bad) => MODES.into_iter().for_each(|mode| check_failure(&bad.text(body, mode), mode)),
    }
});

/// What this endpoint's pushes carry; anything else would be a push of the other interface.
fn mattermost(push: &Notification) -> &MattermostContent {
    match &push.content {
        Content::Mattermost(content) => content,
        _ => panic!("a chat server's push without a chat server's content"),
    }
}

fn check_limits(push: &Notification) {
    let content = mattermost(push);
    assert!(!push.server_id.as_str().is_empty());
    assert!(!push.device.expose().is_empty());
    assert!(!push.target.as_str().contains("-v"), "a version was left in the target's name");
    assert!(content.message.expose().len() <= 2_047);
    assert!(content.channel_name.expose().len() <= 64);
}

/// Only the cuts may differ, and only behind the same beginning.
fn check_differences(improved: &Notification, strict: &Notification) {
    let (mut ours, mut theirs) = (fields(improved), fields(strict));
    for name in ["message", "channel_name"] {
        let (ours, theirs) = (ours[name].take(), theirs[name].take());
        let (ours, theirs) = (ours.as_str().expect("a text"), theirs.as_str().expect("a text"));
        assert!(theirs.starts_with(ours) && theirs.len() - ours.len() <= 9, "at most three bytes of a split character");
    }
    assert_eq!(ours, theirs);
}

/// What was read, written down and read again, is the same.
fn check_again(push: &Notification, mode: Compatibility) {
    let content = mattermost(push);
    let mut body = fields(push);
    if mode == Compatibility::Strict {
        // What is left of a split character is longer than it was, and would be cut again.
        for (name, text) in [("message", &content.message), ("channel_name", &content.channel_name)] {
            if text.expose().ends_with('\u{fffd}') {
                body[name] = "".into();
            }
        }
    }
    let again = decode_push(body.to_string().as_bytes(), mode).expect("it was written by a library");
    assert_eq!(fields(&again), body);
}

/// A push as a chat server writes it.
fn fields(push: &Notification) -> Value {
    let content = mattermost(push);
    json!({
        "ack_id": push.ack_id,
        "server_id": push.server_id.as_str(),
        "platform": format!("{}-v{}", push.target.as_str(), push.app_version),
        "device_id": push.device.expose(),
        "type": push.kind.as_str(),
        "transport": match push.transport.label() {
            // Another one is not kept.
            "other" => "another",
            known => known,
        },
        "signature": push.signature.expose(),
        "sub_type": content.sub_type,
        "category": content.category,
        "message": content.message.expose(),
        "badge": content.badge,
        "version": content.version,
        "post_id": content.post_id,
        "team_id": content.team_id,
        "channel_id": content.channel_id,
        "root_id": content.root_id,
        "channel_name": content.channel_name.expose(),
        "sender_id": content.sender_id,
        "sender_name": content.sender_name.expose(),
        "override_username": content.override_username.expose(),
        "override_icon_url": content.override_icon_url.expose(),
        "from_webhook": content.from_webhook,
        "is_crt_enabled": content.is_crt_enabled,
        "is_id_loaded": content.is_id_loaded,
    })
}

/// Whatever was wrong, the answer is JSON that says so.
fn check_failure(text: &str, mode: Compatibility) {
    let answer = encode_outcome(&Outcome::Failed { text: text.to_owned().into() }, mode);
    let value: Value = serde_json::from_slice(&answer).expect("the answer is JSON");
    assert_eq!(value, json!({"status": "FAIL", "error": text}));
}
