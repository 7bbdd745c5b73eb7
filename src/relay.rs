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

use arc_swap::ArcSwap;
use futures_util::FutureExt;

use crate::admission::{Admitted, Refusal};
use crate::clock::Clock;
use crate::delivery::DeliverySettings;
use crate::delivery::policy::{self, Next, Tried};
use crate::notification::{Compatibility, Content, Notification, Platform, PushKind, ServerId, TargetName, Transport};
use crate::outcome::{Attempt, Outcome, Reason, Report, Verdict};
use crate::sender::{LeftOut, Prepared, Sender};
use crate::telemetry::log::{self, Ending, Subject};
use crate::telemetry::metrics::{Metrics, TargetMetrics};
pub use health::LastAttempt;
use health::{Health, Turn};
use memory::{Again, Claim, Memory, MemorySettings, MemoryState, NoOutcome, Pending, Receipt};

/// Delivers what was admitted.
#[derive(Debug)]
pub struct Relay {
    targets: HashMap<TargetName, Target>,
    left_out: Vec<LeftOut>,
    compatibility: Compatibility,
    limits: DeliverySettings,
    /// Absent where repeats are sent again and every receipt counts, as in the reference.
    memory: Option<Memory>,
    clock: Clock,
    metrics: Arc<Metrics>,
}

#[derive(Debug)]
struct Target {
    name: TargetName,
    platform: Platform,
    /// Another takes its place with new credentials; a notification keeps the one that built its payload.
    sender: ArcSwap<Sender>,
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
    /// The same in whole days from now, see [`days_left`].
    pub credential_days_left: Option<i64>,
}

/// Whole days until `end`, negative after it: 0 on the last day, -1 on the first one after. Both in seconds after the Unix
/// epoch.
pub fn days_left(end: u64, now: u64) -> i64 {
    const DAY: i64 = 24 * 60 * 60;
    let seconds = |time: u64| i64::try_from(time).unwrap_or(i64::MAX);
    seconds(end).saturating_sub(seconds(now)).div_euclid(DAY)
}

impl Target {
    /// Takes note of a verdict, and tells an operator when the target breaks or is mended. What a sender met that has been
    /// replaced says nothing about its successor.
    fn record(&self, sender: &Arc<Sender>, verdict: &Verdict) {
        if !Arc::ptr_eq(&self.sender.load(), sender) {
            return;
        }
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
    fn settled(&self, sender: &Arc<Sender>, verdict: Verdict) -> Verdict {
        let Verdict::NewCredential { reason } = verdict else { return verdict };
        let broken = Verdict::TargetBroken { reason };
        self.record(sender, &broken);
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

    /// A program's id names its message; only Mattermost's phones send receipts for it.
    fn asks_for_receipt(&self) -> bool {
        !self.ack_id.is_empty() && !matches!(self.kind, PushKind::Native(_))
    }
}

/// What is to be done about an admitted notification.
#[allow(clippy::large_enum_variant, reason = "nearly all are the large one, which a box would cost an allocation each")]
enum Begun<'a> {
    /// Send it.
    First {
        target: &'a Target,
        sender: Arc<Sender>,
        prepared: Prepared,
        subject: Remembered,
        pending: Option<Pending<'a>>,
    },
    /// It was sent, or is being sent: answer as that ends.
    Again { again: Option<Again<'a>>, subject: Remembered, target: &'a Target },
    /// Nothing: it cannot be sent.
    Ended(Report),
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
        memory: Option<MemorySettings>,
        clock: Clock,
        metrics: Arc<Metrics>,
    ) -> Self {
        let memory = memory.map(|settings| Memory::new(settings, clock.clone()));
        let targets = senders
            .into_iter()
            .map(|(name, sender)| {
                let platform = sender.platform();
                let metrics = metrics.target(&name, platform);
                let (sender, health) = (ArcSwap::from_pointee(sender), Health::new(clock.clone()));
                let target = Target { name: name.clone(), platform, sender, health, metrics };
                (name, target)
            })
            .collect();
        Self { targets, left_out, compatibility, limits, memory, clock, metrics }
    }

