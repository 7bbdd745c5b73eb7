//! The JSON that an iPhone reads: Apple's `aps` dictionary, and beside it the keys that Mattermost's app looks for.
//!
//! Apple's part is documented under "Generating a remote notification". What is left out when it is empty follows
//! `mattermost-push-proxy` and the library it builds payloads with (github.com/sideshow/apns2), so that the app sees no
//! difference. Nothing is sent here.

use bytes::Bytes;
use serde::Serialize;

use crate::notification::{Compatibility, MattermostContent, Notification, PushKind, Transport};
use crate::sender::texts::{Texts, json_cost};

/// The largest payload, bytes (Apple, "Generating a remote notification").
pub(super) const LIMIT: usize = 4_096;

/// The largest payload of a `voip` push, bytes (the same).
pub(super) const VOIP_LIMIT: usize = 5_120;

/// What the app expects where there is no signature: it tells an unsigned push from one whose signature was lost.
const NO_SIGNATURE: &str = "NO_SIGNATURE";

/// What APNs is told that a payload is. Decides the headers `apns-push-type`, `apns-priority` and `apns-topic` too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PushType {
    /// `alert`: everything that may be shown. Mattermost's silent kinds travel as alerts as well, as in the reference.
    Alert,
    /// `background`: wakes the app and shows nothing. APNs demands priority 5 for it.
    Background,
    /// `voip`: rings. The topic ends in `.voip`.
    Voip,
}

impl PushType {
    /// What this notification of Mattermost's is.
    pub(crate) fn of(notification: &Notification, content: &MattermostContent, compatibility: Compatibility) -> Self {
        let is_silent = notification.kind == PushKind::Session && content.message.is_empty() && !content.is_id_loaded;
        match notification.transport {
            Transport::Voip => Self::Voip,
            // The app wipes itself on such a push, but only if it gets it in the background.
            _ if is_silent && compatibility == Compatibility::Improved => Self::Background,
            _ => Self::Alert,
        }
    }
}

/// Writes the payload. Unless `Strict`, texts are shortened until it is as small as Apple wants it; ids and signature
/// are not, so a sender of absurd ids gets Apple's `PayloadTooLarge`.
pub(crate) fn build(notification: &Notification, content: &MattermostContent, compatibility: Compatibility) -> Bytes {
    let push_type = PushType::of(notification, content, compatibility);
    let limit = if push_type == PushType::Voip { VOIP_LIMIT } else { LIMIT };
    let mut texts = Texts::of(notification, content);
    let mut payload = write(notification, content, push_type, &texts);
    if payload.len() > limit && compatibility == Compatibility::Improved {
        texts.fit(json_cost, |texts| {
            payload = write(notification, content, push_type, texts);
            payload.len().saturating_sub(limit)
        });
    }
    payload.into()
}

fn write(notification: &Notification, content: &MattermostContent, push_type: PushType, texts: &Texts<'_>) -> Vec<u8> {
    // Around 700 bytes beside the message on current servers, most of them the signature.
    let mut payload = Vec::with_capacity(1_024 + texts.message.len());
    let written = match push_type {
        PushType::Voip => serde_json::to_writer(&mut payload, &Voip::new(notification, content, texts)),
        _ => serde_json::to_writer(&mut payload, &Standard::new(notification, content, push_type, texts)),
    };
    written.expect("texts, numbers and flags can always be written as JSON to memory");
    payload
}

fn signature(notification: &Notification) -> &str {
    if notification.signature.is_empty() { NO_SIGNATURE } else { notification.signature.expose() }
}

/// Apple's part. Numbers that are either 1 or absent are `Some(1)` or `None`.
#[derive(Clone, Copy, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Aps<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    alert: Option<Alert<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    badge: Option<i64>,
    #[serde(skip_serializing_if = "str::is_empty")]
    category: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_available: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mutable_content: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sound: Option<&'static str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    thread_id: &'a str,
}

/// An empty text is written, empty parts are not: that is how the reference's library does it.
#[derive(Clone, Copy, Serialize)]
#[serde(untagged)]
enum Alert<'a> {
    Text(&'a str),
    Parts {
        #[serde(skip_serializing_if = "str::is_empty")]
        title: &'a str,
        #[serde(skip_serializing_if = "str::is_empty")]
        body: &'a str,
    },
}

/// An alert or a background push.
#[derive(Serialize)]
struct Standard<'a> {
    aps: Aps<'a>,
    r#type: &'a str,
    sub_type: &'a str,
    server_id: &'a str,
    is_crt_enabled: bool,
    signature: &'a str,
    /// Written even if it is empty, but only where something is shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id_loaded: Option<bool>,
    #[serde(skip_serializing_if = "str::is_empty")]
    channel_name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    ack_id: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    channel_id: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    team_id: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    sender_id: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    sender_name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    post_id: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    root_id: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    override_username: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    override_icon_url: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    from_webhook: &'a str,
}

