//! One notification's way.

use crate::admission::Admitted;
use crate::notification::{Notification, Platform, TargetName};
use crate::outcome::{Outcome, Reason};

/// Delivers what was admitted.
#[derive(Debug)]
pub struct Relay {}

/// What an operator should know about one target.
#[derive(Clone, Debug)]
pub struct TargetReadiness {
    /// Its name.
    pub name: TargetName,
    /// Whose phones it reaches.
    pub platform: Platform,
    /// What keeps it from delivering, in words; `None` if nothing does.
    pub problem: Option<String>,
    /// How the last attempt ended and how many seconds ago; `None` before the first.
    pub last: Option<LastAttempt>,
    /// Seconds after the Unix epoch.
    pub credential_expires_at: Option<u64>,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug)]
pub struct LastAttempt {
    /// `delivered`, `remove`, `retry`, … (see [`crate::outcome::Verdict::label`]).
    pub verdict: &'static str,
    /// The provider's word, unless delivered.
    pub reason: Option<Reason>,
    /// Age in seconds.
    pub seconds_ago: u64,
}

#[allow(unused_variables, clippy::todo, clippy::unused_async, missing_docs)]
impl Relay {
    pub async fn deliver(&self, admitted: Admitted<Notification>) -> Outcome {
        todo!()
    }
    pub fn readiness(&self) -> Vec<TargetReadiness> {
        todo!()
    }
}
