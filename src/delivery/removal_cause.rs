//! What it is likely to mean when a provider calls most of a target's device tokens dead: words for whoever set the target
//! up. Pure.

use crate::outcome::Reason;

/// A likely cause and what to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cause {
    /// What is likely to be wrong.
    pub cause: &'static str,
    /// Which key of the target to look at.
    pub remedy: &'static str,
}

/// Whether the word is one that also answers a wrong certificate, topic or project. Verdicts say so themselves; this is for
/// words that come back from the disk.
pub fn is_ambiguous(reason: Reason) -> bool {
    ["BadDeviceToken", "DeviceTokenNotForTopic", "MissingDeviceToken", "SENDER_ID_MISMATCH"].contains(&reason)
}

/// From the provider's word for an ambiguous removal.
pub fn likely_cause(reason: Reason) -> Cause {
    match reason {
        "BadDeviceToken" => Cause {
            cause: "the tokens are of Apple's other environment, or of another app",
            remedy: "set `sandbox = true` in the target if the app was installed from Xcode, `false` if it came from TestFlight \
                     or the App Store; if that is right, compare `topic` with the app's bundle id",
        },
        "DeviceTokenNotForTopic" => Cause {
            cause: "the tokens are of an app with another bundle id",
            remedy: "compare `topic` in the target with the app's bundle id, and the target's `name` with what the app \
                     registers as",
        },
        "MissingDeviceToken" => Cause {
            cause: "the requests reach Apple without a token: something on the way rewrites their path",
            remedy: "look at `endpoint` and `proxy` in the target",
        },
        "SENDER_ID_MISMATCH" => Cause {
            cause: "the service account is of another Firebase project than the app",
            remedy: "compare `project_id` in the target's `service_account_file` with the one in the app's \
                     `google-services.json`",
        },
        _ => Cause {
            cause: "the target is set up for another app than the tokens are of",
            remedy: "compare the target's credentials and its `topic` or project with the app's",
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_leads_to_the_key_that_is_likely_wrong() {
        for (reason, key) in [
            ("BadDeviceToken", "`sandbox = true`"),
            ("BadDeviceToken", "`topic`"),
            ("DeviceTokenNotForTopic", "`topic`"),
            ("MissingDeviceToken", "`endpoint`"),
            ("SENDER_ID_MISMATCH", "`service_account_file`"),
            ("another word", "`topic`"),
        ] {
            assert!(likely_cause(reason).remedy.contains(key), "{reason}: {key}");
        }
    }
}
