//! What a program may write, and what it is told when it writes something else.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn smallest() -> Value {
    json!({"target": "apple_rn", "devices": ["d1"], "kind": "alert", "body": "hi"})
}

/// The smallest request with these members put in; `null` takes one away.
#[allow(clippy::needless_pass_by_value, reason = "reads better at each call")]
fn with(members: Value) -> Value {
    let mut request = smallest();
    for (name, value) in members.as_object().unwrap() {
        if value.is_null() {
            request.as_object_mut().unwrap().remove(name);
        } else {
            request[name] = value.clone();
        }
    }
    request
}

fn decoded(request: &Value) -> Request {
    decode(request.to_string().as_bytes()).unwrap_or_else(|error| panic!("{request}: {error:?}"))
}

/// What is wrong, a line each.
fn complaints(request: &Value) -> Vec<String> {
    match decode(request.to_string().as_bytes()) {
        Ok(_) => vec![],
        Err(error) => error.lines(),
    }
}

#[test]
fn the_smallest_request_has_defaults_for_everything_else() {
    let Request { target, message, devices } = decoded(&smallest());
    assert_eq!(target.as_str(), "apple_rn");
    assert_eq!((devices.distinct.len(), devices.places), (1, vec![0]));
    let alert = message.alert().unwrap();
    assert_eq!((alert.title.expose(), alert.body.expose()), ("", "hi"));
    assert_eq!((alert.badge, &alert.sound, &alert.thread_id, &alert.category), (None, &None, &None, &None));
    assert!(!alert.mutable && message.data.is_empty() && message.apns.is_empty() && message.fcm.is_empty());
    assert_eq!((message.collapse_id, message.ttl_seconds, message.priority), (None, None, Priority::High));
    assert_eq!(message.id, "", "the signature has one");
}

#[test]
fn every_field_arrives_where_it_belongs() {
    let Request { message, .. } = decoded(&with(json!({
        "id": "m-1", "title": "t", "badge": 3, "sound": "s", "thread_id": "th", "category": "c", "mutable": true,
        "data": {"b": "2", "a": ""}, "collapse_id": "x", "ttl_s": 0, "priority": "normal",
        "apns": {"interruption-level": "active"}, "fcm": {"notification": {"channel_id": "m"}},
    })));
    let alert = message.alert().unwrap();
    assert_eq!((message.id.as_str(), alert.title.expose(), alert.badge, alert.mutable), ("m-1", "t", Some(3), true));
    let names = (alert.sound.as_deref(), alert.thread_id.as_deref(), alert.category.as_deref());
    assert_eq!(names, (Some("s"), Some("th"), Some("c")));
    let data: Vec<_> = message.data.iter().map(|(name, text)| (name.as_str(), text.expose())).collect();
    assert_eq!(data, [("a", ""), ("b", "2")]);
    let when = (message.collapse_id.as_deref(), message.ttl_seconds, message.priority);
    assert_eq!(when, (Some("x"), Some(0), Priority::Normal));
    assert_eq!(Value::from(message.apns), json!({"interruption-level": "active"}));
    assert_eq!(Value::from(message.fcm), json!({"notification": {"channel_id": "m"}}));
}

#[test]
fn what_shows_nothing_needs_no_text_and_only_a_background_push_is_not_urgent() {
    for (kind, priority) in [("background", Priority::Normal), ("voip", Priority::High)] {
        let request = decoded(&with(json!({"kind": kind, "body": null})));
        assert_eq!((request.message.kind().as_str(), request.message.priority), (kind, priority));
    }
}

#[test]
fn a_null_is_as_good_as_nothing() {
    let mut request = smallest();
    for name in ["id", "title", "badge", "mutable", "data", "ttl_s", "priority", "apns", "collapse_id"] {
        request[name] = Value::Null;
    }
    assert_eq!(complaints(&request), Vec::<String>::new());
}

#[test]
fn a_device_that_is_named_twice_is_sent_to_once_and_answered_each_time() {
    let devices = decoded(&with(json!({"devices": ["b", "a", "b", "c", "a"]}))).devices;
    let tokens: Vec<_> = devices.distinct.iter().map(DeviceToken::expose).collect();
    assert_eq!((tokens, devices.places), (vec!["b", "a", "c"], vec![0, 1, 0, 2, 1]));
}

#[test]
fn alerts_that_show_something_by_other_means_than_a_text_are_fine() {
    for members in [
        json!({"body": null, "title": "t"}),
        json!({"body": null, "badge": 0}),
        json!({"body": null, "apns": {"alert": {"loc-key": "K"}}}),
        json!({"body": null, "fcm": {"notification": {"body_loc_key": "k"}}}),
    ] {
        assert_eq!(complaints(&with(members)), Vec::<String>::new());
    }
}

