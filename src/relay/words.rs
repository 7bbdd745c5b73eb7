//! What the caller is told, and with what words failures are counted: ours, and the reference's for a relay that stands
//! in its place.

use std::borrow::Cow;
use std::time::Duration;

use super::attempts::{Run, Stopped};
use crate::delivery::removal_cause::{Cause, likely_cause};
use crate::notification::{Notification, Platform, TargetName};
use crate::outcome::{Outcome, Reason, Verdict};

/// The longest piece of a caller's text quoted back, characters: enough for any real name or id.
const MAX_QUOTED_CHARS: usize = 64;

/// What the reference says of a push to Apple that ended without an answer.
const NO_ANSWER: &str = "unknown transport error";

/// What it says of an answer of Apple's that is neither a success nor a removal.
const OTHER_ANSWER: &str = "unknown send response error";

/// What it counts the former as.
const NO_ANSWER_REASON: Reason = "RequestError";

/// The platform is not configured.
pub(super) fn unknown_target(notification: &Notification) -> Outcome {
    let quoted = |text: &str| text.chars().take(MAX_QUOTED_CHARS).collect::<String>();
    missing_platform(&quoted(notification.target.as_str()), &quoted(notification.server_id.as_str()))
}

/// The same, quoting as the reference does: whole. The limit of a request's body bounds it.
pub(super) fn unknown_target_in_full(notification: &Notification) -> Outcome {
    missing_platform(notification.target.as_str(), notification.server_id.as_str())
}

/// The same for a program, which knows what it asked for.
pub(super) fn unknown_target_for_program(is_left_out: bool) -> Outcome {
    let text = if is_left_out {
        "the target could not be set up: the relay's operator must correct it, /readyz says more"
    } else {
        "the relay has no target of this name"
    };
    Outcome::Failed { text: Cow::Borrowed(text) }
}

/// The reference's words, which administrators have learnt to search for.
fn missing_platform(target: &str, server: &str) -> Outcome {
    Outcome::Failed {
        text: Cow::Owned(format!(
            "Did not send message because of missing platform property type={target} serverId={server}"
        )),
    }
}

/// What became of a push, in words an operator can act on.
pub(super) fn outcome(run: &Run, platform: Platform, target: &TargetName) -> Outcome {
    let provider = provider(platform);
    let text = match &run.last.verdict {
        Verdict::Delivered => return Outcome::Delivered,
        Verdict::Remove { .. } => return Outcome::Remove,
        Verdict::Retry { reason, .. } if run.stopped == Some(Stopped::Breaker) => format!(
            "{provider} could not be reached of late ({reason}), so it is left alone for a while: try again later"
        ),
        Verdict::Retry { .. } if let Some(Stopped::Refused(why)) = run.stopped => {
            format!("{provider} could not take it now, and the relay's queue {}: try again later", why.words())
        }
        Verdict::Retry { .. } if run.stopped == Some(Stopped::Share) => format!(
            "{provider} could not take it now, and so many notifications of this server wait on the relay's disk that the places \
             which are left are for other servers: try again later"
        ),
        Verdict::Retry { reason, .. } | Verdict::NewCredential { reason } => format!(
            "{provider} could not take it now ({reason}; {}): try again later",
            attempts_in_words(run.attempts, run.elapsed)
        ),
        Verdict::TargetBroken { reason } => {
            let what = match platform {
                Platform::Apple => "credentials or topic",
                Platform::Android => "credentials or project",
            };
            format!(
                "{provider} does not accept the relay's {what} for target {target} ({reason}): \
                 the relay's operator must correct them, /readyz says more"
            )
        }
        Verdict::Rejected { reason } if run.last.answered => format!("{provider} refused this notification ({reason})"),
        Verdict::Rejected { reason } => {
            format!("{provider} cannot take this notification, so it was not sent ({reason})")
        }
    };
    Outcome::Failed { text: Cow::Owned(text) }
}

/// The provider calls the token dead, and so many others that the relay does not believe it.
pub(super) fn withheld(platform: Platform, target: &TargetName, reason: Reason) -> Outcome {
    let provider = provider(platform);
    let Cause { cause, remedy } = likely_cause(reason);
    Outcome::Failed {
        text: Cow::Owned(format!(
            "{provider} does not know this device token ({reason}), and says so of so many tokens of target {target} that the \
             relay's settings are the likelier cause: {cause}. Keep the token; the relay's operator: {remedy}"
        )),
    }
}

/// A repeat of a request that was given up without an outcome.
pub(super) fn first_was_lost() -> Outcome {
    Outcome::Failed {
        text: Cow::Borrowed("the same request came before and was cut off while it was being sent: try again"),
    }
}

/// A repeat of a request that is still being sent.
pub(super) fn first_is_late() -> Outcome {
    Outcome::Failed { text: Cow::Borrowed("the same request came before and is still being sent: try again later") }
}

/// A repeat of a request that is still being sent, while too many others wait for that.
pub(super) fn too_many_wait() -> Outcome {
    Outcome::Failed {
        text: Cow::Borrowed(
            "the same request came before and is still being sent, and too many repeats of this server wait for an outcome: \
             try again later",
        ),
    }
}

fn provider(platform: Platform) -> &'static str {
    match platform {
        Platform::Apple => "APNs",
        Platform::Android => "FCM",
    }
}

fn attempts_in_words(attempts: u32, elapsed: Duration) -> String {
    let plural = if attempts == 1 { "" } else { "s" };
    format!("{attempts} attempt{plural} in {:.1} s", elapsed.as_secs_f64())
}

