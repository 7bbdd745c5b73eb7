//! The message that an Android app reads: FCM HTTP v1's `Message` with nothing but data, so that the app itself decides
//! what to show.
//!
//! The keys are those of `mattermost-push-proxy`; every value is a text, as FCM wants it. Nothing is sent here.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use crate::notification::{Compatibility, MattermostContent, Notification, PushKind};
use crate::sender::texts::Texts;

/// The most bytes in keys and values of `data` together (Firebase, "Message types").
pub(super) const DATA_LIMIT: usize = 4_096;

/// What the app expects where there is no signature: it tells an unsigned push from one whose signature was lost.
const NO_SIGNATURE: &str = "NO_SIGNATURE";

/// Writes the body of `messages:send`. Unless `Strict`, texts are shortened until `data` is as small as Google wants it;
/// ids and signature are not, so a sender of absurd ids gets Google's `INVALID_ARGUMENT`. `keep` is how long Google keeps it
/// for a phone that it cannot reach; in `Strict` it is as long as Google likes, as in the reference.
pub(crate) fn build(
    notification: &Notification,
    content: &MattermostContent,
    compatibility: Compatibility,
    keep: Option<Duration>,
) -> Bytes {
    let badge = content.badge.to_string();
    let mut texts = Texts::of(notification, content);
    if compatibility == Compatibility::Improved {
        let excess =
            |texts: &Texts<'_>| Data { notification, content, badge: &badge, texts }.size().saturating_sub(DATA_LIMIT);
        if excess(&texts) > 0 {
            texts.fit(char::len_utf8, excess);
        }
    }
    // Around 1,000 bytes beside the message on current servers, most of them token and signature.
    let mut body = Vec::with_capacity(1_280 + texts.message.len());
    let request = Request {
        message: Message {
            token: notification.device.expose(),
            data: Data { notification, content, badge: &badge, texts: &texts },
            android: Android {
                priority: "high",
                ttl: keep.filter(|_| compatibility == Compatibility::Improved).map(Ttl::of),
            },
        },
    };
    serde_json::to_writer(&mut body, &request).expect("texts can always be written as JSON to memory");
    body.into()
}

#[derive(Serialize)]
struct Request<'a> {
    message: Message<'a>,
}

#[derive(Serialize)]
struct Message<'a> {
    token: &'a str,
    data: Data<'a>,
    android: Android,
}

/// `high` is delivered at once, even to a phone that sleeps.
#[derive(Serialize)]
struct Android {
    priority: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<Ttl>,
}

/// How long Google keeps a message for a phone that it cannot reach, whole seconds (Firebase, `AndroidConfig.ttl`).
#[derive(Clone, Copy)]
pub(super) struct Ttl(u64);

impl Ttl {
    /// Four weeks: longer, Google refuses.
    const MOST: u64 = 2_419_200;

    /// Rounded down: late is worse than never.
    pub(super) fn of(keep: Duration) -> Self {
        Self(keep.as_secs().min(Self::MOST))
    }
}

impl Serialize for Ttl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{}s", self.0))
    }
}

/// The keys and values of `data`, which are both written and counted.
struct Data<'a> {
    notification: &'a Notification,
    content: &'a MattermostContent,
    /// `badge` as a text: lives outside so that it can be borrowed.
    badge: &'a str,
    texts: &'a Texts<'a>,
}

impl Data<'_> {
    /// Puts every key with its value, in the order of writing.
    fn each<E>(&self, mut put: impl FnMut(&'static str, &str) -> Result<(), E>) -> Result<(), E> {
        let Self { notification, content, texts, .. } = *self;
        put("ack_id", &notification.ack_id)?;
        put("type", notification.kind.as_str())?;
        put("sub_type", &content.sub_type)?;
        put("version", &content.version)?;
        put("channel_id", &content.channel_id)?;
        put("is_crt_enabled", if content.is_crt_enabled { "true" } else { "false" })?;
        put("server_id", notification.server_id.as_str())?;
        put("category", &content.category)?;
        put(
            "signature",
            if notification.signature.is_empty() { NO_SIGNATURE } else { notification.signature.expose() },
        )?;
        if content.badge != -1 {
            put("badge", self.badge)?;
        }
        if !content.root_id.is_empty() {
            put("root_id", &content.root_id)?;
        }
        if content.is_id_loaded {
            put("post_id", &content.post_id)?;
            put("message", &texts.message)?;
            put("id_loaded", "true")?;
            put("sender_id", &content.sender_id)?;
            // The app learns the real name with the text, from its server.
            put("sender_name", "Someone")?;
            put("team_id", &content.team_id)?;
        } else if matches!(notification.kind, PushKind::Message | PushKind::Session) {
            put("team_id", &content.team_id)?;
            put("sender_id", &content.sender_id)?;
            put("sender_name", &texts.sender_name)?;
            put("message", &texts.message)?;
            put("channel_name", &texts.channel_name)?;
            put("post_id", &content.post_id)?;
            put("override_username", &texts.override_username)?;
            put("override_icon_url", &texts.override_icon_url)?;
            put("from_webhook", &content.from_webhook)?;
        }
        Ok(())
    }

    /// What Google counts, bytes: keys and values without JSON's quotes and escapes.
    fn size(&self) -> usize {
        let mut size = 0;
        let Ok(()) = self.each(|key, value| {
            size += key.len() + value.len();
            Ok::<(), Infallible>(())
        });
        size
    }
}

impl Serialize for Data<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        self.each(|key, value| map.serialize_entry(key, value))?;
        map.end()
    }
}

#[cfg(test)]
mod tests;
