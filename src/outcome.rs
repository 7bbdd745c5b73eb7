//! The words every layer speaks about how a push went: a [`Verdict`] is what one attempt ended with, an [`Outcome`] is
//! what the caller is told, and a [`Report`] what a caller is told that is a program.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use uuid::Uuid;

/// Why, in the provider's own word (`BadDeviceToken`, `UNREGISTERED`) or in ours for what never reached it
/// (`connection refused`). Becomes a metric label, so every value comes from a fixed table: never from a caller, and
/// never a provider's free text.
pub type Reason = &'static str;

/// No answer in time.
pub const TIMEOUT: Reason = "timeout";

/// How one attempt went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// What it ended with.
    pub verdict: Verdict,
    /// Whether the verdict is the provider's answer to the notification. Otherwise there was none: something on the way
    /// broke, the access token could not be had, or the relay itself saw that asking was useless.
    pub answered: bool,
    /// What the provider's support knows this attempt by. Apple is told it with the request, so it is there without an
    /// answer, too; Google makes it when it takes a message. `None` if nothing was asked, or nothing usable was said.
    pub provider_id: Option<ProviderId>,
}

impl Attempt {
    /// The provider answered.
    pub fn answered(verdict: Verdict) -> Self {
        Self { verdict, answered: true, provider_id: None }
    }

    /// There was no answer.
    pub fn unanswered(verdict: Verdict) -> Self {
        Self { verdict, answered: false, provider_id: None }
    }

    /// The same, under this id of the provider's.
    #[must_use]
    pub fn under(self, provider_id: Option<ProviderId>) -> Self {
        Self { provider_id, ..self }
    }
}

/// What a provider calls one message. Not a secret, and of a bounded length and alphabet: fit for a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProviderId {
    /// The `apns-id`, chosen by us and the same for all attempts at a notification.
    Apns(Uuid),
    /// What stands behind the last slash of `name` (`projects/…/messages/…`) in Google's answer.
    Fcm(FcmMessageId),
}

/// Google's id of a message: at most [`FcmMessageId::MOST_BYTES`] of `[A-Za-z0-9:%_-]`, and at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FcmMessageId(Box<str>);

impl FcmMessageId {
    /// Bytes. Google's have about 40 (`0:1500415314455276%31bd1c9631bd1c96`) and no documented length.
    pub const MOST_BYTES: usize = 128;

    /// From the `name` of a message; `None` if what is behind its last slash does not look like Google's ids.
    pub fn of_name(name: &str) -> Option<Self> {
        let id = name.rsplit('/').next()?;
        let is_known = |byte: u8| byte.is_ascii_alphanumeric() || b":%_-".contains(&byte);
        let fits = (1..=Self::MOST_BYTES).contains(&id.len()) && id.bytes().all(is_known);
        fits.then(|| Self(id.into()))
    }

    /// The id.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ProviderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // Hyphenated and in lower case, as it was sent.
            Self::Apns(id) => write!(f, "{}", id.hyphenated()),
            Self::Fcm(id) => f.write_str(id.as_str()),
        }
    }
}

/// What one attempt at a provider ended with. Each variant states the decision, not the symptom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The provider took it.
    Delivered,
    /// The provider says that the token is dead.
    Remove {
        /// The provider's word.
        reason: Reason,
        /// The same word also answers a wrong certificate, topic or project: many of them mean that *we* are wrong.
        ambiguous: bool,
    },
    /// Passing trouble. Try again, but not before `after`.
    Retry {
        /// What happened.
        reason: Reason,
        /// The provider's `Retry-After`: a floor, never shortened.
        after: Option<Duration>,
        /// How far the trouble reaches.
        scope: Scope,
        /// The provider cannot have seen this attempt, so that repeating it can wake no phone twice.
        unprocessed: bool,
    },
    /// Our token to the provider is too old or was not taken. The sender has thrown it away: one more attempt makes a
    /// new one, and a second verdict like this means [`Verdict::TargetBroken`].
    NewCredential {
        /// The provider's word.
        reason: Reason,
    },
    /// Our credentials, topic or project are wrong: no push to this target can arrive until an operator acts.
    TargetBroken {
        /// The provider's word.
        reason: Reason,
    },
    /// This request is wrong and will stay so.
    Rejected {
        /// The provider's word.
        reason: Reason,
    },
}

/// How far passing trouble reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The provider, or the way to it: whatever is sent to this target meets it too.
    Target,
    /// One phone, which gets too much.
    Phone,
    /// The target sends more than the provider lets it: the next ones have to come more slowly.
    Quota,
}

impl Verdict {
    /// The reason, for all but [`Verdict::Delivered`].
    pub fn reason(&self) -> Option<Reason> {
        match self {
            Self::Delivered => None,
            Self::Remove { reason, .. }
            | Self::Retry { reason, .. }
            | Self::NewCredential { reason }
            | Self::TargetBroken { reason }
            | Self::Rejected { reason } => Some(reason),
        }
    }

    /// Whether it was sent and there was no answer in time: the provider may be slow.
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Retry { reason: TIMEOUT, unprocessed: false, .. })
    }

    /// For metrics and logs.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Remove { .. } => "remove",
            Self::Retry { .. } => "retry",
            Self::NewCredential { .. } => "new_credential",
            Self::TargetBroken { .. } => "target_broken",
            Self::Rejected { .. } => "rejected",
        }
    }
}

/// What the caller is told about a notification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The provider took it.
    Delivered,
    /// It is on disk and will be tried until its time is over. The caller need do nothing more.
    Queued,
    /// The provider said that the token is dead: the caller forgets it for good.
    Remove,
    /// It did not arrive and will not.
    Failed {
        /// In words an operator can act on; names no token and quotes no text.
        text: Cow<'static, str>,
    },
}

impl Outcome {
    /// For logs.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Queued => "queued",
            Self::Remove => "removed",
            Self::Failed { .. } => "failed",
        }
    }
}

/// An outcome and what a program wants to know about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// What became of the notification.
    pub outcome: Outcome,
    /// Why, unless it was delivered.
    pub reason: Option<Reason>,
    /// Whether the trouble was passing: the same notification may arrive if it is sent again later.
    pub may_be_repeated: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn googles_id_is_what_stands_behind_the_last_slash_and_nothing_else_is_taken_for_one() {
        let id = |name: &str| FcmMessageId::of_name(name).map(|id| id.as_str().to_owned());
        let known = "0:1500415314455276%31bd1c9631bd1c96";
        assert_eq!(id(&format!("projects/chat-1a2b3/messages/{known}")).as_deref(), Some(known));
        assert_eq!(id(known).as_deref(), Some(known));
        for wrong in ["", "projects/p/messages/", "a/b c", "a/<b>", "a/\u{1b}[2J", "a/ä"] {
            assert_eq!(id(wrong), None, "{wrong:?}");
        }
        assert!(id(&"x".repeat(FcmMessageId::MOST_BYTES)).is_some());
        assert_eq!(id(&"x".repeat(FcmMessageId::MOST_BYTES + 1)), None);
    }

    #[test]
    fn the_id_makes_an_attempt_only_a_little_larger() {
        assert!(size_of::<Option<ProviderId>>() <= 24);
    }
}
