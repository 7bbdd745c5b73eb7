//! A message of the native API as Apple reads it. Its texts are never cut: the caller is a program, and is told that the
//! payload is too large before anything is sent.
//!
//! Sources: Apple, "Generating a remote notification" and "Sending notification requests to APNs".

use bytes::Bytes;
use http::HeaderValue;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use super::payload::{LIMIT, PushType, VOIP_LIMIT};
use super::request::{Addressing, Prepared, Wishes};
use super::{PAYLOAD_TOO_LARGE, TOKEN_TOO_LONG};
use crate::message::{Alert, Kind, Message, Priority};
use crate::notification::DeviceToken;
use crate::outcome::Reason;

/// Path, headers and payload of a message for one device. `expiration` is as in [`Addressing::prepare`].
pub(super) fn prepare(
    addressing: &Addressing,
    device: &DeviceToken,
    message: &Message,
    expiration: Option<u64>,
) -> Result<Prepared, Reason> {
    let payload = build(message)?;
    let wishes = Some(Box::new(wishes(message)));
    addressing.prepare(device, push_type(message), expiration, wishes, || payload).map_err(|_too_long| TOKEN_TOO_LONG)
}

fn push_type(message: &Message) -> PushType {
    match message.kind() {
        Kind::Alert => PushType::Alert,
        Kind::Background => PushType::Background,
        Kind::Voip => PushType::Voip,
    }
}

fn wishes(message: &Message) -> Wishes {
    Wishes {
        is_normal: message.priority == Priority::Normal,
        // Whoever decoded the message let through only what a header can hold.
        collapse_id: message.collapse_id.as_deref().and_then(|id| HeaderValue::from_str(id).ok()),
    }
}

/// The payload, the same for all devices.
fn build(message: &Message) -> Result<Bytes, Reason> {
    let mut payload = Vec::with_capacity(1_024);
    serde_json::to_writer(&mut payload, &Payload(message)).expect("texts and numbers can always be written as JSON");
    let limit = if message.kind() == Kind::Voip { VOIP_LIMIT } else { LIMIT };
    if payload.len() > limit { Err(PAYLOAD_TOO_LARGE) } else { Ok(payload.into()) }
}

/// Apple's dictionary, and beside it the app's data.
struct Payload<'a>(&'a Message);

impl Serialize for Payload<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("aps", &Aps(self.0))?;
        for (name, value) in &self.0.data {
            map.serialize_entry(name, value.expose())?;
        }
        map.end()
    }
}

struct Aps<'a>(&'a Message);

#[derive(Serialize)]
struct Texts<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    title: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    body: &'a str,
}

impl Serialize for Aps<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let further = &self.0.apns;
        let mut map = Unless { map: serializer.serialize_map(None)?, further };
        // A call reaches the app whatever `aps` says.
        map.put("content-available", (self.0.kind() == Kind::Background).then_some(&1))?;
        if let Some(alert) = self.0.alert() {
            let Alert { title, body, badge, sound, thread_id, category, mutable } = alert;
            let texts = Texts { title: title.expose(), body: body.expose() };
            let has_text = !(title.is_empty() && body.is_empty());
            map.put("alert", has_text.then_some(&texts))?;
            map.put("badge", badge.as_ref())?;
            map.put("sound", sound.as_ref())?;
            map.put("thread-id", thread_id.as_ref())?;
            map.put("category", category.as_ref())?;
            map.put("mutable-content", mutable.then_some(&1))?;
        }
        let mut map = map.map;
        for (name, value) in further {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// Writes a member unless the caller has given it another value.
struct Unless<'a, M> {
    map: M,
    further: &'a serde_json::Map<String, serde_json::Value>,
}

impl<M: SerializeMap> Unless<'_, M> {
    fn put(&mut self, name: &str, value: Option<&(impl Serialize + ?Sized)>) -> Result<(), M::Error> {
        match value {
            Some(value) if !self.further.contains_key(name) => self.map.serialize_entry(name, value),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
