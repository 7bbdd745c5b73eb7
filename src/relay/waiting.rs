//! What outlives its caller's patience: it goes to disk before the caller hears OK.

use std::time::Duration;

use super::attempts::{Run, Stopped};
use super::memory::Pending;
use super::refusing::Refuses;
use super::target::Target;
use super::{Relay, Remembered};
use crate::delivery::breaker::Position;
use crate::delivery::lifetime;
use crate::delivery::policy::{self, Later, Queued};
use crate::delivery::removal_cause::is_ambiguous;
use crate::delivery::removal_guard::Ruling;
use crate::journal::Event;
use crate::notification::{Notification, PushKind, TargetName};
use crate::outcome::{Attempt, Outcome, ProviderId, Reason, Report, Verdict};
use crate::queue::{Enqueued, NewEntry, QueueError, Removed, Stats};
use crate::telemetry::log::{self, Ending, Subject};
use crate::telemetry::queue::Waiting;

/// How much longer than its replacement may take an entry is held back.
const HOLD_MARGIN: Duration = Duration::from_secs(5);

/// A notification that may have to wait on disk.
#[derive(Debug)]
pub(super) struct Kept {
    notification: Notification,
    /// Since the Unix epoch.
    accepted_at: Duration,
    /// Since the Unix epoch.
    expires_at: Duration,
}

impl Relay {
    /// How long a notification is worth delivering; `None` if its provider may keep it as long as it likes.
    pub(super) fn lifetime(&self, notification: &Notification) -> Option<Duration> {
        lifetime::lifetime(notification, &self.lifetimes)
    }

    /// What the queue would need of it, if there is one and waiting makes sense.
    pub(super) fn keep(&self, notification: Notification, lifetime: Option<Duration>) -> Option<Box<Kept>> {
        let accepted_at = self.queue.as_ref()?.now();
        let lifetime = lifetime.filter(|lifetime| !lifetime.is_zero())?;
        Some(Box::new(Kept { notification, accepted_at, expires_at: accepted_at + lifetime }))
    }

    /// Whether something may wait for this device that it makes needless. Costs a healthy target one look at a number.
    pub(super) fn may_supersede(&self, target: &Target, kept: &Kept) -> bool {
        self.queue.as_ref().is_some_and(|queue| queue.waiting(&target.name) > 0)
            && !matches!(kept.notification.kind, PushKind::Message | PushKind::Test | PushKind::Other(_))
    }

    /// Has what this makes needless wait while it is sent: an older badge must not come after a newer one, nor be lost for one
    /// that does not arrive.
    pub(super) async fn hold_back(&self, kept: &Kept) {
        let Some(queue) = &self.queue else { return };
        let until = queue.now() + self.limits.deadline + HOLD_MARGIN;
        if let Err(error) = queue.hold_back(&kept.notification, kept.accepted_at, until).await {
            self.queue_failed("hold_back", &error);
        }
    }

    /// Takes what this has made needless out of the queue.
    pub(super) async fn supersede(&self, kept: &Kept) {
        let Some(queue) = &self.queue else { return };
        match queue.supersede(&kept.notification, kept.accepted_at).await {
            Ok(removed) => self.superseded(&removed),
            Err(error) => self.queue_failed("supersede", &error),
        }
    }

    /// The word of the provider that ended the token's life while something to it waited: told once.
    /// What may as well be a mistake of ours is not told while removals are withheld.
    pub(super) fn found_dead(&self, target: &Target, notification: &Notification) -> Option<Reason> {
        let Notification { server_id, device, .. } = notification;
        let reason = self.queue.as_ref()?.take_dead(server_id, &target.name, device)?;
        let is_believed = !is_ambiguous(reason) || !target.withholds_removals();
        is_believed.then_some(reason)
    }

    /// Puts a notification on disk, and says OK only when it is there.
    pub(super) async fn put_on_disk(
        &self,
        target: &Target,
        subject: &Remembered,
        run: &Run,
        kept: Box<Kept>,
        pending: Option<Pending<'_>>,
    ) -> Report {
        let Some(queue) = &self.queue else { return self.settle(target, subject, run, pending) };
        let Kept { notification, accepted_at, expires_at } = *kept;
        let is_left_alone = target.breaker.state().position != Position::Closed;
        let Some(due_at) = self.due_at(run, expires_at, is_left_alone) else {
            return self.settle(target, subject, run, pending);
        };
        let entry = NewEntry {
            notification: &notification,
            urgency: lifetime::urgency(&notification),
            accepted_at,
            expires_at,
            due_at,
            attempts: run.attempts,
            reason: run.last.verdict.reason(),
        };
        let enqueued = queue.enqueue(entry).await;
        if enqueued.is_ok() {
            self.refusing.clear();
        }
        let mut is_pointless = false;
        match enqueued {
            Ok(Enqueued::Stored { superseded }) => self.superseded(&superseded),
            // The same request, from before a restart.
            Ok(Enqueued::AlreadyThere) => {}
            // As good as taken and replaced a moment later: told below, in that order.
            Ok(Enqueued::Pointless) => is_pointless = true,
            // No trouble of the queue: its line is the notification's own.
            Err(QueueError::Share { .. }) => {
                self.metrics.queue().failed("share");
                return self.settle(target, subject, &run.beyond_its_share(), pending);
            }
            Err(error) => {
                self.queue_failed("enqueue", &error);
                let Some(why) = Refuses::of(&error) else { return self.settle(target, subject, run, pending) };
                self.refusing.note(why, queue.now());
                return self.settle(target, subject, &run.refused_by_the_queue(why), pending);
            }
        }
        self.metrics.queue().enqueued(&target.name, run.why());
        let (outcome, reason) = (Outcome::Queued, run.last.verdict.reason());
        let ending = Ending {
            outcome: &outcome,
            reason,
            observed: subject.observed.map(crate::admission::Refusal::label),
            attempts: run.attempts,
            took: run.elapsed,
        };
        log::notification_line(&subject.subject(target), &ending);
        let queued = Event::Queued { reason, attempts: run.attempts, expires: expires_at };
        self.note(&subject.subject(target), &queued);
        if is_pointless {
            let waited = self.queue_time().saturating_sub(accepted_at);
            self.tell_superseded(&subject.subject(target), &target.name, run.attempts, reason, waited);
        }
        if let Some(pending) = pending {
            pending.settle(&run.last.verdict, &outcome, None);
        }
        Report { outcome, reason, may_be_repeated: false }
    }

