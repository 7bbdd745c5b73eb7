//! Mattermost's wire format: the bodies of `POST /api/v1/send_push` and `/api/v1/ack`, and the answers.
//!
//! Pure functions from bytes to values and back. Who may send is decided elsewhere, and so is what a status code is.
//! The rules of decoding are those of `mattermost-push-proxy`, texts of errors included: chat servers show them in their
//! logs, and operators search for them.

use std::borrow::Cow;

use bytes::Bytes;

use crate::notification::{
    Compatibility, Content, DeviceToken, MattermostContent, Notification, PushKind, ServerId, TargetName, Transport,
};
use crate::outcome::Outcome;
use crate::private::Private;

#[cfg(test)]
mod described;
mod go_words;
mod lenient;
#[cfg(test)]
mod tests;

pub use lenient::Unreadable;
use lenient::{Fields, Slot};

/// The longest message passed on, bytes. What is longer is cut to one byte less, as the reference does.
const MESSAGE_BYTES: usize = 2_047;

/// The longest channel name passed on, bytes.
const CHANNEL_NAME_BYTES: usize = 64;

/// The most of a server id that an error repeats, characters. Mattermost's own are 26. The reference repeats it whole.
const SHOWN_SERVER_ID_CHARS: usize = 64;

/// Why a push was not understood. `Display` is the text for the log, and usually for the caller; it quotes nothing of the
/// body but the server id.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPush {
    /// The body is not what it should be.
    #[error("Failed to read message body: {0}")]
    Unreadable(#[from] Unreadable),
    /// `server_id` is absent or empty.
    #[error("Failed because of missing server Id")]
    MissingServerId,
    /// `device_id` is absent or empty.
    #[error("Failed because of missing device Id serverId={server_id}")]
    MissingDeviceId {
        /// Who says that it sends; cut to 64 characters unless the reference is followed strictly.
        server_id: String,
    },
}

/// Why an acknowledgement was not understood. `Display` is the text for the log, and usually for the caller; it quotes
/// nothing of the body.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadAck {
    /// The body is not what it should be.
    #[error("Failed to read ack body: {0}")]
    Unreadable(#[from] Unreadable),
    /// `id` is absent or empty.
    #[error("Failed because of missing ack Id")]
    MissingId,
    /// `platform` is absent or empty.
    #[error("Failed because of missing ack platform")]
    MissingPlatform,
    /// `type` is absent or empty.
    #[error("Failed because of missing ack type")]
    MissingType,
}

impl BadPush {
    /// For the caller who sent this body.
    pub fn text(&self, body: &[u8], compatibility: Compatibility) -> String {
        match (self, compatibility) {
            (Self::Unreadable(_), Compatibility::Strict) => match go_words::check::<Push<'_>>(body) {
                Err(error) => format!("Failed to read message body: {error}"),
                // Go would have read it; nothing is known that is refused nevertheless.
                Ok(()) => self.to_string(),
            },
            (bad, _) => bad.to_string(),
        }
    }
}

impl BadAck {
    /// For the caller who sent this body.
    pub fn text(&self, body: &[u8], compatibility: Compatibility) -> String {
        match (self, compatibility) {
            (Self::Unreadable(_), Compatibility::Strict) => match go_words::check::<Receipt<'_>>(body) {
                Err(error) => format!("Failed to read ack body: {error}"),
                Ok(()) => self.to_string(),
            },
            (bad, _) => bad.to_string(),
        }
    }
}

/// A phone's receipt, forwarded by its chat server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ack {
    /// The `ack_id` of the notification.
    pub id: String,
    /// When the phone received it, milliseconds after the Unix epoch by the phone's clock; 0 if it does not say.
    pub received_at_ms: i64,
    /// What the phone calls its platform: `ios` or `android`, but nothing holds it to that.
    pub platform: String,
    /// What the notification was about.
    pub kind: PushKind,
    /// The post, if the phone asks for its text.
    pub post_id: Option<String>,
    /// Whether the notification held only ids.
    pub is_id_loaded: bool,
}

/// Reads the body of a `send_push` request.
pub fn decode_push(body: &[u8], compatibility: Compatibility) -> Result<Notification, BadPush> {
    let mut repaired = Vec::new();
    let push: Push<'_> = lenient::read(body, &mut repaired)?;

    let server_id = ServerId::new(&push.server_id).ok_or(BadPush::MissingServerId)?;
    let device = DeviceToken::new(push.device_id).ok_or_else(|| BadPush::MissingDeviceId {
        server_id: match compatibility {
            Compatibility::Improved => push.server_id.chars().take(SHOWN_SERVER_ID_CHARS).collect(),
            Compatibility::Strict => push.server_id.to_string(),
        },
    })?;
    let message = if push.message.len() > MESSAGE_BYTES {
        cut(push.message, MESSAGE_BYTES - 1, compatibility)
    } else {
        push.message
    };
    let (target, app_version) = split_platform(&push.platform);

    Ok(Notification {
        ack_id: push.ack_id.into_owned(),
        server_id,
        target: TargetName::new(target),
        app_version,
        device,
        kind: PushKind::from_wire(&push.kind),
        transport: Transport::from_wire(&push.transport),
        signature: Private::new(push.signature),
        content: Content::Mattermost(MattermostContent {
            sub_type: push.sub_type.into_owned(),
            category: push.category.into_owned(),
            message: Private::new(message),
            badge: push.badge,
            version: push.version.into_owned(),
            post_id: push.post_id.into_owned(),
            team_id: push.team_id.into_owned(),
            channel_id: push.channel_id.into_owned(),
            root_id: push.root_id.into_owned(),
            channel_name: Private::new(cut(push.channel_name, CHANNEL_NAME_BYTES, compatibility)),
            sender_id: push.sender_id.into_owned(),
            sender_name: Private::new(push.sender_name),
            override_username: Private::new(push.override_username),
            override_icon_url: Private::new(push.override_icon_url),
            from_webhook: push.from_webhook.into_owned(),
            is_crt_enabled: push.is_crt_enabled,
            is_id_loaded: push.is_id_loaded,
        }),
    })
}