/// The same as the reference tells it: of Apple's troubles next to nothing. Of Android's it tells the provider's own
/// text; ours begins with the provider's word.
pub(super) fn reference_outcome(outcome: Outcome, run: &Run, platform: Platform) -> Outcome {
    let Outcome::Failed { text } = outcome else { return outcome };
    let text = match platform {
        Platform::Apple if run.last.answered => Cow::Borrowed(OTHER_ANSWER),
        Platform::Apple => Cow::Borrowed(NO_ANSWER),
        Platform::Android => Cow::Owned(format!("{}: {text}", run.last.verdict.reason().unwrap_or_default())),
    };
    Outcome::Failed { text }
}

/// The reason a failure is counted with, where alert rules for the reference may name it. For other failures ours is the
/// provider's word, as the reference's is, or says more.
pub(super) fn reference_reason(run: &Run, platform: Platform) -> Option<Reason> {
    if platform == Platform::Apple && !run.last.answered { Some(NO_ANSWER_REASON) } else { run.last.verdict.reason() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::{Attempt, Scope};

    fn attempt(verdict: Verdict, answered: bool) -> Attempt {
        if answered { Attempt::answered(verdict) } else { Attempt::unanswered(verdict) }
    }

    #[test]
    fn the_caller_is_told_what_an_operator_can_act_on() {
        let told = |verdict: Verdict, platform| {
            let run = Run {
                last: attempt(verdict, true),
                attempts: 3,
                elapsed: Duration::from_millis(3_240),
                stopped: None,
                ruling: None,
            };
            match outcome(&run, platform, &TargetName::new("apple_rn")) {
                Outcome::Failed { text } => text.into_owned(),
                other => format!("{other:?}"),
            }
        };
        let table = [
            (Verdict::Delivered, Platform::Apple, "Delivered"),
            (Verdict::Remove { reason: "Unregistered", ambiguous: false }, Platform::Apple, "Remove"),
            (
                Verdict::Retry { reason: "ServiceUnavailable", after: None, scope: Scope::Target, unprocessed: false },
                Platform::Apple,
                "APNs could not take it now (ServiceUnavailable; 3 attempts in 3.2 s): try again later",
            ),
            (
                Verdict::TargetBroken { reason: "BadTopic" },
                Platform::Apple,
                "APNs does not accept the relay's credentials or topic for target apple_rn (BadTopic): \
                 the relay's operator must correct them, /readyz says more",
            ),
            (
                Verdict::Rejected { reason: "INVALID_ARGUMENT" },
                Platform::Android,
                "FCM refused this notification (INVALID_ARGUMENT)",
            ),
        ];
        for (verdict, platform, expected) in table {
            assert_eq!(told(verdict, platform), expected);
        }
    }

    #[test]
    fn a_relay_in_the_references_place_tells_what_the_reference_tells() {
        let retry = |reason| Verdict::Retry { reason, after: None, scope: Scope::Target, unprocessed: false };
        let broken = |reason| Verdict::TargetBroken { reason };
        let (apple, android) = (Platform::Apple, Platform::Android);
        // Verdict, answered, platform; the text and the reason counted.
        let table = [
            (retry("connect_refused"), false, apple, "unknown transport error", "RequestError"),
            (retry("timeout"), false, apple, "unknown transport error", "RequestError"),
            (broken("certificate_out_of_date"), false, apple, "unknown transport error", "RequestError"),
            (broken("cannot_sign"), false, apple, "unknown transport error", "RequestError"),
            (retry("ServiceUnavailable"), true, apple, "unknown send response error", "ServiceUnavailable"),
            (broken("BadTopic"), true, apple, "unknown send response error", "BadTopic"),
            (
                Verdict::Rejected { reason: "PayloadTooLarge" },
                true,
                apple,
                "unknown send response error",
                "PayloadTooLarge",
            ),
            (
                retry("UNAVAILABLE"),
                true,
                android,
                "UNAVAILABLE: FCM could not take it now (UNAVAILABLE; 3 attempts in 3.2 s): try again later",
                "UNAVAILABLE",
            ),
            (
                retry("connect"),
                false,
                android,
                "connect: FCM could not take it now (connect; 3 attempts in 3.2 s): try again later",
                "connect",
            ),
            (
                Verdict::Rejected { reason: "INVALID_ARGUMENT" },
                true,
                android,
                "INVALID_ARGUMENT: FCM refused this notification (INVALID_ARGUMENT)",
                "INVALID_ARGUMENT",
            ),
        ];
        for (verdict, answered, platform, text, reason) in table {
            let run = Run {
                last: attempt(verdict, answered),
                attempts: 3,
                elapsed: Duration::from_millis(3_240),
                stopped: None,
                ruling: None,
            };
            let outcome = reference_outcome(outcome(&run, platform, &TargetName::new("x")), &run, platform);
            assert_eq!(outcome, Outcome::Failed { text: text.into() });
            assert_eq!(reference_reason(&run, platform), Some(reason));
        }
        for outcome in [Outcome::Delivered, Outcome::Remove] {
            let run = Run {
                last: attempt(Verdict::Delivered, true),
                attempts: 1,
                elapsed: Duration::ZERO,
                stopped: None,
                ruling: None,
            };
            assert_eq!(reference_outcome(outcome.clone(), &run, apple), outcome);
        }
    }
}