impl<'a> Standard<'a> {
    fn new(
        notification: &'a Notification,
        content: &'a MattermostContent,
        push_type: PushType,
        texts: &'a Texts<'a>,
    ) -> Self {
        let shows_text = matches!(notification.kind, PushKind::Message | PushKind::Session);
        let aps = match push_type {
            PushType::Background => Aps { content_available: Some(1), ..Aps::default() },
            _ => aps(notification, content, texts),
        };
        Self {
            aps,
            r#type: notification.kind.as_str(),
            sub_type: &content.sub_type,
            server_id: notification.server_id.as_str(),
            is_crt_enabled: content.is_crt_enabled,
            signature: signature(notification),
            version: (shows_text || content.is_id_loaded).then_some(&*content.version),
            id_loaded: content.is_id_loaded.then_some(true),
            channel_name: if shows_text && !content.is_id_loaded { &texts.channel_name } else { "" },
            ack_id: &notification.ack_id,
            channel_id: &content.channel_id,
            team_id: &content.team_id,
            sender_id: &content.sender_id,
            sender_name: &texts.sender_name,
            post_id: &content.post_id,
            root_id: &content.root_id,
            override_username: &texts.override_username,
            override_icon_url: &texts.override_icon_url,
            from_webhook: &content.from_webhook,
        }
    }
}

fn aps<'a>(notification: &'a Notification, content: &'a MattermostContent, texts: &'a Texts<'a>) -> Aps<'a> {
    let common = Aps {
        badge: badge(notification, content),
        thread_id: match () {
            () if content.channel_id.is_empty() => "",
            () if content.is_crt_enabled && !content.root_id.is_empty() => &content.root_id,
            () => &content.channel_id,
        },
        ..Aps::default()
    };
    let shown = Aps { category: &content.category, sound: Some("default"), mutable_content: Some(1), ..common };
    if content.is_id_loaded {
        // The app asks its server for the text; the body is what is shown if it cannot.
        let alert = Alert::Parts { title: "", body: &texts.message };
        return Aps { alert: Some(alert), content_available: Some(1), ..shown };
    }
    match notification.kind {
        PushKind::Message | PushKind::Session => {
            let alert = if content.version == "v2" && !texts.channel_name.is_empty() {
                Alert::Parts { title: &texts.channel_name, body: &texts.message }
            } else {
                Alert::Text(&texts.message)
            };
            let wakes_app = notification.kind == PushKind::Message;
            Aps { alert: Some(alert), content_available: wakes_app.then_some(1), ..shown }
        }
        PushKind::Clear | PushKind::Test => Aps { content_available: Some(1), ..common },
        PushKind::UpdateBadge | PushKind::Other(_) | PushKind::Native(_) => common,
    }
}

/// −1 leaves the badge alone. With a badge of 0 iOS takes all of an app's notifications down, not just the ones that were
/// read; apps from version 2 on do that themselves, and are told 1 instead when a clear push counts to 0.
fn badge(notification: &Notification, content: &MattermostContent) -> Option<i64> {
    match content.badge {
        0 if notification.kind == PushKind::Clear && notification.app_version > 1 => Some(1),
        -1 => None,
        badge => Some(badge),
    }
}

/// A call. The app fetches the rest over its own connection.
#[derive(Serialize)]
struct Voip<'a> {
    aps: Aps<'a>,
    r#type: &'a str,
    sub_type: &'a str,
    channel_id: &'a str,
    server_id: &'a str,
    post_id: &'a str,
    thread_id: &'a str,
    sender_id: &'a str,
    id_loaded: bool,
    signature: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    sender_name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    channel_name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    ack_id: &'a str,
}

impl<'a> Voip<'a> {
    fn new(notification: &'a Notification, content: &'a MattermostContent, texts: &'a Texts<'a>) -> Self {
        Self {
            aps: Aps { content_available: Some(1), ..Aps::default() },
            r#type: notification.kind.as_str(),
            sub_type: &content.sub_type,
            channel_id: &content.channel_id,
            server_id: notification.server_id.as_str(),
            post_id: &content.post_id,
            thread_id: &content.root_id,
            sender_id: &content.sender_id,
            id_loaded: content.is_id_loaded,
            signature: signature(notification),
            sender_name: &texts.sender_name,
            channel_name: &texts.channel_name,
            ack_id: &notification.ack_id,
        }
    }
}

#[cfg(test)]
mod tests;