    /// Brings one notification to its provider, or says why that cannot be.
    ///
    /// What the provider reads is built before the future is made, and the notification is dropped: while it is on its way,
    /// only the built payload and a few words for the log are kept.
    pub fn deliver(&self, admitted: Admitted<Notification>) -> impl Future<Output = Outcome> + Send + '_ {
        // Not an async block, which would hold the other future twice.
        self.report(admitted, self.limits.deadline).map(|report| report.outcome)
    }

    /// The same, for a caller that has only this much time left, and wants to know more. The configured deadline holds as
    /// well.
    pub fn report(
        &self,
        admitted: Admitted<Notification>,
        within: Duration,
    ) -> impl Future<Output = Report> + Send + '_ {
        let mut begun = self.begin(&admitted);
        drop(admitted);
        let deadline = self.limits.deadline.min(within);
        async move {
            // Lent, not moved out: what is taken from a captured value keeps a second place in the future.
            match &mut begun {
                Begun::First { target, sender, prepared, subject, pending } => {
                    let run = self.attempt(target, sender, prepared, &deadline).await;
                    self.settle(target, subject, &run, pending.take())
                }
                Begun::Again { again, subject, target } => match again.take() {
                    // Boxed: it is rare, and each push in flight would hold the room for it.
                    Some(again) => Box::pin(self.repeat(again, subject, target, deadline)).await,
                    None => unreachable!("a future is not begun twice"),
                },
                Begun::Ended(report) => report.clone(),
            }
        }
    }

    /// Whether this was sent, or is being sent, already: it will wake no phone again.
    pub fn is_repeat(&self, notification: &Notification) -> bool {
        let Notification { server_id, device, .. } = notification;
        let id = id_to_remember(notification);
        self.memory.as_ref().is_some_and(|memory| memory.knows(server_id.as_str(), id, device.expose()))
    }

    /// What a phone's receipt means; `None` where nothing is remembered.
    pub fn receipt(&self, ack_id: &str) -> Option<Receipt> {
        self.memory.as_ref().map(|memory| memory.receipt(ack_id))
    }

    /// What is remembered, for metrics; `None` where nothing is.
    pub fn memory(&self) -> Option<MemoryState> {
        self.memory.as_ref().map(Memory::state)
    }

    /// The configured deadline of one notification.
    pub fn deadline(&self) -> Duration {
        self.limits.deadline
    }

    /// Whether there is a target of this name, be it one that could not be set up.
    pub fn knows(&self, target: &TargetName) -> bool {
        self.targets.contains_key(target) || self.is_left_out(target)
    }

    fn is_left_out(&self, target: &TargetName) -> bool {
        self.left_out.iter().any(|left_out| left_out.name == *target)
    }

    fn begin(&self, admitted: &Admitted<Notification>) -> Begun<'_> {
        let notification = admitted.get();
        let Some(target) = self.targets.get(&notification.target) else {
            self.metrics.bad_request();
            let is_left_out = self.is_left_out(&notification.target);
            let outcome = match notification.content {
                Content::Mattermost(_) => words::unknown_target(notification),
                Content::Native(_) => words::unknown_target_for_program(is_left_out),
            };
            let observed = admitted.observed().map(Refusal::label);
            let reason = Some(if is_left_out { LEFT_OUT } else { UNKNOWN_TARGET });
            let ending = Ending { outcome: &outcome, reason, observed, attempts: 0, took: Duration::ZERO };
            log::notification_line(&Subject::of(notification), &ending);
            let outcome = match self.compatibility_for(&notification.kind) {
                Compatibility::Improved => outcome,
                Compatibility::Strict => words::unknown_target_in_full(notification),
            };
            return Begun::Ended(Report { outcome, reason, may_be_repeated: false });
        };
        let platform = target.platform;
        // Google has no channel apart for calls, and the reference counts none.
        let transport = match platform {
            Platform::Apple => notification.transport,
            Platform::Android => Transport::Standard,
        };
        let subject = Remembered::of(admitted, transport);
        let pending = match self.claim(notification) {
            None => None,
            Some(Claim::First(pending)) => Some(pending),
            Some(Claim::Again(again)) => return Begun::Again { again: Some(again), subject, target },
        };
        self.metrics.notification(platform, &notification.kind, transport, notification.app_version);
        let sender = target.sender.load_full();
        let prepared = sender.prepare(notification);
        Begun::First { target, sender, prepared, subject, pending }
    }

    fn claim(&self, notification: &Notification) -> Option<Claim<'_>> {
        let Notification { server_id, device, .. } = notification;
        let id = id_to_remember(notification);
        self.memory.as_ref().map(|memory| memory.claim(server_id.as_str(), id, device.expose()))
    }

    /// The answer to a request that was sent, or is being sent, already. No phone is woken for it.
    async fn repeat(&self, again: Again<'_>, subject: &Remembered, target: &Target, within: Duration) -> Report {
        let was_in_flight = again.is_in_flight();
        let (outcome, answer) = match again.outcome(within).await {
            Ok(outcome) if was_in_flight => (outcome, "waited"),
            Ok(outcome) => (outcome, "remembered"),
            Err(NoOutcome::Lost) => (words::first_was_lost(), "lost"),
            Err(NoOutcome::Late) => (words::first_is_late(), "late"),
        };
        self.metrics.repeats().repeat(answer);
        let Remembered { ack_id, server, kind, .. } = subject;
        log::repeat_line(
            &Subject { ack_id, server: server.as_str(), target: target.name.as_str(), kind: kind.word() },
            answer,
        );
        let failed = matches!(outcome, Outcome::Failed { .. });
        Report { outcome, reason: Some(REPEATED), may_be_repeated: failed && was_in_flight }
    }

    /// The one metric and the one log line. The line says what happened, however little of it the caller may be told.
    fn settle(&self, target: &Target, subject: &Remembered, run: &Run, pending: Option<Pending<'_>>) -> Report {
        let platform = target.platform;
        let Remembered { ack_id, server, kind, transport, observed } = subject;
        let outcome = words::outcome(run, platform, &target.name);
        let reason = run.verdict.reason();
        match &outcome {
            Outcome::Delivered => self.metrics.success(platform, kind, *transport, subject.asks_for_receipt()),
            // Counted when it has left the queue.
            Outcome::Queued => {}
            Outcome::Remove => self.metrics.removal(platform, kind, *transport, reason.unwrap_or_default()),
            Outcome::Failed { .. } => {
                let reason = match self.compatibility_for(kind) {
                    Compatibility::Improved => reason,
                    Compatibility::Strict => words::reference_reason(run, platform),
                };
                self.metrics.failure(platform, kind, *transport, reason.unwrap_or_default());
            }
        }
        log::notification_line(
            &Subject { ack_id, server: server.as_str(), target: target.name.as_str(), kind: kind.word() },
            &Ending {
                outcome: &outcome,
                reason,
                observed: observed.map(Refusal::label),
                attempts: run.attempts,
                took: run.elapsed,
            },
        );
        let outcome = match self.compatibility_for(kind) {
            Compatibility::Improved => outcome,
            Compatibility::Strict => words::reference_outcome(outcome, run, platform),
        };
        if let Some(pending) = pending {
            pending.settle(&run.verdict, &outcome, subject.asks_for_receipt().then_some(platform));
        }
        Report { outcome, reason, may_be_repeated: matches!(run.verdict, Verdict::Retry { .. }) }
    }

    /// Programs have never spoken to the reference.
    fn compatibility_for(&self, kind: &PushKind) -> Compatibility {
        match kind {
            PushKind::Native(_) => Compatibility::Improved,
            _ => self.compatibility,
        }
    }

    async fn attempt(&self, target: &Target, sender: &Arc<Sender>, prepared: &Prepared, deadline: &Duration) -> Run {
        let started = self.clock.now();
        let mut tried = Tried { attempts: 0, credential_renewed: false, elapsed: Duration::ZERO };
        loop {
            let timeout = self.limits.attempt_timeout.min(deadline.saturating_sub(tried.elapsed));
            let Attempt { verdict, answered } = sender.attempt(prepared, timeout).await;
            let ended = self.clock.now();
            let attempt_took = (ended - started).saturating_sub(tried.elapsed);
            tried.attempts += 1;
            tried.elapsed = ended - started;
            target.metrics.attempt(&verdict, attempt_took);
            target.record(sender, &verdict);
            // Made anew: before the loop it would lie in the future of each push in flight while it waits.
            let limits = DeliverySettings { deadline: *deadline, ..self.limits.clone() };
            let Next::Attempt { after } = policy::next(&verdict, tried, &limits, fastrand::f64()) else {
                let verdict = target.settled(sender, verdict);
                return Run { verdict, answered, attempts: tried.attempts, elapsed: tried.elapsed };
            };
            tried.credential_renewed |= matches!(verdict, Verdict::NewCredential { .. });
            if !after.is_zero() {
                self.clock.sleep(after).await;
                tried.elapsed = self.clock.now() - started;
            }
        }
    }

    /// Sends to this target with another sender from now on; what is on its way goes on with the one that prepared it. What
    /// the attempts of the old one said is forgotten. `false` if there is no such target.
    pub fn replace_sender(&self, name: &TargetName, sender: Sender) -> bool {
        let Some(target) = self.targets.get(name) else { return false };
        target.sender.store(Arc::new(sender));
        target.health.forget();
        true
    }

    /// Whether the credentials in use cannot deliver: they are out of date, or the last attempt was refused for their sake.
    pub fn is_credential_useless(&self, name: &TargetName) -> bool {
        self.targets
            .get(name)
            .is_some_and(|target| target.sender.load().credential_problem().is_some() || target.health.is_broken())
    }

    /// Every target's state, sorted by name.
    pub fn readiness(&self) -> Vec<TargetReadiness> {
        let now = self.clock.unix_seconds();
        let mut all: Vec<_> = self
            .targets
            .iter()
            .map(|(name, target)| {
                let sender = target.sender.load();
                let expires_at = sender.credential_expires_at();
                TargetReadiness {
                    name: name.clone(),
                    platform: target.platform,
                    problem: sender.credential_problem().or_else(|| target.health.problem()),
                    left_out: false,
                    last: target.health.last(),
                    credential_expires_at: expires_at,
                    credential_days_left: expires_at.map(|end| days_left(end, now)),
                }
            })
            .chain(self.left_out.iter().map(|left_out| TargetReadiness {
                name: left_out.name.clone(),
                platform: left_out.platform,
                // What exactly is in the log: names of files are nothing for whoever reaches a probe.
                problem: Some(LEFT_OUT_PROBLEM.to_owned()),
                left_out: true,
                last: None,
                credential_expires_at: None,
                credential_days_left: None,
            }))
            .collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }
}

