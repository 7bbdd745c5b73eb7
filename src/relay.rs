//! One notification's way: find its target, build what the provider reads, try within the deadline, say how it went.
//!
//! Takes only what was admitted, knows no HTTP, and counts and logs each notification once, at its end. One that is cut off
//! by a forced stop, or by an HTTP/2 caller that resets its stream, has no end and no line.

mod health;
pub mod memory;

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::admission::{Admitted, Refusal};
use crate::clock::Clock;
use crate::delivery::DeliverySettings;
use crate::delivery::policy::{self, Next, Tried};
use crate::notification::{Notification, Platform, PushKind, ServerId, TargetName, Transport};
use crate::outcome::{Outcome, Reason, Verdict};
use crate::sender::{Prepared, Sender};
use crate::telemetry::log::{self, Ending, Subject};
use crate::telemetry::metrics::{Metrics, TargetMetrics};
pub use health::LastAttempt;
use health::{Health, Turn};

/// Delivers what was admitted.
#[derive(Debug)]
pub struct Relay {
    targets: HashMap<TargetName, Target>,
    limits: DeliverySettings,
    clock: Clock,
    metrics: Arc<Metrics>,
}

#[derive(Debug)]
struct Target {
    name: TargetName,
    sender: Sender,
    health: Health,
    metrics: TargetMetrics,
}

/// What an operator should know about one target.
#[derive(Clone, Debug)]
pub struct TargetReadiness {
    /// Its name.
    pub name: TargetName,
    /// Whose phones it reaches.
    pub platform: Platform,
    /// What keeps it from delivering, in words; `None` if nothing does.
    pub problem: Option<String>,
    /// How the last attempt ended; `None` before the first.
    pub last: Option<LastAttempt>,
    /// Seconds after the Unix epoch at which the credential stops working by itself.
    pub credential_expires_at: Option<u64>,
}

impl Target {
    /// Takes note of a verdict, and tells an operator when the target breaks or is mended.
    fn record(&self, verdict: &Verdict) {
        let (target, reason) = (self.name.as_str(), verdict.reason());
        match self.health.record(verdict) {
            Turn::None => {}
            Turn::Broke => tracing::error!(
                target,
                reason,
                "the provider does not accept this target's credentials or topic: no push to it can arrive; \
                 correct key, certificate, topic or project"
            ),
            Turn::Mended => tracing::info!(target, "the target delivers again"),
        }
    }

    /// The last verdict as it stands: a credential that was just renewed and is refused again is not old but wrong.
    fn settled(&self, verdict: Verdict) -> Verdict {
        let Verdict::NewCredential { reason } = verdict else { return verdict };
        let broken = Verdict::TargetBroken { reason };
        self.record(&broken);
        broken
    }
}

/// What is still needed of a notification when its payload has been built.
struct Remembered {
    ack_id: Box<str>,
    server: ServerId,
    kind: PushKind,
    transport: Transport,
    observed: Option<Refusal>,
}

impl Remembered {
    fn of(admitted: &Admitted<Notification>) -> Self {
        let notification = admitted.get();
        Self {
            ack_id: log::bounded(&notification.ack_id).into(),
            server: notification.server_id.clone(),
            kind: notification.kind.clone(),
            transport: notification.transport,
            observed: admitted.observed(),
        }
    }
}

/// How the attempts at one notification went.
struct Run {
    verdict: Verdict,
    attempts: u32,
    elapsed: Duration,
}

impl Relay {
    /// Takes the senders over. Their names are unique: the configuration saw to it.
    pub fn new(
        senders: Vec<(TargetName, Sender)>,
        limits: DeliverySettings,
        clock: Clock,
        metrics: Arc<Metrics>,
    ) -> Self {
        let targets = senders
            .into_iter()
            .map(|(name, sender)| {
                let metrics = metrics.target(&name, sender.platform());
                let target = Target { name: name.clone(), sender, health: Health::new(clock.clone()), metrics };
                (name, target)
            })
            .collect();
        Self { targets, limits, clock, metrics }
    }

