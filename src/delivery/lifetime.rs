//! How long a notification is of use, and what is sent first of what waits. Pure.

use std::time::Duration;

use crate::message;
use crate::notification::{Content, Notification, PushKind, Transport, Urgency};

/// How long notifications are of use, by what they are about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LifetimeSettings {
    /// A message, and whatever is not named below.
    pub message: Duration,
    /// A call that rings.
    pub call: Duration,
    /// The number on the app's icon, and that messages were read elsewhere.
    pub badge: Duration,
    /// The end of a session, at which the app logs out and wipes.
    pub session: Duration,
}

/// How long it is of use from its admission on. Zero: now or never. `None` for a test, which somebody is waiting for: it is
/// never queued, and the provider is told nothing.
///
/// A message of the native API lives as long as its own `ttl_s` says, which its decoder has bounded.
pub fn lifetime(notification: &Notification, settings: &LifetimeSettings) -> Option<Duration> {
    if let Content::Native(message) = &notification.content
        && let Some(seconds) = message.ttl_seconds
    {
        return Some(Duration::from_secs(seconds.into()));
    }
    match subject(notification) {
        Subject::Test => None,
        Subject::Call => Some(settings.call),
        Subject::Session => Some(settings.session),
        Subject::Badge => Some(settings.badge),
        Subject::Message => Some(settings.message),
    }
}

/// What is sent first. The end of a session goes with the calls: until it arrives, a lost phone shows what it should not; and
/// sessions end too rarely to hold a call up.
pub fn urgency(notification: &Notification) -> Urgency {
    match subject(notification) {
        Subject::Call | Subject::Session => Urgency::Call,
        Subject::Message | Subject::Test => Urgency::Message,
        Subject::Badge => Urgency::Badge,
    }
}

enum Subject {
    Message,
    Call,
    Badge,
    Session,
    Test,
}

/// A chat server says in two ways that a phone rings: through Apple's channel for calls, through which nothing may come late
/// since each push there rings; and to all phones as a refinement of a message. That a call was taken elsewhere is another
/// notification to take down.
fn subject(notification: &Notification) -> Subject {
    match &notification.kind {
        PushKind::Test => Subject::Test,
        PushKind::Session => Subject::Session,
        PushKind::Native(message::Kind::Voip) => Subject::Call,
        _ if notification.transport == Transport::Voip => Subject::Call,
        PushKind::Clear | PushKind::UpdateBadge => Subject::Badge,
        PushKind::Message | PushKind::Other(_) | PushKind::Native(_) => match &notification.content {
            Content::Mattermost(content) if content.sub_type == "calls" => Subject::Call,
            Content::Mattermost(_) | Content::Native(_) => Subject::Message,
        },
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::message::Push;
    use crate::notification::{DeviceToken, MattermostContent, ServerId, TargetName};
    use crate::private::Private;

    const SETTINGS: LifetimeSettings = LifetimeSettings {
        message: Duration::from_hours(4),
        call: Duration::from_secs(30),
        badge: Duration::from_hours(24),
        session: Duration::from_hours(168),
    };

    fn mattermost(kind: &str, sub_type: &str, transport: &str) -> Notification {
        Notification {
            ack_id: String::new(),
            server_id: ServerId::new("abc").unwrap(),
            target: TargetName::new("apple_rn"),
            app_version: 2,
            device: DeviceToken::new("token").unwrap(),
            kind: PushKind::from_wire(kind),
            transport: Transport::from_wire(transport),
            signature: Private::default(),
            content: Content::Mattermost(MattermostContent { sub_type: sub_type.into(), ..Default::default() }),
        }
    }

    fn native(push: Push, ttl_seconds: Option<u32>) -> Notification {
        let message = message::Message { ttl_seconds, ..message::tests::silent(push) };
        let (server, target) = (ServerId::new("abc").unwrap(), TargetName::new("apple_rn"));
        Notification::of_message(&Arc::new(message), &server, &target, DeviceToken::new("token").unwrap())
    }

    #[test]
    fn each_notification_has_its_lifetime_and_its_urgency() {
        let alert = || Push::Alert(message::Alert::default());
        let (hour, day) = (3_600, 86_400);
        let table = [
            ("a message", mattermost("message", "", ""), Some(4 * hour), Urgency::Message),
            ("a call", mattermost("message", "calls", ""), Some(30), Urgency::Call),
            ("a call through Apple's channel", mattermost("message", "calls", "voip"), Some(30), Urgency::Call),
            ("that channel alone", mattermost("message", "", "voip"), Some(30), Urgency::Call),
            ("a channel that nobody knows", mattermost("message", "", "pigeon"), Some(4 * hour), Urgency::Message),
            ("another refinement", mattermost("message", "polls", ""), Some(4 * hour), Urgency::Message),
            ("read elsewhere", mattermost("clear", "", ""), Some(day), Urgency::Badge),
            ("a call that was taken elsewhere", mattermost("clear", "calls", ""), Some(day), Urgency::Badge),
            ("the same through Apple's channel", mattermost("clear", "calls", "voip"), Some(30), Urgency::Call),
            ("a number", mattermost("update_badge", "", ""), Some(day), Urgency::Badge),
            ("the end of a session", mattermost("session", "", ""), Some(7 * day), Urgency::Call),
            ("a test", mattermost("test", "", ""), None, Urgency::Message),
            ("a kind that nobody knows", mattermost("poll", "", ""), Some(4 * hour), Urgency::Message),
            ("a program's message", native(alert(), None), Some(4 * hour), Urgency::Message),
            ("one of a minute", native(alert(), Some(60)), Some(60), Urgency::Message),
            ("one for now or never", native(alert(), Some(0)), Some(0), Urgency::Message),
            ("a program's data", native(Push::Background, None), Some(4 * hour), Urgency::Message),
            ("a program's call", native(Push::Voip, None), Some(30), Urgency::Call),
            ("a program's long call", native(Push::Voip, Some(90)), Some(90), Urgency::Call),
        ];
        for (what, notification, seconds, expected) in table {
            assert_eq!(lifetime(&notification, &SETTINGS), seconds.map(Duration::from_secs), "{what}");
            assert_eq!(urgency(&notification), expected, "{what}");
        }
    }

    #[test]
    fn what_is_more_urgent_comes_first() {
        assert!(Urgency::Call < Urgency::Message && Urgency::Message < Urgency::Badge);
    }
}