/// The id by which a repeat is known; empty if there is none. An unsigned test is remembered under none: anybody can name
/// one as a server's push will be named, and that push would be taken for its repeat.
fn id_to_remember(notification: &Notification) -> &str {
    let is_unsigned_test = notification.kind == PushKind::Test && notification.signature.expose().is_empty();
    if is_unsigned_test { "" } else { &notification.ack_id }
}

/// The push names a platform that is not configured.
const UNKNOWN_TARGET: Reason = "unknown_target";

/// What a probe is told of a target that could not be set up.
const LEFT_OUT_PROBLEM: &str = "could not be set up; an error line in the log says why";

/// The same request came before.
const REPEATED: Reason = "repeated";

/// The push names a target that could not be set up.
const LEFT_OUT: Reason = "target_left_out";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_whole_ones_and_negative_after_the_end() {
        const DAY: u64 = 24 * 60 * 60;
        let end = 1_000 * DAY;
        let cases = [
            (end - 30 * DAY, 30),
            (end - 30 * DAY + 1, 29),
            (end - DAY, 1),
            (end - DAY + 1, 0),
            (end, 0),
            (end + 1, -1),
            (end + DAY, -1),
            (end + DAY + 1, -2),
        ];
        for (now, expected) in cases {
            assert_eq!(days_left(end, now), expected, "{} s before the end", end.cast_signed() - now.cast_signed());
        }
        assert_eq!(days_left(u64::MAX, 0), i64::MAX / 86_400);
        assert_eq!(days_left(0, u64::MAX), -(i64::MAX / 86_400) - 1);
    }
}
