//! Every field comes back, and no bytes do harm.

use proptest::prelude::*;
use serde_json::json;

use super::*;

/// Whether two are the same in every field: taken apart, so that a new field cannot be forgotten.
fn assert_same(one: &Notification, other: &Notification) {
    let fields = |notification: &Notification| {
        let Notification { ack_id, server_id, target, app_version, device, kind, transport, signature, content: _ } =
            notification.clone();
        (ack_id, server_id, target, app_version, device, kind, transport, signature)
    };
    assert!(fields(one) == fields(other));
    match (&one.content, &other.content) {
        (Content::Mattermost(one), Content::Mattermost(other)) => assert!(mattermost(one) == mattermost(other)),
        (Content::Native(one), Content::Native(other)) => assert!(native(one) == native(other)),
        _ => panic!("another kind of content"),
    }
}

fn mattermost(content: &MattermostContent) -> impl PartialEq + use<> {
    let MattermostContent {
        sub_type,
        category,
        message,
        badge,
        version,
        post_id,
        team_id,
        channel_id,
        root_id,
        channel_name,
        sender_id,
        sender_name,
        override_username,
        override_icon_url,
        from_webhook,
        is_crt_enabled,
        is_id_loaded,
    } = content.clone();
    let ids = (sub_type, category, version, post_id, team_id, channel_id, root_id, sender_id, from_webhook);
    let texts = (message, channel_name, sender_name, override_username, override_icon_url);
    (ids, texts, badge, is_crt_enabled, is_id_loaded)
}

fn native(message: &Message) -> impl PartialEq + use<> {
    let Message { id, push, data, collapse_id, ttl_seconds, priority, apns, fcm } = message.clone();
    let push = match push {
        Push::Alert(Alert { title, body, badge, sound, thread_id, category, mutable }) => {
            Some((title, body, badge, sound, thread_id, category, mutable))
        }
        Push::Background | Push::Voip => None,
    };
    (id, message.kind(), push, data, collapse_id, ttl_seconds, priority, apns, fcm)
}

fn text() -> impl Strategy<Value = String> {
    any::<String>()
}

fn private() -> impl Strategy<Value = Private> {
    text().prop_map(Private::new)
}

fn map() -> impl Strategy<Value = Map<String, Value>> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    let value = leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((text(), inner), 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    });
    prop::collection::vec((text(), value), 0..3).prop_map(|members| members.into_iter().collect())
}

fn mattermost_content() -> impl Strategy<Value = Content> {
    let ids = prop::array::uniform9(text());
    let texts = prop::array::uniform5(private());
    (ids, texts, any::<i64>(), any::<bool>(), any::<bool>()).prop_map(
        |(ids, texts, badge, is_crt_enabled, is_id_loaded)| {
            let [sub_type, category, version, post_id, team_id, channel_id, root_id, sender_id, from_webhook] = ids;
            let [message, channel_name, sender_name, override_username, override_icon_url] = texts;
            Content::Mattermost(MattermostContent {
                sub_type,
                category,
                message,
                badge,
                version,
                post_id,
                team_id,
                channel_id,
                root_id,
                channel_name,
                sender_id,
                sender_name,
                override_username,
                override_icon_url,
                from_webhook,
                is_crt_enabled,
                is_id_loaded,
            })
        },
    )
}

fn push() -> impl Strategy<Value = Push> {
    let option = || prop::option::of(text());
    prop_oneof![
        Just(Push::Background),
        Just(Push::Voip),
        (private(), private(), prop::option::of(any::<u32>()), option(), option(), option(), any::<bool>()).prop_map(
            |(title, body, badge, sound, thread_id, category, mutable)| {
                Push::Alert(Alert { title, body, badge, sound, thread_id, category, mutable })
            }
        ),
    ]
}

fn native_content() -> impl Strategy<Value = Content> {
    let data = prop::collection::vec((text(), private()), 0..4);
    let priority = prop_oneof![Just(Priority::High), Just(Priority::Normal)];
    let options = (prop::option::of(text()), prop::option::of(any::<u32>()));
    (text(), push(), data, options, priority, map(), map()).prop_map(
        |(id, push, data, (collapse_id, ttl_seconds), priority, apns, fcm)| {
            Content::Native(Arc::new(Message { id, push, data, collapse_id, ttl_seconds, priority, apns, fcm }))
        },
    )
}

fn notification() -> impl Strategy<Value = Notification> {
    let kind = prop_oneof![
        prop::sample::select(&PushKind::LABELS[..]).prop_map(PushKind::from_wire),
        text().prop_map(|word| PushKind::from_wire(&word)),
        prop::sample::select(&message::Kind::ALL[..]).prop_map(PushKind::Native),
    ];
    let transport = prop::sample::select(vec![Transport::Standard, Transport::Voip, Transport::Other]);
    let content = prop_oneof![mattermost_content(), native_content()];
    (text(), ".+", text(), any::<u32>(), ".+", kind, transport, private(), content).prop_map(
        |(ack_id, server, target, app_version, device, kind, transport, signature, content)| Notification {
            ack_id,
            server_id: ServerId::new(&server).unwrap(),
            target: TargetName::new(&target),
            app_version,
            device: DeviceToken::new(device).unwrap(),
            kind,
            transport,
            signature,
            content,
        },
    )
}

proptest! {
    #[test]
    fn a_notification_comes_back_as_it_was(notification in notification()) {
        assert_same(&decode(&encode(&notification)).unwrap(), &notification);
    }

    #[test]
    fn bytes_that_are_no_notification_do_no_harm(bytes in any::<Vec<u8>>()) {
        let _ = decode(&bytes);
        let _ = decode(&[&[VERSION][..], &bytes].concat());
    }

    #[test]
    fn a_notification_with_a_byte_changed_or_cut_off_does_no_harm(
        notification in notification(), place in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        let bytes = encode(&notification);
        let place = place.index(bytes.len());
        prop_assert!(decode(&bytes[..place]).is_err());
        let mut changed = bytes;
        changed[place] = byte;
        let _ = decode(&changed);
    }
}

#[test]
fn another_version_and_an_empty_token_or_server_are_not_read() {
    let record = |server: &str, device: &str| {
        let json = json!({
            "ack_id": "", "server": server, "target": "t", "app_version": 1, "device": device, "kind": {"wire": "message"},
            "transport": "standard", "content": {"mattermost": {}},
        });
        [vec![VERSION], serde_json::to_vec(&json).unwrap()].concat()
    };
    assert!(decode(&record("s", "d")).is_ok(), "absent fields are empty");
    assert!(decode(&record("", "d")).is_err());
    assert!(decode(&record("s", "")).is_err());
    let mut later = record("s", "d");
    later[0] = VERSION + 1;
    assert!(decode(&later).is_err());
}

#[test]
fn as_much_nesting_as_a_request_can_have_is_read() {
    // The native API's request has its maps at least one level down, and serde reads 128 levels in all.
    let deep = format!("{}1{}", "[".repeat(126), "]".repeat(126));
    let apns: Map<String, Value> = serde_json::from_str(&format!("{{\"x\":{deep}}}")).unwrap();
    let message = Message { apns, ..crate::message::tests::alert() };
    let device = DeviceToken::new("d").unwrap();
    let server = ServerId::new("s").unwrap();
    let notification = Notification::of_message(&Arc::new(message), &server, &TargetName::new("t"), device);
    assert_same(&decode(&encode(&notification)).unwrap(), &notification);
}