#[test]
#[allow(clippy::too_many_lines, reason = "one table")]
fn each_mistake_is_named_with_its_place() {
    let long = |bytes| "x".repeat(bytes);
    let many: Vec<_> = (0..501).map(|index| index.to_string()).collect();
    let table = [
        (json!({"target": null}), "target: is missing"),
        (json!({"target": ""}), "target: is empty"),
        (json!({"target": 1}), "target: is a number, not a text"),
        (json!({"target": long(129)}), "target: is 129 bytes long; the most is 128"),
        (json!({"devices": null}), "devices: is missing"),
        (json!({"devices": "d1"}), "devices: is a text, not a list of texts"),
        (json!({"devices": []}), "devices: holds 0 devices; there must be 1 to 500"),
        (json!({"devices": many}), "devices: holds 501 devices; there must be 1 to 500"),
        (json!({"devices": ["a", 7]}), "devices[1]: is a number, not a text"),
        (json!({"devices": ["a", null]}), "devices[1]: is null, not a text"),
        (json!({"devices": [""]}), "devices[0]: is empty"),
        (json!({"devices": [long(4_097)]}), "devices[0]: is 4097 bytes long; the most is 4096"),
        (json!({"kind": null}), "kind: is missing"),
        (json!({"kind": "message"}), "kind: is none of `alert`, `background`, `voip`"),
        (json!({"kind": 1}), "kind: is none of `alert`, `background`, `voip`"),
        (json!({"body": null}), "kind: is `alert`, but there is neither `title` nor `body` nor `badge`"),
        (json!({"kind": "background"}), "body: is only for kind `alert`, and this is `background`"),
        (json!({"kind": "voip"}), "body: is only for kind `alert`, and this is `voip`"),
        (json!({"id": ""}), "id: is empty"),
        (json!({"id": long(129)}), "id: is 129 bytes long; the most is 128"),
        (json!({"id": "a b"}), "id: may only hold visible ASCII characters"),
        (json!({"id": "ä"}), "id: may only hold visible ASCII characters"),
        (json!({"id": 7}), "id: is a number, not a text"),
        (json!({"title": long(1_025)}), "title: is 1025 bytes long; the most is 1024"),
        (json!({"title": ["t"]}), "title: is a list, not a text"),
        (json!({"body": long(4_097)}), "body: is 4097 bytes long; the most is 4096"),
        (json!({"body": true}), "body: is true or false, not a text"),
        (json!({"badge": -1}), "badge: is not a whole number from 0 to 2147483647"),
        (json!({"badge": 1.5}), "badge: is not a whole number from 0 to 2147483647"),
        (json!({"badge": "1"}), "badge: is not a whole number from 0 to 2147483647"),
        (json!({"badge": 2_147_483_648_u64}), "badge: is not a whole number from 0 to 2147483647"),
        (json!({"sound": {}}), "sound: is an object, not a text"),
        (json!({"thread_id": long(257)}), "thread_id: is 257 bytes long; the most is 256"),
        (json!({"category": ""}), "category: is empty"),
        (json!({"mutable": 1}), "mutable: is a number, not true or false"),
        (json!({"data": []}), "data: is a list, not an object"),
        (json!({"data": {"n": 7}}), "data.n: is a number; FCM carries only texts, so write it as one"),
        (json!({"data": {"n": true}}), "data.n: is true or false; FCM carries only texts, so write it as one"),
        (json!({"data": {"n": null}}), "data.n: is null; FCM carries only texts, so write it as one"),
        (json!({"data": {"n": {"m": "x"}}}), "data.n: is an object; FCM carries only texts, so write it as one"),
        (json!({"data": {"": "x"}}), "data.: has a name of 0 bytes; it must have 1 to 128"),
        (json!({"data": {"aps": "x"}}), "data.aps: has a name that is kept for Apple, Google or chat servers"),
        (json!({"data": {"ack_id": "x"}}), "data.ack_id: has a name that is kept for Apple, Google or chat servers"),
        (json!({"data": {"from": "x"}}), "data.from: has a name that is kept for Apple, Google or chat servers"),
        (
            json!({"data": {"message_type": "x"}}),
            "data.message_type: has a name that is kept for Apple, Google or chat servers",
        ),
        (
            json!({"data": {"google.x": "x"}}),
            "data.google.x: has a name that is kept for Apple, Google or chat servers",
        ),
        (json!({"data": {"gcm.x": "x"}}), "data.gcm.x: has a name that is kept for Apple, Google or chat servers"),
        (json!({"collapse_id": long(65)}), "collapse_id: is 65 bytes long; the most is 64"),
        (json!({"collapse_id": "a\nb"}), "collapse_id: may only hold visible ASCII characters"),
        (json!({"ttl_s": 2_419_201}), "ttl_s: is not a whole number from 0 to 2419200"),
        (json!({"ttl_s": -1}), "ttl_s: is not a whole number from 0 to 2419200"),
        (json!({"ttl_s": "60"}), "ttl_s: is not a whole number from 0 to 2419200"),
        (json!({"priority": "urgent"}), "priority: is none of `high`, `normal`"),
        (json!({"priority": 10}), "priority: is none of `high`, `normal`"),
        (json!({"apns": "x"}), "apns: is a text, not an object"),
        (json!({"fcm": []}), "fcm: is a list, not an object"),
        (json!({"fcm": {"data": {}}}), "fcm.data: is set by the field `data`"),
        (json!({"fcm": {"priority": "high"}}), "fcm.priority: is set by the field `priority`"),
        (json!({"fcm": {"ttl": "1s"}}), "fcm.ttl: is set by the field `ttl_s`"),
        (json!({"fcm": {"collapse_key": "x"}}), "fcm.collapse_key: is set by the field `collapse_id`"),
        (json!({"fcm": {"collapseKey": "x"}}), "fcm.collapseKey: is set by the field `collapse_id`"),
        (json!({"fcm": {"notification": "x"}}), "fcm.notification: is a text, not an object"),
        (
            json!({"kind": "background", "body": null, "fcm": {"notification": {}}}),
            "fcm.notification: is only for kind `alert`",
        ),
        (
            json!({"kind": "background", "body": null, "apns": {"alert": "x"}}),
            "apns.alert: cannot be set for kind `background`",
        ),
        (
            json!({"kind": "background", "body": null, "apns": {"content-available": 0}}),
            "apns.content-available: cannot be set for kind `background`",
        ),
        (json!({"device": "d"}), "device: is not a field of a notification"),
        (json!({"Title": "t"}), "Title: is not a field of a notification"),
    ];
    for (members, expected) in table {
        let request = with(members);
        assert_eq!(complaints(&request), [expected], "{request}");
    }
}

