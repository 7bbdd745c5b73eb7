//! The words every layer speaks about how a push went: a [`Verdict`] is what one attempt ended with, an [`Outcome`] is
//! what the caller is told, and a [`Report`] what a caller is told that is a program.

use std::borrow::Cow;
use std::time::Duration;

/// Why, in the provider's own word (`BadDeviceToken`, `UNREGISTERED`) or in ours for what never reached it
/// (`connection refused`). Becomes a metric label, so every value comes from a fixed table: never from a caller, and
/// never a provider's free text.
pub type Reason = &'static str;

/// How one attempt went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// What it ended with.
    pub verdict: Verdict,
    /// Whether the verdict is the provider's answer to the notification. Otherwise there was none: something on the way
    /// broke, the access token could not be had, or the relay itself saw that asking was useless.
    pub answered: bool,
}

impl Attempt {
    /// The provider answered.
    pub fn answered(verdict: Verdict) -> Self {
        Self { verdict, answered: true }
    }

    /// There was no answer.
    pub fn unanswered(verdict: Verdict) -> Self {
        Self { verdict, answered: false }
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
