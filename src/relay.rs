//! One notification's way: find its target, build what the provider reads, try within the deadline, say how it went.
//!
//! Takes only what was admitted, knows no HTTP, and counts and logs each notification once, at its end. Only a forced stop
//! cuts one off before: whoever asked for it may leave, and it goes on (`http::serve::to_its_end`).
//!
//! `target` is one app at a provider and what keeps it from being asked, `attempts` the tries while a caller waits, `room`
//! where pushes wait for their target if there is no queue, `waiting` what happens to those that outlive its patience, `worker` the tries at what waits on disk.

mod attempts;
mod health;
pub mod memory;
mod patience;
mod refusing;
mod removals;
mod room;
mod target;
mod unwritten;
mod waiting;
mod waits;
mod words;
mod worker;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;

use crate::admission::{Admitted, Refusal};
use crate::clock::Clock;
use crate::delivery::DeliverySettings;
use crate::delivery::breaker::BreakerSettings;
use crate::delivery::lifetime::LifetimeSettings;
use crate::delivery::removal_guard::{RemovalGuardSettings, Ruling, is_doubtful};
use crate::journal::{Event, Journal};
use crate::notification::{Compatibility, Content, Notification, Platform, PushKind, ServerId, TargetName, Transport};
use crate::outcome::{Outcome, Reason, Report, Verdict};
use crate::queue::Queue;
use crate::sender::{LeftOut, Prepared, Sender};
use crate::shutdown::Shutdown;
use crate::telemetry::log::{self, Ending, Subject};
use crate::telemetry::metrics::{Metrics, TargetFigures};
use crate::telemetry::traces::{self, Traces};
use attempts::Run;
pub use health::LastAttempt;
use memory::{Again, Claim, Memory, MemorySettings, MemoryState, NoOutcome, Pending, Receipt};
use refusing::Refusing;
pub use refusing::{QueueState, Refuses};
use removals::Removals;
use target::Target;
pub use target::{TargetReadiness, days_left};
use unwritten::Unwritten;
use waiting::Kept;
use waits::{Wait, Waits};

/// How a relay delivers.
#[derive(Clone, Debug)]
pub struct RelaySettings {
    /// How closely the reference is followed.
    pub compatibility: Compatibility,
    /// How hard to try while a caller waits.
    pub delivery: DeliverySettings,
    /// How far back repeats are known; absent where they are sent again and every receipt counts, as in the reference.
    pub memory: Option<MemorySettings>,
    /// How long each kind of notification is worth delivering.
    pub lifetimes: LifetimeSettings,
    /// When a target is left alone for a while.
    pub breaker: BreakerSettings,
    /// When removals of device tokens are withheld; absent if never.
    pub removal_guard: Option<RemovalGuardSettings>,
}

/// How many requests are in flight at once where nobody says: the default of `http.max_in_flight`.
const PLACES: usize = 10_000;

/// Delivers what was admitted.
#[derive(Debug)]
pub struct Relay {
    targets: HashMap<TargetName, Target>,
    left_out: Vec<LeftOut>,
    compatibility: Compatibility,
    limits: DeliverySettings,
    lifetimes: LifetimeSettings,
    memory: Option<Memory>,
    waits: Waits,
    unwritten: Unwritten,
    memory_settings: Option<MemorySettings>,
    /// Absent where nothing survives the process: the answer is the provider's then.
    queue: Option<Queue>,
    refusing: Refusing,
    /// Absent where nobody can ask what became of a notification.
    journal: Option<Journal>,
    /// Absent where what was believed of dead device tokens is forgotten with the process.
    removals: Option<Removals>,
    clock: Clock,
    metrics: Arc<Metrics>,
    /// Takes nothing unless it is configured.
    traces: Traces,
    shutdown: Shutdown,
}

/// When a notification is to be tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// At once, while the caller waits this long at the most. The configured deadline holds as well.
    Now(Duration),
    /// Later: the caller waits only until it is on disk. Where there is no queue, within the configured deadline.
    Later,
}

/// What is still needed of a notification when its payload has been built.
struct Remembered {
    ack_id: Box<str>,
    server: ServerId,
    kind: PushKind,
    transport: Transport,
    observed: Option<Refusal>,
    /// Boxed, and there only if it is traced: each push in flight holds the room for it.
    span: Option<Box<traces::Open>>,
}