/// Reads the body of an `ack` request.
pub fn decode_ack(body: &[u8]) -> Result<Ack, BadAck> {
    let mut repaired = Vec::new();
    let ack: Receipt<'_> = lenient::read(body, &mut repaired)?;
    if ack.id.is_empty() {
        return Err(BadAck::MissingId);
    }
    if ack.platform.is_empty() {
        return Err(BadAck::MissingPlatform);
    }
    if ack.kind.is_empty() {
        return Err(BadAck::MissingType);
    }
    Ok(Ack {
        id: ack.id.into_owned(),
        received_at_ms: ack.received_at,
        platform: ack.platform.into_owned(),
        kind: PushKind::from_wire(&ack.kind),
        post_id: (!ack.post_id.is_empty()).then(|| ack.post_id.into_owned()),
        is_id_loaded: ack.is_id_loaded,
    })
}

/// The body of the answer: a flat object of texts. A server reads it only if the status is 200.
pub fn encode_outcome(outcome: &Outcome, compatibility: Compatibility) -> Bytes {
    let failure = |text| {
        let failure = Failure { status: "FAIL", error: text };
        serde_json::to_string(&failure).expect("two texts can always be written as JSON")
    };
    match (outcome, compatibility) {
        (Outcome::Delivered | Outcome::Queued, Compatibility::Improved) => Bytes::from_static(br#"{"status":"OK"}"#),
        (Outcome::Delivered | Outcome::Queued, Compatibility::Strict) => Bytes::from_static(b"{\"status\":\"OK\"}\n"),
        (Outcome::Remove, Compatibility::Improved) => Bytes::from_static(br#"{"status":"REMOVE"}"#),
        (Outcome::Remove, Compatibility::Strict) => Bytes::from_static(b"{\"status\":\"REMOVE\"}\n"),
        (Outcome::Failed { text }, Compatibility::Improved) => failure(text).into(),
        (Outcome::Failed { text }, Compatibility::Strict) => go_failure(text).into(),
    }
}

/// As Go's `json.Encoder` writes a map: keys in their order, a line's end behind it, and escaped whatever HTML or
/// JavaScript would take for its own.
fn go_failure(text: &str) -> String {
    let text = serde_json::to_string(text).expect("a text can always be written as JSON");
    let mut json = String::with_capacity(text.len() + 32);
    json.push_str(r#"{"error":"#);
    for c in text.chars() {
        match c {
            '<' => json.push_str(r"\u003c"),
            '>' => json.push_str(r"\u003e"),
            '&' => json.push_str(r"\u0026"),
            '\u{2028}' => json.push_str(r"\u2028"),
            '\u{2029}' => json.push_str(r"\u2029"),
            c => json.push(c),
        }
    }
    json.push_str(",\"status\":\"FAIL\"}\n");
    json
}

#[derive(serde::Serialize)]
struct Failure<'a> {
    status: &'static str,
    error: &'a str,
}

/// `apple_rn-v2` is target `apple_rn` and version 2. Cut at the first `-v`; an unreadable version counts as 1 and one
/// below 0 as 0: the only question ever asked is whether it is above 1.
fn split_platform(platform: &str) -> (&str, u32) {
    let Some((name, version)) = platform.split_once("-v") else { return (platform, 1) };
    let version = version.parse::<i64>().unwrap_or(1).max(0);
    (name, u32::try_from(version).unwrap_or(u32::MAX))
}

/// At most this many bytes of the text. The reference cuts between bytes; what is left of a split character is later
/// written as one U+FFFD per byte, which makes the text a little longer than the limit.
fn cut(text: Cow<'_, str>, limit: usize, compatibility: Compatibility) -> Cow<'_, str> {
    if text.len() <= limit {
        return text;
    }
    let whole = text.floor_char_boundary(limit);
    if compatibility == Compatibility::Strict && whole < limit {
        let mut split = text[..whole].to_owned();
        split.extend(std::iter::repeat_n('\u{fffd}', limit - whole));
        return Cow::Owned(split);
    }
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(&text[..whole]),
        Cow::Owned(mut text) => {
            text.truncate(whole);
            Cow::Owned(text)
        }
    }
}

/// The fields of a `send_push` request.
#[derive(Debug, Default)]
struct Push<'de> {
    ack_id: Cow<'de, str>,
    platform: Cow<'de, str>,
    server_id: Cow<'de, str>,
    device_id: Cow<'de, str>,
    post_id: Cow<'de, str>,
    category: Cow<'de, str>,
    /// Not passed on (every sound is the default one), but a wrong type is an error in the reference.
    sound: Cow<'de, str>,
    message: Cow<'de, str>,
    badge: i64,
    /// Not passed on, like `sound`.
    cont_ava: i64,
    team_id: Cow<'de, str>,
    channel_id: Cow<'de, str>,
    root_id: Cow<'de, str>,
    channel_name: Cow<'de, str>,
    kind: Cow<'de, str>,
    sub_type: Cow<'de, str>,
    sender_id: Cow<'de, str>,
    sender_name: Cow<'de, str>,
    override_username: Cow<'de, str>,
    override_icon_url: Cow<'de, str>,
    from_webhook: Cow<'de, str>,
    version: Cow<'de, str>,
    is_crt_enabled: bool,
    is_id_loaded: bool,
    signature: Cow<'de, str>,
    transport: Cow<'de, str>,
}

impl<'de> Fields<'de> for Push<'de> {
    fn slot(&mut self, name: &str) -> Option<(&'static str, Slot<'_, 'de>)> {
        Some(match name {
            "ack_id" => ("ack_id", Slot::Text(&mut self.ack_id)),
            "platform" => ("platform", Slot::Text(&mut self.platform)),
            "server_id" => ("server_id", Slot::Text(&mut self.server_id)),
            "device_id" => ("device_id", Slot::Text(&mut self.device_id)),
            "post_id" => ("post_id", Slot::Text(&mut self.post_id)),
            "category" => ("category", Slot::Text(&mut self.category)),
            "sound" => ("sound", Slot::Text(&mut self.sound)),
            "message" => ("message", Slot::Text(&mut self.message)),
            "badge" => ("badge", Slot::Whole(&mut self.badge)),
            "cont_ava" => ("cont_ava", Slot::Whole(&mut self.cont_ava)),
            "team_id" => ("team_id", Slot::Text(&mut self.team_id)),
            "channel_id" => ("channel_id", Slot::Text(&mut self.channel_id)),
            "root_id" => ("root_id", Slot::Text(&mut self.root_id)),
            "channel_name" => ("channel_name", Slot::Text(&mut self.channel_name)),
            "type" => ("type", Slot::Text(&mut self.kind)),
            "sub_type" => ("sub_type", Slot::Text(&mut self.sub_type)),
            "sender_id" => ("sender_id", Slot::Text(&mut self.sender_id)),
            "sender_name" => ("sender_name", Slot::Text(&mut self.sender_name)),
            "override_username" => ("override_username", Slot::Text(&mut self.override_username)),
            "override_icon_url" => ("override_icon_url", Slot::Text(&mut self.override_icon_url)),
            "from_webhook" => ("from_webhook", Slot::Text(&mut self.from_webhook)),
            "version" => ("version", Slot::Text(&mut self.version)),
            "is_crt_enabled" => ("is_crt_enabled", Slot::Flag(&mut self.is_crt_enabled)),
            "is_id_loaded" => ("is_id_loaded", Slot::Flag(&mut self.is_id_loaded)),
            "signature" => ("signature", Slot::Text(&mut self.signature)),
            "transport" => ("transport", Slot::Text(&mut self.transport)),
            _ => return None,
        })
    }

    const GO_NAME: &'static str = "PushNotification";

    fn go_type(field: &str) -> &'static str {
        match field {
            "badge" | "cont_ava" => "int",
            "is_crt_enabled" | "is_id_loaded" => "bool",
            "sub_type" => "model.PushSubType",
            "transport" => "model.PushTransport",
            _ => "string",
        }
    }
}

/// The fields of an `ack` request.
#[derive(Debug, Default)]
struct Receipt<'de> {
    id: Cow<'de, str>,
    received_at: i64,
    platform: Cow<'de, str>,
    kind: Cow<'de, str>,
    post_id: Cow<'de, str>,
    is_id_loaded: bool,
}

impl<'de> Fields<'de> for Receipt<'de> {
    fn slot(&mut self, name: &str) -> Option<(&'static str, Slot<'_, 'de>)> {
        Some(match name {
            "id" => ("id", Slot::Text(&mut self.id)),
            "received_at" => ("received_at", Slot::Whole(&mut self.received_at)),
            "platform" => ("platform", Slot::Text(&mut self.platform)),
            "type" => ("type", Slot::Text(&mut self.kind)),
            "post_id" => ("post_id", Slot::Text(&mut self.post_id)),
            "is_id_loaded" => ("is_id_loaded", Slot::Flag(&mut self.is_id_loaded)),
            _ => return None,
        })
    }

    const GO_NAME: &'static str = "PushNotificationAck";

    fn go_type(field: &str) -> &'static str {
        match field {
            "received_at" => "int64",
            "is_id_loaded" => "bool",
            _ => "string",
        }
    }
}