    /// Brings one notification to its provider, or says why that cannot be.
    ///
    /// What the provider reads is built before the future is made, and the notification is dropped: while it is on its way,
    /// only the built payload and a few words for the log are kept.
    pub fn deliver(&self, admitted: Admitted<Notification>) -> impl Future<Output = Outcome> + Send + '_ {
        let begun = self.begin(&admitted);
        drop(admitted);
        async move {
            match begun {
                Ok((target, prepared, subject)) => {
                    let run = self.attempt(target, &prepared).await;
                    self.settle(target, &subject, &run)
                }
                Err(outcome) => outcome,
            }
        }
    }

    fn begin(&self, admitted: &Admitted<Notification>) -> Result<(&Target, Prepared, Remembered), Outcome> {
        let notification = admitted.get();
        let Some(target) = self.targets.get(&notification.target) else {
            self.metrics.bad_request();
            let outcome = unknown_target(notification);
            let observed = admitted.observed().map(Refusal::label);
            let reason = Some(UNKNOWN_TARGET);
            let ending = Ending { outcome: &outcome, reason, observed, attempts: 0, took: Duration::ZERO };
            log::notification_line(&Subject::of(notification), &ending);
            return Err(outcome);
        };
        let platform = target.sender.platform();
        self.metrics.notification(platform, &notification.kind, notification.transport, notification.app_version);
        Ok((target, target.sender.prepare(notification), Remembered::of(admitted)))
    }

    /// The one metric and the one log line.
    fn settle(&self, target: &Target, subject: &Remembered, run: &Run) -> Outcome {
        let platform = target.sender.platform();
        let Remembered { ack_id, server, kind, transport, observed } = subject;
        let outcome = outcome(run, platform, &target.name);
        let reason = run.verdict.reason();
        match &outcome {
            Outcome::Delivered => self.metrics.success(platform, kind, *transport, !ack_id.is_empty()),
            Outcome::Remove => self.metrics.removal(platform, kind, *transport, reason.unwrap_or_default()),
            Outcome::Failed { .. } => self.metrics.failure(platform, kind, *transport, reason.unwrap_or_default()),
        }
        log::notification_line(
            &Subject { ack_id, server: server.as_str(), target: target.name.as_str(), kind: kind.label() },
            &Ending {
                outcome: &outcome,
                reason,
                observed: observed.map(Refusal::label),
                attempts: run.attempts,
                took: run.elapsed,
            },
        );
        outcome
    }

    async fn attempt(&self, target: &Target, prepared: &Prepared) -> Run {
        let started = self.clock.now();
        let mut tried = Tried { attempts: 0, credential_renewed: false, elapsed: Duration::ZERO };
        loop {
            let timeout = self.limits.attempt_timeout.min(self.limits.deadline.saturating_sub(tried.elapsed));
            let verdict = target.sender.attempt(prepared, timeout).await;
            let ended = self.clock.now();
            let attempt_took = (ended - started).saturating_sub(tried.elapsed);
            tried.attempts += 1;
            tried.elapsed = ended - started;
            target.metrics.attempt(&verdict, attempt_took);
            target.record(&verdict);
            let Next::Attempt { after } = policy::next(&verdict, tried, &self.limits, fastrand::f64()) else {
                return Run { verdict: target.settled(verdict), attempts: tried.attempts, elapsed: tried.elapsed };
            };
            tried.credential_renewed |= matches!(verdict, Verdict::NewCredential { .. });
            if !after.is_zero() {
                self.clock.sleep(after).await;
                tried.elapsed = self.clock.now() - started;
            }
        }
    }

    /// Every target's state, sorted by name.
    pub fn readiness(&self) -> Vec<TargetReadiness> {
        let mut all: Vec<_> = self
            .targets
            .iter()
            .map(|(name, target)| TargetReadiness {
                name: name.clone(),
                platform: target.sender.platform(),
                problem: target.sender.credential_problem().or_else(|| target.health.problem()),
                last: target.health.last(),
                credential_expires_at: target.sender.credential_expires_at(),
            })
            .collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }
}

/// The push names a platform that is not configured.
const UNKNOWN_TARGET: Reason = "unknown_target";

/// The longest piece of a caller's text quoted back, characters: enough for any real name or id.
const MAX_QUOTED_CHARS: usize = 64;

fn unknown_target(notification: &Notification) -> Outcome {
    let quoted = |text: &str| text.chars().take(MAX_QUOTED_CHARS).collect::<String>();
    let (target, server) = (quoted(notification.target.as_str()), quoted(notification.server_id.as_str()));
    // The reference's words, which administrators have learnt to search for.
    Outcome::Failed {
        text: Cow::Owned(format!(
            "Did not send message because of missing platform property type={target} serverId={server}"
        )),
    }
}

/// What the caller is told, in words an operator can act on.
fn outcome(run: &Run, platform: Platform, target: &TargetName) -> Outcome {
    let provider = match platform {
        Platform::Apple => "APNs",
        Platform::Android => "FCM",
    };
    let text = match &run.verdict {
        Verdict::Delivered => return Outcome::Delivered,
        Verdict::Remove { .. } => return Outcome::Remove,
        Verdict::Retry { reason, .. } => format!(
            "{provider} could not take it now ({reason}; {}): try again later",
            attempts_in_words(run.attempts, run.elapsed)
        ),
        Verdict::NewCredential { reason } | Verdict::TargetBroken { reason } => format!(
            "{provider} does not accept the relay's credentials or topic for target {target} ({reason}): \
             the relay's operator must correct them, /readyz says more"
        ),
        Verdict::Rejected { reason } => format!("{provider} refused this notification ({reason})"),
    };
    Outcome::Failed { text: Cow::Owned(text) }
}

fn attempts_in_words(attempts: u32, elapsed: Duration) -> String {
    let plural = if attempts == 1 { "" } else { "s" };
    format!("{attempts} attempt{plural} in {:.1} s", elapsed.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caller_is_told_what_an_operator_can_act_on() {
        let told = |verdict: Verdict, platform| {
            let run = Run { verdict, attempts: 3, elapsed: Duration::from_millis(3_240) };
            match outcome(&run, platform, &TargetName::new("apple_rn")) {
                Outcome::Failed { text } => text.into_owned(),
                other => format!("{other:?}"),
            }
        };
        let table = [
            (Verdict::Delivered, Platform::Apple, "Delivered"),
            (Verdict::Remove { reason: "Unregistered", ambiguous: false }, Platform::Apple, "Remove"),
            (
                Verdict::Retry { reason: "ServiceUnavailable", after: None, unprocessed: false },
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
}
