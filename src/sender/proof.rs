//! Whether a provider takes our credentials, read from its answer to a push that no phone can get. Decides; sends nothing.

use crate::outcome::{Reason, Verdict};

/// What a provider said about a target's credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// It takes them: what it did not like was only the device token, which is made up.
    Accepted,
    /// It does not, and will not until an operator acts.
    Refused {
        /// The provider's word, or ours for what it need not be asked.
        reason: Reason,
    },
    /// Nobody knows: it could not be reached, or its answer says nothing about credentials.
    Unknown {
        /// What happened.
        reason: Reason,
    },
}

impl Proof {
    /// From the last verdict on a push to a device token that cannot exist. [`Verdict::NewCredential`] is the last one if a
    /// fresh token to the provider was refused as well.
    pub(super) fn of(verdict: &Verdict) -> Self {
        match *verdict {
            // Taken (a gateway in between may take anything), or refused for its device token: by somebody who knows us.
            // The last is Google's word for one that was never a device token; it looks at the sender first.
            Verdict::Delivered | Verdict::Remove { .. } | Verdict::Rejected { reason: "INVALID_ARGUMENT" } => {
                Self::Accepted
            }
            // Apple's status for credentials, with a word that is new to us.
            Verdict::Rejected { reason: reason @ "other_403" }
            | Verdict::TargetBroken { reason }
            | Verdict::NewCredential { reason } => Self::Refused { reason },
            Verdict::Rejected { reason } | Verdict::Retry { reason, .. } => Self::Unknown { reason },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Scope;

    #[test]
    fn every_verdict_on_an_impossible_device_token_says_something_about_the_credentials() {
        let refused = |reason| Proof::Refused { reason };
        let unknown = |reason| Proof::Unknown { reason };
        let retry = |reason, scope| Verdict::Retry { reason, after: None, scope, unprocessed: false };
        let cases = [
            (Verdict::Delivered, Proof::Accepted),
            (Verdict::Remove { reason: "BadDeviceToken", ambiguous: true }, Proof::Accepted),
            (Verdict::Remove { reason: "DeviceTokenNotForTopic", ambiguous: true }, Proof::Accepted),
            (Verdict::Remove { reason: "UNREGISTERED", ambiguous: false }, Proof::Accepted),
            (Verdict::Rejected { reason: "INVALID_ARGUMENT" }, Proof::Accepted),
            (Verdict::TargetBroken { reason: "InvalidProviderToken" }, refused("InvalidProviderToken")),
            (Verdict::TargetBroken { reason: "TopicDisallowed" }, refused("TopicDisallowed")),
            (Verdict::TargetBroken { reason: "PERMISSION_DENIED" }, refused("PERMISSION_DENIED")),
            (Verdict::TargetBroken { reason: "NOT_FOUND" }, refused("NOT_FOUND")),
            (Verdict::TargetBroken { reason: "oauth invalid_grant" }, refused("oauth invalid_grant")),
            (Verdict::NewCredential { reason: "UNAUTHENTICATED" }, refused("UNAUTHENTICATED")),
            (Verdict::Rejected { reason: "other_403" }, refused("other_403")),
            (Verdict::Rejected { reason: "BadPath" }, unknown("BadPath")),
            (retry("HTTP 400", Scope::Target), unknown("HTTP 400")),
            (retry("connect_refused", Scope::Target), unknown("connect_refused")),
            (retry("not_googles_answer", Scope::Target), unknown("not_googles_answer")),
            (retry("not_apples_answer", Scope::Target), unknown("not_apples_answer")),
            (Verdict::Rejected { reason: "THIRD_PARTY_AUTH_ERROR" }, unknown("THIRD_PARTY_AUTH_ERROR")),
            (retry("TooManyRequests", Scope::Phone), unknown("TooManyRequests")),
            (retry("QUOTA_EXCEEDED", Scope::Quota), unknown("QUOTA_EXCEEDED")),
        ];
        for (verdict, expected) in cases {
            assert_eq!(Proof::of(&verdict), expected, "{verdict:?}");
        }
    }
}