impl Remembered {
    fn of(notification: &Notification, observed: Option<Refusal>, transport: Transport) -> Self {
        Self {
            ack_id: log::bounded(&notification.ack_id).into(),
            server: notification.server_id.clone(),
            kind: notification.kind.clone(),
            transport,
            observed,
            span: None,
        }
    }

    /// A program's id names its message; only Mattermost's phones send receipts for it.
    fn asks_for_receipt(&self) -> bool {
        !self.ack_id.is_empty() && !matches!(self.kind, PushKind::Native(_))
    }

    fn subject<'a>(&'a self, target: &'a Target) -> Subject<'a> {
        Subject {
            ack_id: &self.ack_id,
            server: self.server.as_str(),
            target: target.name.as_str(),
            kind: self.kind.word(),
        }
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
        /// What the queue would need; absent where there is none, and for what is not worth keeping.
        kept: Option<Box<Kept>>,
    },
    /// It was sent, or is being sent: answer as that ends.
    Again { again: Option<Again<'a>>, subject: Remembered, target: &'a Target, _wait: Option<Wait<'a>> },
    /// Nothing: it cannot be sent.
    Ended(Report),
}

impl Relay {
    /// Takes the senders over. Their names are unique, those of `left_out` included: the configuration saw to it.
    #[allow(clippy::too_many_arguments, reason = "the parts of a relay, wired in one place")]
    pub fn new(
        senders: Vec<(TargetName, Sender)>,
        left_out: Vec<LeftOut>,
        settings: RelaySettings,
        queue: Option<Queue>,
        journal: Option<Journal>,
        clock: Clock,
        metrics: Arc<Metrics>,
        shutdown: Shutdown,
    ) -> Self {
        let RelaySettings { compatibility, delivery, memory, lifetimes, breaker, removal_guard } = settings;
        let memory_settings = memory;
        let memory = memory.map(|settings| Memory::new(settings, clock.clone()));
        let targets = senders
            .into_iter()
            .map(|(name, sender)| {
                let (guard, has_queue) = (removal_guard.as_ref(), queue.is_some());
                let target = Target::new(name.clone(), sender, &breaker, guard, has_queue, &clock, &metrics);
                (name, target)
            })
            .collect();
        let limits = delivery;
        Self {
            targets,
            left_out,
            compatibility,
            limits,
            lifetimes,
            memory,
            waits: Waits::among(PLACES),
            unwritten: Unwritten::default(),
            memory_settings,
            queue,
            refusing: Refusing::default(),
            journal,
            removals: None,
            clock,
            metrics,
            traces: Traces::default(),
            shutdown,
        }
    }

    /// For an edge that lets so many requests in at once.
    #[must_use]
    pub fn among(self, places: usize) -> Self {
        Self { waits: Waits::among(places), ..self }
    }

    /// Remembers in this directory what was sent, so that it is known after a restart. Before anything is sent.
    #[must_use]
    pub fn remembering_in(mut self, data_dir: &Path) -> Self {
        self.memory = self.memory_settings.map(|settings| Memory::kept(settings, &self.clock, data_dir));
        self
    }

    /// Has on disk what is remembered. Blocks: for the end of the process.
    pub fn close_memory(&self) {
        if let Some(memory) = &self.memory {
            memory.close();
        }
    }

    /// With a span for each notification.
    #[must_use]
    pub fn traced(self, traces: Traces) -> Self {
        Self { traces, ..self }
    }

    /// Where spans go.
    pub fn traces(&self) -> &Traces {
        &self.traces
    }

    /// Brings one notification to its provider, or says why that cannot be.
    ///
    /// What the provider reads is built before the future is made, and the notification is dropped: while it is on its way,
    /// only the built payload and a few words for the log are kept, and the notification itself if there is a queue that it
    /// may have to wait in.
    pub fn deliver(&self, admitted: Admitted<Notification>) -> impl Future<Output = Outcome> + Send + '_ {
        // Not an async block, which would hold the other future twice.
        self.report(admitted, When::Now(self.limits.deadline)).map(|report| report.outcome)
    }

