//! One message of the native API: what a program says to many devices, in words that belong to no provider.
//!
//! A message is decoded and checked once and shared by all the devices it goes to. What only a shown message may have (a
//! text, a badge, a sound) is a part of [`Push::Alert`], so that a silent one with a text cannot be built. This module
//! knows no wire format, no provider's limits and no devices.

use std::fmt;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::private::Private;

/// What is sent to each device.
#[derive(Clone)]
pub struct Message {
    /// The caller's name for it, or what its signature is called. For the log, the answer, and to know a repeat.
    pub id: String,
    /// What it does on the phone.
    pub push: Push,
    /// What the app reads: texts only, because FCM carries nothing else. Names are distinct.
    pub data: Vec<(String, Private)>,
    /// A later message with the same one replaces this one, if the phone has not received or still shows it.
    pub collapse_id: Option<String>,
    /// How long the provider keeps it for a phone that is not reachable, seconds; 0 is now or never, `None` is as long as
    /// the provider likes.
    pub ttl_seconds: Option<u32>,
    /// How urgent it is.
    pub priority: Priority,
    /// Further members of Apple's `aps`; each replaces what was made of the fields above.
    pub apns: Map<String, Value>,
    /// Further members of FCM's `android`; those of `notification` are merged one by one.
    pub fcm: Map<String, Value>,
}

/// What a message does on the phone.
#[derive(Clone)]
pub enum Push {
    /// Shows something.
    Alert(Alert),
    /// Wakes the app and shows nothing.
    Background,
    /// Rings, through Apple's channel for calls; on Android, data for an app that does the same.
    Voip,
}

/// What is shown.
#[derive(Clone, Default)]
pub struct Alert {
    /// The first line; absent is empty.
    pub title: Private,
    /// The text below it; absent is empty.
    pub body: Private,
    /// The number on the app's icon; 0 takes it away.
    pub badge: Option<u32>,
    /// A sound's name in the app, or `default`; silent without one.
    pub sound: Option<String>,
    /// Groups what belongs together (Apple).
    pub thread_id: Option<String>,
    /// Which actions are offered (Apple).
    pub category: Option<String>,
    /// The app may change it before it is shown (Apple).
    pub mutable: bool,
}

/// How urgent a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    /// At once, even to a phone that sleeps.
    High,
    /// When it costs little power.
    Normal,
}

/// What a message does, without what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// [`Push::Alert`].
    Alert,
    /// [`Push::Background`].
    Background,
    /// [`Push::Voip`].
    Voip,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Alert, Self::Background, Self::Voip];

    /// As written on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Alert => "alert",
            Self::Background => "background",
            Self::Voip => "voip",
        }
    }
}

/// What is left at the least of what is still sent: nothing left would read as "now or never".
const MOMENT: Duration = Duration::from_millis(1);

impl Message {
    /// What it does.
    pub fn kind(&self) -> Kind {
        match self.push {
            Push::Alert(_) => Kind::Alert,
            Push::Background => Kind::Background,
            Push::Voip => Kind::Voip,
        }
    }

    /// How long from now a provider is to keep it, if `remaining` is how long the relay still would: the shorter of that
    /// and what the caller asked for, which counted from when it was accepted. Zero is now or never, and only the caller
    /// can ask for that; `None` is as long as the provider likes.
    pub fn keep(&self, remaining: Option<Duration>) -> Option<Duration> {
        let asked = self.ttl_seconds.map(|seconds| Duration::from_secs(seconds.into()));
        match (asked, remaining) {
            (Some(asked), Some(remaining)) if !asked.is_zero() => Some(remaining.max(MOMENT).min(asked)),
            (None, Some(remaining)) => Some(remaining.max(MOMENT)),
            (asked, _) => asked,
        }
    }

    /// What is shown, if anything.
    pub fn alert(&self) -> Option<&Alert> {
        match &self.push {
            Push::Alert(alert) => Some(alert),
            Push::Background | Push::Voip => None,
        }
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Message({}, [private])", self.kind().as_str())
    }
}

impl fmt::Debug for Push {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Push([private])")
    }
}

impl fmt::Debug for Alert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Alert([private])")
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::json;

    use super::*;

    /// A message with every field set.
    pub(crate) fn alert() -> Message {
        Message {
            id: "m-1".into(),
            push: Push::Alert(Alert {
                title: Private::new("Town Square"),
                body: Private::new("Ann: ship it 🚀"),
                badge: Some(7),
                sound: Some("ping.caf".into()),
                thread_id: Some("channel-1".into()),
                category: Some("REPLY".into()),
                mutable: true,
            }),
            data: vec![("zone".into(), Private::new("eu")), ("channel".into(), Private::new("c1"))],
            collapse_id: Some("post-1".into()),
            ttl_seconds: Some(3_600),
            priority: Priority::High,
            apns: Map::new(),
            fcm: Map::new(),
        }
    }

    /// One that shows nothing, with nothing set that can be left out.
    pub(crate) fn silent(push: Push) -> Message {
        let bare = Message { push, collapse_id: None, ttl_seconds: None, priority: Priority::Normal, ..alert() };
        Message { data: vec![("zone".into(), Private::new("eu"))], ..bare }
    }

    #[allow(clippy::needless_pass_by_value, reason = "reads better at each call")]
    pub(crate) fn object(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn a_debug_print_shows_no_text() {
        let mut message = alert();
        message.apns = object(json!({"alert": {"subtitle": "canary"}}));
        message.data = vec![("k".into(), Private::new("canary"))];
        message.push = Push::Alert(Alert { title: Private::new("canary"), ..Alert::default() });
        let printed = format!("{message:?} {:?} {:?}", message.push, message.alert());
        assert!(!printed.contains("canary") && printed.contains("alert"), "{printed}");
    }
}
