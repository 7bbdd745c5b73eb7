//! A message of the native API as Google reads it. Its texts are never cut: the caller is a program, and is told that it is
//! too large before anything is sent.
//!
//! Sources: Firebase, "REST Resource: projects.messages" and "Message types".

use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::{Map, Value};

use super::payload::{DATA_LIMIT, Ttl};
use crate::message::{Alert, Message, Priority};
use crate::notification::DeviceToken;
use crate::outcome::Reason;
use crate::private::Private;

/// Google would refuse it for its size.
const PAYLOAD_TOO_LARGE: Reason = "payload_too_large";

/// The member of `android` that is merged member by member.
const NOTIFICATION: &str = "notification";

/// The body of `messages:send` for one device. `remaining` is as in [`Message::keep`].
pub(super) fn build(message: &Message, device: &DeviceToken, remaining: Option<Duration>) -> Result<Bytes, Reason> {
    if size(message) > DATA_LIMIT {
        return Err(PAYLOAD_TOO_LARGE);
    }
    let shows = |alert: &&Alert| has_text(alert) || message.fcm.contains_key(NOTIFICATION);
    let alert = message.alert().filter(shows);
    let texts = alert.filter(|alert| has_text(alert));
    let request = Request {
        message: Body {
            token: device.expose(),
            notification: texts.map(|alert| Texts { title: alert.title.expose(), body: alert.body.expose() }),
            data: Data(&message.data),
            android: Android { message, alert, ttl: message.keep(remaining).map(Ttl::of) },
        },
    };
    let mut body = Vec::with_capacity(1_024);
    serde_json::to_writer(&mut body, &request).expect("texts and numbers can always be written as JSON to memory");
    Ok(body.into())
}

/// The bytes that Google is known to count, of 4,096: keys and values of the data, and the texts that are shown. Google
/// adds names of its own to the latter, so that one a few bytes below the limit can still hear `INVALID_ARGUMENT`.
fn size(message: &Message) -> usize {
    let data: usize = message.data.iter().map(|(name, value)| name.len() + value.expose().len()).sum();
    let shown = message.alert().map_or(0, |alert| alert.title.expose().len() + alert.body.expose().len());
    data + shown
}

/// Without a text or a notification of the caller's own nothing is shown: Android would show an empty one.
fn has_text(alert: &Alert) -> bool {
    !(alert.title.is_empty() && alert.body.is_empty())
}

#[derive(Serialize)]
struct Request<'a> {
    message: Body<'a>,
}

#[derive(Serialize)]
struct Body<'a> {
    token: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    notification: Option<Texts<'a>>,
    #[serde(skip_serializing_if = "Data::is_empty")]
    data: Data<'a>,
    android: Android<'a>,
}

#[derive(Serialize)]
struct Texts<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    title: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    body: &'a str,
}

struct Data<'a>(&'a [(String, Private)]);

impl Data<'_> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for Data<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value.expose())))
    }
}

/// What only Android reads.
struct Android<'a> {
    message: &'a Message,
    /// If there is something to show.
    alert: Option<&'a Alert>,
    ttl: Option<Ttl>,
}

impl Serialize for Android<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Message { priority, collapse_id, fcm, .. } = self.message;
        let mut map = serializer.serialize_map(None)?;
        let priority = match priority {
            Priority::High => "high",
            Priority::Normal => "normal",
        };
        map.serialize_entry("priority", priority)?;
        if let Some(ttl) = self.ttl {
            map.serialize_entry("ttl", &ttl)?;
        }
        if let Some(id) = collapse_id {
            map.serialize_entry("collapse_key", id)?;
        }
        if let Some(alert) = self.alert {
            let shown = Shown { alert, further: fcm.get(NOTIFICATION).and_then(Value::as_object) };
            if !shown.is_empty() {
                map.serialize_entry(NOTIFICATION, &shown)?;
            }
        }
        for (name, value) in fcm.iter().filter(|(name, _)| *name != NOTIFICATION) {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// How Android shows it.
struct Shown<'a> {
    alert: &'a Alert,
    further: Option<&'a Map<String, Value>>,
}

impl Shown<'_> {
    fn sound(&self) -> Option<&str> {
        self.alert.sound.as_deref().filter(|_| !self.is_given("sound"))
    }

    /// How many messages it stands for. Google reads a 0 as "one more", which a badge of 0 does not mean.
    fn count(&self) -> Option<u32> {
        self.alert.badge.filter(|badge| *badge > 0 && !self.is_given("notification_count"))
    }

    fn is_given(&self, name: &str) -> bool {
        self.further.is_some_and(|further| further.contains_key(name))
    }

    fn is_empty(&self) -> bool {
        self.sound().is_none() && self.count().is_none() && self.further.is_none_or(Map::is_empty)
    }
}

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if let Some(sound) = self.sound() {
            map.serialize_entry("sound", sound)?;
        }
        if let Some(count) = self.count() {
            map.serialize_entry("notification_count", &count)?;
        }
        for (name, value) in self.further.into_iter().flatten() {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests;