#[test]
fn several_mistakes_are_told_at_once() {
    let request = json!({"devices": ["", 1], "kind": "x", "ttl_s": -1, "nonsense": 1});
    assert_eq!(
        complaints(&request),
        [
            "target: is missing",
            "devices[0]: is empty",
            "devices[1]: is a number, not a text",
            "kind: is none of `alert`, `background`, `voip`",
            "ttl_s: is not a whole number from 0 to 2419200",
            "nonsense: is not a field of a notification",
        ]
    );
}

#[test]
fn a_name_that_stands_there_twice_is_refused_although_the_rest_is_right() {
    let body = br#"{"target":"t","devices":["d"],"kind":"voip","data":{"a":"1","a":"2"}}"#;
    assert_eq!(decode(body).unwrap_err().lines(), ["data.a: stands there twice"]);
}

#[test]
fn limits_are_reached_without_a_complaint() {
    let devices: Vec<_> = (0..500).map(|index| index.to_string()).collect();
    let request = with(json!({
        "id": "x".repeat(128), "devices": devices, "title": "x".repeat(1_024), "body": "x".repeat(4_096),
        "badge": 2_147_483_647, "collapse_id": "x".repeat(64), "ttl_s": 2_419_200, "data": {"x".repeat(128): ""},
    }));
    assert_eq!(decoded(&request).devices.distinct.len(), 500);
    decoded(&with(json!({"devices": ["x".repeat(4_096)]})));
}

proptest! {
    /// A caller's log is no place for tokens and texts, whatever is wrong with them.
    #[test]
    fn no_complaint_repeats_a_value(name in "target|devices|kind|title|badge|sound|mutable|ttl_s|priority|apns|fcm|id") {
        let request = with(json!({ (name.as_str()): [{"canary": "canary"}, ["canary"], "canary"] }));
        for line in complaints(&request) {
            prop_assert!(!line.contains("canary"), "{}", line);
        }
    }

    #[test]
    fn distinct_devices_and_places_name_what_was_asked_for(tokens in proptest::collection::vec("[a-e]{1,2}", 1..60)) {
        let Devices { distinct, places } = distinct(tokens.clone());
        let named: Vec<_> = places.iter().map(|place| distinct[*place].expose().to_owned()).collect();
        prop_assert_eq!(named, tokens);
        let mut tokens: Vec<_> = distinct.iter().map(DeviceToken::expose).collect();
        let all = tokens.len();
        tokens.sort_unstable();
        tokens.dedup();
        prop_assert_eq!(tokens.len(), all);
    }
}
