//! One notification's way: find its target, build what the provider reads, try within the deadline, say how it went.
//!
//! Takes only what was admitted, knows no HTTP, and counts and logs each notification once, at its end. One that is cut off
//! by a forced stop, or by an HTTP/2 caller that resets its stream, has no end and no line.

mod health;
pub mod memory;
mod words;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::admission::{Admitted, Refusal};
use crate::clock::Clock;
use crate::delivery::DeliverySettings;
use crate::delivery::policy::{self, Next, Tried};
use crate::notification::{Compatibility, Notification, Platform, PushKind, ServerId, TargetName, Transport};
use crate::outcome::{Attempt, Outcome, Reason, Verdict};
use crate::sender::{LeftOut, Prepared, Sender};
use crate::telemetry::log::{self, Ending, Subject};
use crate::telemetry::metrics::{Metrics, TargetMetrics};
pub use health::LastAttempt;
use health::{Health, Turn};

/// Delivers what was admitted.
#[derive(Debug)]
pub struct Relay {
    targets: HashMap<TargetName, Target>,
    left_out: Vec<LeftOut>,
    compatibility: Compatibility,
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
    /// It could not be set up: its problem lasts as long as the process.
    pub left_out: bool,
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
    fn of(admitted: &Admitted<Notification>, transport: Transport) -> Self {
        let notification = admitted.get();
        Self {
            ack_id: log::bounded(&notification.ack_id).into(),
            server: notification.server_id.clone(),
            kind: notification.kind.clone(),
            transport,
            observed: admitted.observed(),
        }
    }
}

/// How the attempts at one notification went.
struct Run {
    /// The last one.
    verdict: Verdict,
    /// Whether the last one is an answer.
    answered: bool,
    attempts: u32,
    elapsed: Duration,
}

impl Relay {
    /// Takes the senders over. Their names are unique, those of `left_out` included: the configuration saw to it.
    pub fn new(
        senders: Vec<(TargetName, Sender)>,
        left_out: Vec<LeftOut>,
        compatibility: Compatibility,
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
        Self { targets, left_out, compatibility, limits, clock, metrics }
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
            let outcome = words::unknown_target(notification);
            let observed = admitted.observed().map(Refusal::label);
            let is_left_out = self.left_out.iter().any(|left_out| left_out.name == notification.target);
            let reason = Some(if is_left_out { LEFT_OUT } else { UNKNOWN_TARGET });
            let ending = Ending { outcome: &outcome, reason, observed, attempts: 0, took: Duration::ZERO };
            log::notification_line(&Subject::of(notification), &ending);
            return Err(match self.compatibility {
                Compatibility::Improved => outcome,
                Compatibility::Strict => words::unknown_target_in_full(notification),
            });
        };
        let platform = target.sender.platform();
        // Google has no channel apart for calls, and the reference counts none.
        let transport = match platform {
            Platform::Apple => notification.transport,
            Platform::Android => Transport::Standard,
        };
        self.metrics.notification(platform, &notification.kind, transport, notification.app_version);
        Ok((target, target.sender.prepare(notification), Remembered::of(admitted, transport)))
    }

    /// The one metric and the one log line. The line says what happened, however little of it the caller may be told.
    fn settle(&self, target: &Target, subject: &Remembered, run: &Run) -> Outcome {
        let platform = target.sender.platform();
        let Remembered { ack_id, server, kind, transport, observed } = subject;
        let outcome = words::outcome(run, platform, &target.name);
        let reason = run.verdict.reason();
        match &outcome {
            Outcome::Delivered => self.metrics.success(platform, kind, *transport, !ack_id.is_empty()),
            Outcome::Remove => self.metrics.removal(platform, kind, *transport, reason.unwrap_or_default()),
            Outcome::Failed { .. } => {
                let reason = match self.compatibility {
                    Compatibility::Improved => reason,
                    Compatibility::Strict => words::reference_reason(run, platform),
                };
                self.metrics.failure(platform, kind, *transport, reason.unwrap_or_default());
            }
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
        match self.compatibility {
            Compatibility::Improved => outcome,
            Compatibility::Strict => words::reference_outcome(outcome, run, platform),
        }
    }

    async fn attempt(&self, target: &Target, prepared: &Prepared) -> Run {
        let started = self.clock.now();
        let mut tried = Tried { attempts: 0, credential_renewed: false, elapsed: Duration::ZERO };
        loop {
            let timeout = self.limits.attempt_timeout.min(self.limits.deadline.saturating_sub(tried.elapsed));
            let Attempt { verdict, answered } = target.sender.attempt(prepared, timeout).await;
            let ended = self.clock.now();
            let attempt_took = (ended - started).saturating_sub(tried.elapsed);
            tried.attempts += 1;
            tried.elapsed = ended - started;
            target.metrics.attempt(&verdict, attempt_took);
            target.record(&verdict);
            let Next::Attempt { after } = policy::next(&verdict, tried, &self.limits, fastrand::f64()) else {
                let verdict = target.settled(verdict);
                return Run { verdict, answered, attempts: tried.attempts, elapsed: tried.elapsed };
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
                left_out: false,
                last: target.health.last(),
                credential_expires_at: target.sender.credential_expires_at(),
            })
            .chain(self.left_out.iter().map(|left_out| TargetReadiness {
                name: left_out.name.clone(),
                platform: left_out.platform,
                // What exactly is in the log: names of files are nothing for whoever reaches a probe.
                problem: Some(LEFT_OUT_PROBLEM.to_owned()),
                left_out: true,
                last: None,
                credential_expires_at: None,
            }))
            .collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }
}

/// The push names a platform that is not configured.
const UNKNOWN_TARGET: Reason = "unknown_target";

/// What a probe is told of a target that could not be set up.
const LEFT_OUT_PROBLEM: &str = "could not be set up; an error line in the log says why";

/// The push names a target that could not be set up.
const LEFT_OUT: Reason = "target_left_out";
