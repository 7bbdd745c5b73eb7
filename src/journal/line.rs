//! What can be noted, and how one note is written: a JSON object a line, with the ack id first, so that a reader finds its
//! lines by their beginnings.

use std::borrow::Cow;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::outcome::{ProviderId, Reason};
use crate::telemetry::log::{Subject, bounded};

/// Something that happened to a notification. The usual one costs a single line, [`Event::Ended`]: that it was accepted and
/// tried follows from it. Others are for what took longer.
///
/// There is no room for a text of a caller's or for a device token, because words come from fixed tables:
///
/// ```compile_fail,E0597
/// use pushrelay::{journal::Event, notification::DeviceToken};
/// let _: Event<'static> = {
///     let token = DeviceToken::new("token").unwrap();
///     Event::Refused { reason: token.expose() }
/// };
/// ```
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// Its last attempt, or what the relay saw without one: nothing more will happen to it but a receipt.
    Ended {
        /// [`crate::outcome::Outcome`] in a word: `delivered`, `removed`, `failed`.
        outcome: &'static str,
        /// Why, unless delivered.
        reason: Option<Reason>,
        /// Of the last attempt.
        provider_id: Option<&'a ProviderId>,
        /// How many there were, those from the queue included; 0 if it never got that far.
        attempts: u32,
        /// Since it was accepted, or since it last left the queue.
        took: Duration,
    },
    /// An attempt that failed and is followed by another, or by the queue.
    Attempt {
        /// Which; the first is 1.
        number: u32,
        /// Why it failed.
        reason: Option<Reason>,
        /// What the provider calls it.
        provider_id: Option<&'a ProviderId>,
        /// How long it took.
        took: Duration,
    },
    /// It went into the queue, to be tried later.
    Queued {
        /// Why it could not be delivered at once.
        reason: Option<Reason>,
        /// How many attempts there were.
        attempts: u32,
        /// When it is given up, since the Unix epoch.
        expires: Duration,
    },
    /// A later notification took its place in the queue.
    Superseded,
    /// Its time was over before it could be delivered.
    Expired {
        /// How the last attempt failed.
        reason: Option<Reason>,
        /// How many attempts there were.
        attempts: u32,
    },
    /// The provider said that the token is dead when the caller had its answer: the next push to this phone is told.
    RemovedLate {
        /// The provider's word.
        reason: Reason,
        /// The attempt that was told so; none for what else waited for the same phone.
        told: Option<Told<'a>>,
    },
    /// It left the queue undelivered, and is kept for an operator to look at.
    Buried {
        /// Why.
        reason: Option<Reason>,
        /// How many attempts there were.
        attempts: u32,
    },
    /// An operator took it out of the queue: it is not delivered.
    Dropped {
        /// How many attempts there were.
        attempts: u32,
    },
    /// An operator made it due at once.
    Retried {
        /// How many attempts there were.
        attempts: u32,
    },
    /// The phone says that it has it. To be noted only of a receipt that the relay's memory knows: anybody can post one.
    Receipt,
    /// The same request came again and was answered without waking the phone.
    Repeat {
        /// Where the answer came from.
        answer: &'static str,
    },
    /// It was not admitted.
    Refused {
        /// Why.
        reason: &'static str,
    },
    /// The provider said that the token is dead, and the caller was not told: too many were.
    Withheld {
        /// The provider's word.
        reason: Reason,
    },
    /// The same, and the caller was told since an operator lets so many through.
    Allowed {
        /// The provider's word.
        reason: Reason,
    },
}

/// The attempt at which a provider said that a token is dead.
#[derive(Clone, Copy, Debug)]
pub struct Told<'a> {
    /// What the provider calls it.
    pub provider_id: Option<&'a ProviderId>,
    /// How many attempts there were, this one included.
    pub attempts: u32,
    /// Since the notification was accepted.
    pub took: Duration,
}