    /// What the times of entries are compared with; see [`Queue::now`](crate::queue::Queue::now).
    pub(super) fn queue_time(&self) -> Duration {
        self.queue.as_ref().map_or_else(|| self.clock.unix(), crate::queue::Queue::now)
    }

    /// When what was not delivered is tried next, since the Unix epoch; `None` if its time is over before.
    fn due_at(&self, run: &Run, expires_at: Duration, is_left_alone: bool) -> Option<Duration> {
        let now = self.queue_time();
        let due_at = match run.stopped {
            // Not this notification's doing: the worker asks the same breaker and the same pace.
            Some(Stopped::Breaker | Stopped::Pace | Stopped::AskedFor) => now,
            // The breaker is open now: it says when.
            None if is_left_alone && matches!(run.last.verdict, Verdict::TargetBroken { .. }) => now,
            Some(Stopped::Shutdown | Stopped::Share | Stopped::Refused(_)) | None => {
                let queued =
                    Queued { attempts: run.attempts, credential_renewed: true, others_arrive: false, now, expires_at };
                match policy::later(&run.last.verdict, queued, fastrand::f64()) {
                    Later::At(due_at) => due_at,
                    Later::Settle | Later::Expires | Later::Bury(_) => return None,
                }
            }
        };
        (due_at < expires_at).then_some(due_at)
    }

    /// One line a minute for each operation: where one fails, thousands do.
    pub(super) fn queue_failed(&self, operation: &'static str, error: &QueueError) {
        self.metrics.queue().failed(operation);
        let Some(count) = self.refusing.say(operation, self.queue_time()) else { return };
        tracing::error!(operation, count, %error, "the queue on disk could not do its work");
    }

    /// A later notification has made these needless.
    pub(super) fn superseded(&self, removed: &[Removed]) {
        for one in removed {
            let waited = self.queue_time().saturating_sub(one.accepted_at);
            self.tell_superseded(&subject_of(one), &one.target, one.attempts, one.reason, waited);
        }
    }

    /// The end of one that a later notification has made needless. `waited` since it was accepted.
    pub(super) fn tell_superseded(
        &self,
        subject: &Subject<'_>,
        target: &TargetName,
        attempts: u32,
        reason: Option<Reason>,
        waited: Duration,
    ) {
        self.metrics.queue().settled(target, "superseded", 1);
        log::superseded_line(subject, attempts, reason, waited);
        self.note(subject, &Event::Superseded);
    }

    pub(super) fn note(&self, subject: &Subject<'_>, event: &Event<'_>) {
        if let Some(journal) = &self.journal {
            journal.note(subject, event);
        }
    }

    /// An attempt that is followed by another.
    pub(super) fn note_attempt(
        &self,
        target: &Target,
        subject: &Remembered,
        attempt: &Attempt,
        number: u32,
        took: Duration,
    ) {
        let (reason, provider_id) = (attempt.verdict.reason(), attempt.provider_id.as_ref());
        self.note(&subject.subject(target), &Event::Attempt { number, reason, provider_id, took });
    }

    pub(super) fn note_end(
        &self,
        subject: &Subject<'_>,
        ending: &Ending<'_>,
        ruling: Ruling,
        provider_id: Option<&ProviderId>,
    ) {
        let Ending { reason, attempts, took, .. } = *ending;
        if let (Ruling::Withheld, Some(reason)) = (ruling, reason) {
            self.note(subject, &Event::Withheld { reason });
        }
        let outcome = ending.outcome.word();
        self.note(subject, &Event::Ended { outcome, reason, provider_id, attempts, took });
    }

    /// What is on disk for a target.
    pub(super) fn waiting(&self, stats: &Stats, target: &TargetName) -> Waiting {
        let Some(own) = stats.targets.iter().find(|own| own.target == *target) else { return Waiting::default() };
        let oldest = own.oldest_accepted_at.map_or(Duration::ZERO, |at| self.queue_time().saturating_sub(at));
        Waiting { waiting: own.waiting, oldest, buried: own.buried }
    }
}

/// What a line says of one that left the queue without being sent.
pub(super) fn subject_of(removed: &Removed) -> Subject<'_> {
    Subject {
        ack_id: &removed.ack_id,
        server: &removed.server,
        target: removed.target.as_str(),
        kind: PushKind::of_word(&removed.kind).word(),
    }
}