    /// The same, for a caller that has only so much time, and wants to know more.
    pub fn report(&self, admitted: Admitted<Notification>, when: When) -> impl Future<Output = Report> + Send + '_ {
        let (mut begun, life) = self.begin(admitted);
        let (deadline, later) = match when {
            When::Now(within) => (self.limits.deadline.min(within), false),
            When::Later => (self.limits.deadline, true),
        };
        // Not tried for longer than it is of use; what is to arrive now or never has no such time.
        let deadline = life.filter(|life| !life.is_zero()).map_or(deadline, |life| deadline.min(life));
        async move {
            // Lent, not moved out: what is taken from a captured value keeps a second place in the future.
            match &mut begun {
                Begun::First { target, sender, prepared, subject, pending, kept } => {
                    // Boxed, here and below: it is rare, and each push in flight would hold the room for it.
                    let mut run = if later && kept.is_some() {
                        Run::asked_for_later()
                    } else {
                        if let Some(kept) = kept.as_deref().filter(|kept| self.may_supersede(target, kept)) {
                            Box::pin(self.hold_back(kept)).await;
                        }
                        self.attempt(target, sender, prepared, subject, &deadline, kept.is_some()).await
                    };
                    // Asked again: what was accepted before may have come to the disk meanwhile.
                    if run.last.verdict == Verdict::Delivered
                        && let Some(kept) = kept.as_deref().filter(|kept| self.may_supersede(target, kept))
                    {
                        Box::pin(self.supersede(kept)).await;
                    }
                    if is_doubtful(&run.last) {
                        run.ruling = Some(Box::pin(self.rule(target, &subject.subject(target), &run.last)).await);
                    }
                    let report = match kept.take().filter(|_| run.may_wait()) {
                        Some(kept) => Box::pin(self.put_on_disk(target, subject, &run, kept, pending.take())).await,
                        None => self.settle(target, subject, &run, pending.take()),
                    };
                    self.end_span(subject, target, report)
                }
                Begun::Again { again, subject, target, .. } => match again.take() {
                    Some(again) => {
                        let report = Box::pin(self.repeat(again, subject, target, deadline)).await;
                        self.end_span(subject, target, report)
                    }
                    None => unreachable!("a future is not begun twice"),
                },
                Begun::Ended(report) => report.clone(),
            }
        }
    }

    fn end_span(&self, subject: &Remembered, target: &Target, report: Report) -> Report {
        if let Some(span) = &subject.span {
            self.traces.end(span, &subject.subject(target), &report);
        }
        report
    }

    /// Whether this was sent, or is being sent, already: it will wake no phone again.
    pub fn is_repeat(&self, notification: &Notification) -> bool {
        let Notification { server_id, device, .. } = notification;
        let id = id_to_remember(notification);
        self.memory.as_ref().is_some_and(|memory| memory.knows(server_id.as_str(), id, &device.phone()))
    }

    /// What a phone's receipt means; `None` where nothing is remembered.
    pub fn receipt(&self, ack_id: &str) -> Option<Receipt> {
        let receipt = self.memory.as_ref()?.receipt(ack_id);
        if let Receipt::Sent { .. } = receipt {
            // Who sent it where is in the other lines of the same id.
            self.note(&Subject { ack_id, server: "", target: "", kind: "" }, &Event::Receipt);
        }
        Some(receipt)
    }

    /// What is remembered, for metrics; `None` where nothing is.
    pub fn memory(&self) -> Option<MemoryState> {
        self.memory.as_ref().map(Memory::state)
    }

    /// The configured deadline of one notification.
    pub fn deadline(&self) -> Duration {
        self.limits.deadline
    }

    /// Whether what cannot be delivered now can wait on disk: there is a queue, and it has not refused anything of late.
    pub fn takes_entries(&self) -> bool {
        self.queue_state() == QueueState::Takes
    }

    /// Whether there is a queue, and whether it takes what is to wait.
    pub fn queue_state(&self) -> QueueState {
        let Some(queue) = &self.queue else { return QueueState::Absent };
        let why = if queue.gone().is_some() { Some(Refuses::Unusable) } else { self.refusing.now(queue.now()) };
        why.map_or(QueueState::Takes, QueueState::Refuses)
    }

    /// Whether there is a target of this name, be it one that could not be set up.
    pub fn knows(&self, target: &TargetName) -> bool {
        self.targets.contains_key(target) || self.is_left_out(target)
    }

    fn is_left_out(&self, target: &TargetName) -> bool {
        self.left_out.iter().any(|left_out| left_out.name == *target)
    }

    /// What is to be done, and for how long it is of use.
    fn begin(&self, admitted: Admitted<Notification>) -> (Begun<'_>, Option<Duration>) {
        let observed = admitted.observed();
        let notification = admitted.into_inner();
        let Some(target) = self.targets.get(&notification.target) else {
            return (Begun::Ended(self.without_target(&notification, observed)), None);
        };
        // Google has no channel apart for calls, and the reference counts none.
        let transport = match target.platform {
            Platform::Apple => notification.transport,
            Platform::Android => Transport::Standard,
        };
        let mut subject = Remembered::of(&notification, observed, transport);
        subject.span = self.traces.open();
        let pending = match self.claim(&notification) {
            None => None,
            Some(Claim::First(pending)) => Some(pending),
            Some(Claim::Again(again)) => return (self.begin_again(again, subject, target), None),
        };
        let found_dead = self.found_dead(target, &notification);
        if found_dead.is_none() && self.waited_before(&notification) {
            return (Begun::Ended(self.repeat_of_earlier(target, &subject, pending)), None);
        }
        self.metrics.notification(target.platform, &notification.kind, transport, notification.app_version);
        if let Some(reason) = found_dead {
            let run = Run::found_dead(reason);
            return (Begun::Ended(self.settle(target, &subject, &run, pending)), None);
        }
        let sender = target.sender.load_full();
        let lifetime = self.lifetime(&notification);
        let prepared = sender.prepare(&notification, lifetime);
        if let Some(reason) = prepared.unfit() {
            // Whatever keeps it from being tried now: it must not go to the disk, to fail there when nobody listens.
            let report = self.settle(target, &subject, &Run::unfit(reason), pending);
            return (Begun::Ended(self.end_span(&subject, target, report)), None);
        }
        let kept = self.keep(notification, lifetime);
        (Begun::First { target, sender, prepared, subject, pending, kept }, lifetime)
    }

    fn without_target(&self, notification: &Notification, observed: Option<Refusal>) -> Report {
        self.metrics.bad_request();
        let is_left_out = self.is_left_out(&notification.target);
        let outcome = match notification.content {
            Content::Mattermost(_) => words::unknown_target(notification),
            Content::Native(_) => words::unknown_target_for_program(is_left_out),
        };
        let observed = observed.map(Refusal::label);
        let reason = Some(if is_left_out { LEFT_OUT } else { UNKNOWN_TARGET });
        let ending = Ending { outcome: &outcome, reason, observed, attempts: 0, took: Duration::ZERO };
        self.tell(&Subject::of(notification), &ending);
        let outcome = match self.compatibility_for(&notification.kind) {
            Compatibility::Improved => outcome,
            Compatibility::Strict => words::unknown_target_in_full(notification),
        };
        Report { outcome, reason, may_be_repeated: false }
    }

    fn claim(&self, notification: &Notification) -> Option<Claim<'_>> {
        let Notification { server_id, device, .. } = notification;
        let id = id_to_remember(notification);
        self.memory.as_ref().map(|memory| memory.claim(server_id.as_str(), id, &device.phone()))
    }

    /// Whether a repeat may wait for the first one's outcome, if there is none yet.
    fn begin_again<'a>(&'a self, again: Again<'a>, subject: Remembered, target: &'a Target) -> Begun<'a> {
        let wait = again.is_in_flight().then(|| self.waits.enter(&subject.server));
        if let Some(None) = wait {
            self.tell_of_repeat(target, &subject, "turned_away");
            let report = Report { outcome: words::too_many_wait(), reason: Some(REPEATED), may_be_repeated: true };
            return Begun::Ended(self.end_span(&subject, target, report));
        }
        Begun::Again { again: Some(again), subject, target, _wait: wait.flatten() }
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
        self.tell_of_repeat(target, subject, answer);
        let failed = matches!(outcome, Outcome::Failed { .. });
        Report { outcome, reason: Some(REPEATED), may_be_repeated: failed && was_in_flight }
    }

    /// Whether the same request waited on disk when this process began. Only where repeats are known at all.
    fn waited_before(&self, notification: &Notification) -> bool {
        self.memory.is_some()
            && !id_to_remember(notification).is_empty()
            && self.queue.as_ref().is_some_and(|queue| queue.had(notification))
    }

    /// The answer to a request that an earlier process has taken. From now on the memory has it.
    fn repeat_of_earlier(&self, target: &Target, subject: &Remembered, pending: Option<Pending<'_>>) -> Report {
        self.tell_of_repeat(target, subject, "remembered");
        let outcome = Outcome::Queued;
        if let Some(pending) = pending {
            pending.settle(&Run::asked_for_later().last.verdict, &outcome, None);
        }
        Report { outcome, reason: Some(REPEATED), may_be_repeated: false }
    }

    fn tell_of_repeat(&self, target: &Target, subject: &Remembered, answer: &'static str) {
        self.metrics.repeats().repeat(answer);
        log::repeat_line(&subject.subject(target), answer);
        self.note(&subject.subject(target), &Event::Repeat { answer });
    }

    /// The one metric and the one log line. The line says what happened, however little of it the caller may be told.
    fn settle(&self, target: &Target, subject: &Remembered, run: &Run, pending: Option<Pending<'_>>) -> Report {
        let (platform, verdict) = (target.platform, &run.last.verdict);
        let reason = verdict.reason();
        let Remembered { kind, transport, observed, .. } = subject;
        let ruling = run.ruling.unwrap_or_else(|| target.rule(&run.last, self.clock.now()));
        let outcome = match &ruling {
            Ruling::Stands | Ruling::Believed { .. } => words::outcome(run, platform, &target.name),
            Ruling::Withheld => words::withheld(platform, &target.name, reason.unwrap_or_default()),
        };
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
        let ending = Ending {
            outcome: &outcome,
            reason,
            observed: observed.map(Refusal::label),
            attempts: run.attempts,
            took: run.elapsed,
        };
        self.tell(&subject.subject(target), &ending);
        self.note_end(&subject.subject(target), &ending, ruling, run.last.provider_id.as_ref());
        let outcome = match (self.compatibility_for(kind), &ruling) {
            // The reference withholds nothing, so it has no words for it.
            (Compatibility::Improved, _) | (Compatibility::Strict, Ruling::Withheld) => outcome,
            (Compatibility::Strict, Ruling::Stands | Ruling::Believed { .. }) => {
                words::reference_outcome(outcome, run, platform)
            }
        };
        if let Some(pending) = pending {
            pending.settle(verdict, &outcome, subject.asks_for_receipt().then_some(platform));
        }
        Report { outcome, reason, may_be_repeated: matches!(verdict, Verdict::Retry { .. }) }
    }

    /// The line of a notification that has ended, and a place among the last failures if that is what it is.
    fn tell(&self, subject: &Subject<'_>, ending: &Ending<'_>) {
        log::notification_line(subject, ending);
        if let Outcome::Failed { text } = ending.outcome {
            self.metrics.failures().note(subject, ending.reason.unwrap_or_default(), text);
        }
    }

    /// Programs have never spoken to the reference.
    fn compatibility_for(&self, kind: &PushKind) -> Compatibility {
        match kind {
            PushKind::Native(_) => Compatibility::Improved,
            _ => self.compatibility,
        }
    }

    /// Sends to this target with another sender from now on; what is on its way goes on with the one that prepared it. What
    /// the attempts of the old one said is forgotten. `false` if there is no such target.
    pub fn replace_sender(&self, name: &TargetName, sender: Sender) -> bool {
        let Some(target) = self.targets.get(name) else { return false };
        target.replace_sender(sender);
        true
    }

    /// Whether the credentials in use cannot deliver: they are out of date, or the last attempt was refused for their sake.
    pub fn is_credential_useless(&self, name: &TargetName) -> bool {
        self.targets
            .get(name)
            .is_some_and(|target| target.sender.load().credential_problem().is_some() || target.health.is_broken())
    }

    /// What was counted of every target that is set up, and how many notifications wait on disk for it; sorted by name, and
    /// always the same targets. Cheap enough for each second: it takes no lock that sending takes.
    pub fn figures(&self) -> Vec<(TargetName, TargetFigures, u64)> {
        let waiting = |name: &TargetName| self.queue.as_ref().map_or(0, |queue| queue.waiting(name));
        let all = self.targets.values();
        let mut all: Vec<_> =
            all.map(|target| (target.name.clone(), target.metrics.figures(), waiting(&target.name))).collect();
        all.sort_by(|one, other| one.0.cmp(&other.0));
        all
    }

    /// Every target's state, sorted by name.
    pub fn readiness(&self) -> Vec<TargetReadiness> {
        let left_out = self.left_out.iter().map(|left_out| TargetReadiness::left_out(left_out, LEFT_OUT_PROBLEM));
        let stats = self.queue.as_ref().map(Queue::stats);
        let waiting = |target: &Target| stats.as_ref().map(|stats| self.waiting(stats, &target.name));
        let mut all: Vec<_> =
            self.targets.values().map(|target| target.readiness(waiting(target))).chain(left_out).collect();
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
