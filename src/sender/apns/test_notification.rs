//! A notification for tests, complete enough to be sent.

use crate::notification::{
    Content, DeviceToken, MattermostContent, Notification, PushKind, ServerId, TargetName, Transport,
};
use crate::private::Private;

pub(super) fn notification(device: &str) -> Notification {
    Notification {
        ack_id: "ack".to_owned(),
        server_id: ServerId::new("server").unwrap(),
        target: TargetName::new("apple_rn"),
        app_version: 2,
        device: DeviceToken::new(device).unwrap(),
        kind: PushKind::Message,
        transport: Transport::Standard,
        signature: Private::new("signature"),
        content: Content::Mattermost(MattermostContent {
            message: Private::new("text"),
            badge: -1,
            ..MattermostContent::default()
        }),
    }
}