/// One note. Absent is empty or `None`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line<'a> {
    /// The caller's name for the notification, its first 64 bytes. The first member: see `beginning`.
    #[serde(rename = "id")]
    pub ack_id: Cow<'a, str>,
    /// When, milliseconds since the Unix epoch.
    pub at: u64,
    /// What: a word for each variant of [`Event`].
    pub event: Cow<'a, str>,
    /// Who sent it; not known of a receipt.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub server: Cow<'a, str>,
    /// Where to; not known of a receipt.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub target: Cow<'a, str>,
    /// What it is about; not known of a receipt.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub kind: Cow<'a, str>,
    /// How it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Cow<'a, str>>,
    /// The provider's word, or ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Cow<'a, str>>,
    /// What the provider calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_id: Option<Cow<'a, str>>,
    /// How many attempts there were; of an attempt, which it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
    /// How long it took, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ms: Option<u64>,
    /// When it is given up, milliseconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<u64>,
}

impl Event<'_> {
    /// The fixed word.
    fn word(&self) -> &'static str {
        match self {
            Self::Ended { .. } => "ended",
            Self::Attempt { .. } => "attempt",
            Self::Queued { .. } => "queued",
            Self::Superseded => "superseded",
            Self::Expired { .. } => "expired",
            Self::RemovedLate { .. } => "removed_late",
            Self::Buried { .. } => "buried",
            Self::Dropped { .. } => "dropped",
            Self::Retried { .. } => "retried",
            Self::Receipt => "receipt",
            Self::Repeat { .. } => "repeat",
            Self::Refused { .. } => "refused",
            Self::Withheld { .. } => "withheld",
            Self::Allowed { .. } => "allowed",
        }
    }
}

/// Milliseconds; centuries fit.
fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Appends a line, with its end. `at` is since the Unix epoch.
pub(super) fn write(out: &mut Vec<u8>, at: Duration, subject: &Subject<'_>, event: &Event<'_>) {
    // The text of an apns-id lives here, so that it needs no allocation.
    let mut text = Uuid::encode_buffer();
    let mut line = Line {
        ack_id: bounded(subject.ack_id).into(),
        at: milliseconds(at),
        event: event.word().into(),
        server: bounded(subject.server).into(),
        target: bounded(subject.target).into(),
        kind: subject.kind.into(),
        outcome: None,
        reason: None,
        provider_id: None,
        attempts: None,
        ms: None,
        expires_at: None,
    };
    let mut provider = None;
    match *event {
        Event::Ended { outcome, reason, provider_id, attempts, took } => {
            line.outcome = Some(outcome.into());
            line.reason = reason.map(Cow::from);
            provider = provider_id;
            line.attempts = Some(attempts);
            line.ms = Some(milliseconds(took));
        }
        Event::Attempt { number, reason, provider_id, took } => {
            line.reason = reason.map(Cow::from);
            provider = provider_id;
            line.attempts = Some(number);
            line.ms = Some(milliseconds(took));
        }
        Event::Queued { reason, attempts, expires } => {
            line.reason = reason.map(Cow::from);
            line.attempts = Some(attempts);
            line.expires_at = Some(milliseconds(expires));
        }
        Event::Buried { reason, attempts } | Event::Expired { reason, attempts } => {
            line.reason = reason.map(Cow::from);
            line.attempts = Some(attempts);
        }
        Event::Dropped { attempts } | Event::Retried { attempts } => {
            line.attempts = Some(attempts);
        }
        Event::Repeat { answer } => line.reason = Some(answer.into()),
        Event::RemovedLate { reason, told } => {
            line.reason = Some(reason.into());
            if let Some(Told { provider_id, attempts, took }) = told {
                provider = provider_id;
                line.attempts = Some(attempts);
                line.ms = Some(milliseconds(took));
            }
        }
        Event::Withheld { reason } | Event::Allowed { reason } | Event::Refused { reason } => {
            line.reason = Some(reason.into());
        }
        Event::Superseded | Event::Receipt => {}
    }
    line.provider_id = provider.map(|id| match id {
        ProviderId::Apns(id) => Cow::Borrowed(&*id.hyphenated().encode_lower(&mut text)),
        ProviderId::Fcm(id) => Cow::Borrowed(id.as_str()),
    });
    serde_json::to_writer(&mut *out, &line).expect("texts and numbers can always be written as JSON to memory");
    out.push(b'\n');
}

/// How every line of this ack id begins, and no other: a text has one way to be written here, and ends with its quote.
pub(super) fn beginning(ack_id: &str) -> Vec<u8> {
    let mut beginning = b"{\"id\":".to_vec();
    serde_json::to_writer(&mut beginning, bounded(ack_id)).expect("texts can always be written as JSON to memory");
    beginning.push(b',');
    beginning
}
