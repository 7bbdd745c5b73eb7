//! A notification as bytes and back: a version byte, then JSON. Nothing is left out, and whatever bytes come in, nothing
//! panics.
//!
//! What cannot be read is told in a word of ours: serde's errors quote what they stumble over.

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::message::{self, Alert, Message, Priority, Push};
use crate::notification::{
    Content, DeviceToken, MattermostContent, Notification, PushKind, ServerId, TargetName, Transport,
};
use crate::private::Private;

/// The first byte. Another form is another number, and the old ones stay readable: entries outlive an upgrade.
const VERSION: u8 = 1;

/// The bytes are not a notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Undecodable;

type Text<'a> = Cow<'a, str>;

#[derive(Serialize, Deserialize)]
struct Record<'a> {
    ack_id: Text<'a>,
    server: Text<'a>,
    target: Text<'a>,
    app_version: u32,
    device: Text<'a>,
    kind: Kind<'a>,
    transport: Channel,
    #[serde(default, skip_serializing_if = "str::is_empty")]
    signature: Text<'a>,
    content: Body<'a>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind<'a> {
    Wire(Text<'a>),
    Native(Word),
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Word {
    Alert,
    Background,
    Voip,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Channel {
    Standard,
    Voip,
    Other,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Body<'a> {
    Mattermost(Box<Fields<'a>>),
    Native(Box<Said<'a>>),
}

/// Absent is empty, as on the wire: most are.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Fields<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    sub_type: Text<'a>,
    #[serde(skip_serializing_if = "str::is_empty")]
    category: Text<'a>,
    #[serde(skip_serializing_if = "str::is_empty")]
    message: Text<'a>,
    badge: i64,
    #[serde(skip_serializing_if = "str::is_empty")]
    version: Text<'a>,
    #[serde(skip_serializing_if = "str::is_empty")]
    post_id: Text<'a>,
    #[serde(skip_serializing_if = "str::is_empty")]
    team_id: Text<'a>,
    #[serde(skip_serializing_if = "str::is_empty")]
    channel_id: Text<'a>,
    #[serde(skip_serializing_if = "str::is_empty")]
    root_id: Text<'a>,
    #[serde(skip_serializing_if = "str::is_empty")]
    channel_name: Text<'a>,
    #[serde(skip_serializing_if = "str::is_empty")]
    sender_id: Text<'a>,
    #[serde(skip_serializing_if = "str::is_empty")]
    sender_name: Text<'a>,
    #[serde(skip_serializing_if = "str::is_empty")]
    override_username: Text<'a>,
    #[serde(skip_serializing_if = "str::is_empty")]
    override_icon_url: Text<'a>,
    #[serde(skip_serializing_if = "str::is_empty")]
    from_webhook: Text<'a>,
    is_crt_enabled: bool,
    is_id_loaded: bool,
}

#[derive(Serialize, Deserialize)]
struct Said<'a> {
    id: Text<'a>,
    push: Does<'a>,
    data: Vec<(Text<'a>, Text<'a>)>,
    collapse_id: Option<Text<'a>>,
    ttl_seconds: Option<u32>,
    high_priority: bool,
    /// JSON within JSON: the caller's own nesting counts from zero here, as it did when it was first read.
    apns: Text<'a>,
    fcm: Text<'a>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Does<'a> {
    Alert(Shown<'a>),
    Background,
    Voip,
}

#[derive(Serialize, Deserialize)]
struct Shown<'a> {
    title: Text<'a>,
    body: Text<'a>,
    badge: Option<u32>,
    sound: Option<Text<'a>>,
    thread_id: Option<Text<'a>>,
    category: Option<Text<'a>>,
    mutable: bool,
}

/// The bytes of a notification.
pub(super) fn encode(notification: &Notification) -> Vec<u8> {
    let record = Record {
        ack_id: (&notification.ack_id).into(),
        server: notification.server_id.as_str().into(),
        target: notification.target.as_str().into(),
        app_version: notification.app_version,
        device: notification.device.expose().into(),
        kind: match &notification.kind {
            PushKind::Native(message::Kind::Alert) => Kind::Native(Word::Alert),
            PushKind::Native(message::Kind::Background) => Kind::Native(Word::Background),
            PushKind::Native(message::Kind::Voip) => Kind::Native(Word::Voip),
            wire => Kind::Wire(wire.as_str().into()),
        },
        transport: match notification.transport {
            Transport::Standard => Channel::Standard,
            Transport::Voip => Channel::Voip,
            Transport::Other => Channel::Other,
        },
        signature: notification.signature.expose().into(),
        content: match &notification.content {
            Content::Mattermost(content) => Body::Mattermost(Box::new(Fields::from(content))),
            Content::Native(message) => Body::Native(Box::new(Said::from(&**message))),
        },
    };
    let mut bytes = vec![VERSION];
    serde_json::to_writer(&mut bytes, &record).expect("texts and numbers are JSON, and memory takes them");
    bytes
}

/// The notification of such bytes.
pub(super) fn decode(bytes: &[u8]) -> Result<Notification, Undecodable> {
    let Some((&VERSION, json)) = bytes.split_first() else { return Err(Undecodable) };
    let record: Record<'_> = serde_json::from_slice(json).map_err(|_| Undecodable)?;
    Ok(Notification {
        ack_id: record.ack_id.into_owned(),
        server_id: ServerId::new(&record.server).ok_or(Undecodable)?,
        target: TargetName::new(&record.target),
        app_version: record.app_version,
        device: DeviceToken::new(record.device).ok_or(Undecodable)?,
        kind: match record.kind {
            Kind::Wire(word) => PushKind::from_wire(&word),
            Kind::Native(Word::Alert) => PushKind::Native(message::Kind::Alert),
            Kind::Native(Word::Background) => PushKind::Native(message::Kind::Background),
            Kind::Native(Word::Voip) => PushKind::Native(message::Kind::Voip),
        },
        transport: match record.transport {
            Channel::Standard => Transport::Standard,
            Channel::Voip => Transport::Voip,
            Channel::Other => Transport::Other,
        },
        signature: Private::new(record.signature),
        content: match record.content {
            Body::Mattermost(fields) => Content::Mattermost((*fields).into()),
            Body::Native(said) => Content::Native(Arc::new((*said).decoded()?)),
        },
    })
}

impl<'a> From<&'a MattermostContent> for Fields<'a> {
    fn from(content: &'a MattermostContent) -> Self {
        Self {
            sub_type: (&content.sub_type).into(),
            category: (&content.category).into(),
            message: content.message.expose().into(),
            badge: content.badge,
            version: (&content.version).into(),
            post_id: (&content.post_id).into(),
            team_id: (&content.team_id).into(),
            channel_id: (&content.channel_id).into(),
            root_id: (&content.root_id).into(),
            channel_name: content.channel_name.expose().into(),
            sender_id: (&content.sender_id).into(),
            sender_name: content.sender_name.expose().into(),
            override_username: content.override_username.expose().into(),
            override_icon_url: content.override_icon_url.expose().into(),
            from_webhook: (&content.from_webhook).into(),
            is_crt_enabled: content.is_crt_enabled,
            is_id_loaded: content.is_id_loaded,
        }
    }
}

impl From<Fields<'_>> for MattermostContent {
    fn from(fields: Fields<'_>) -> Self {
        Self {
            sub_type: fields.sub_type.into_owned(),
            category: fields.category.into_owned(),
            message: Private::new(fields.message),
            badge: fields.badge,
            version: fields.version.into_owned(),
            post_id: fields.post_id.into_owned(),
            team_id: fields.team_id.into_owned(),
            channel_id: fields.channel_id.into_owned(),
            root_id: fields.root_id.into_owned(),
            channel_name: Private::new(fields.channel_name),
            sender_id: fields.sender_id.into_owned(),
            sender_name: Private::new(fields.sender_name),
            override_username: Private::new(fields.override_username),
            override_icon_url: Private::new(fields.override_icon_url),
            from_webhook: fields.from_webhook.into_owned(),
            is_crt_enabled: fields.is_crt_enabled,
            is_id_loaded: fields.is_id_loaded,
        }
    }
}

impl<'a> From<&'a Message> for Said<'a> {
    fn from(message: &'a Message) -> Self {
        Self {
            id: (&message.id).into(),
            push: match &message.push {
                Push::Alert(alert) => Does::Alert(Shown {
                    title: alert.title.expose().into(),
                    body: alert.body.expose().into(),
                    badge: alert.badge,
                    sound: alert.sound.as_deref().map(Into::into),
                    thread_id: alert.thread_id.as_deref().map(Into::into),
                    category: alert.category.as_deref().map(Into::into),
                    mutable: alert.mutable,
                }),
                Push::Background => Does::Background,
                Push::Voip => Does::Voip,
            },
            data: message.data.iter().map(|(name, text)| (name.into(), text.expose().into())).collect(),
            collapse_id: message.collapse_id.as_deref().map(Into::into),
            ttl_seconds: message.ttl_seconds,
            high_priority: message.priority == Priority::High,
            apns: written(&message.apns).into(),
            fcm: written(&message.fcm).into(),
        }
    }
}

impl Said<'_> {
    fn decoded(self) -> Result<Message, Undecodable> {
        Ok(Message {
            id: self.id.into_owned(),
            push: match self.push {
                Does::Alert(shown) => Push::Alert(Alert {
                    title: Private::new(shown.title),
                    body: Private::new(shown.body),
                    badge: shown.badge,
                    sound: shown.sound.map(Cow::into_owned),
                    thread_id: shown.thread_id.map(Cow::into_owned),
                    category: shown.category.map(Cow::into_owned),
                    mutable: shown.mutable,
                }),
                Does::Background => Push::Background,
                Does::Voip => Push::Voip,
            },
            data: self.data.into_iter().map(|(name, text)| (name.into_owned(), Private::new(text))).collect(),
            collapse_id: self.collapse_id.map(Cow::into_owned),
            ttl_seconds: self.ttl_seconds,
            priority: if self.high_priority { Priority::High } else { Priority::Normal },
            apns: read(&self.apns)?,
            fcm: read(&self.fcm)?,
        })
    }
}

fn written(map: &Map<String, Value>) -> String {
    if map.is_empty() {
        return String::new();
    }
    serde_json::to_string(map).expect("JSON is JSON")
}

fn read(text: &str) -> Result<Map<String, Value>, Undecodable> {
    if text.is_empty() {
        return Ok(Map::new());
    }
    serde_json::from_str(text).map_err(|_| Undecodable)
}

#[cfg(test)]
mod tests;
