//! The tries at what waits on disk: one loop for each target, so that a slow one blocks no other.
//!
//! A loop takes only as many entries as it can try at once. Each is leased for longer than its attempt may take; what a dead
//! process had leased is free again at the next start. Should a lease end early all the same (the clock was set forward, the
//! process was stopped for a while), the loop still knows what it is trying: no entry is tried by two at once.

use std::collections::{HashSet, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Relay;
use super::patience;
use super::target::Target;
use super::waiting::subject_of;
use crate::delivery::breaker::{Pass, Position, Probe};
use crate::delivery::policy::{self, Later, Queued};
use crate::delivery::removal_cause::is_ambiguous;
use crate::delivery::removal_guard::Ruling;
use crate::journal::{Event, Told};
use crate::notification::{Notification, Platform, PushKind, TargetName, Transport};
use crate::outcome::{Attempt, Outcome, Reason, Verdict};
use crate::queue::{EntryId, Lease, Leased, Queue, QueueError, Removed, Settled, Settlement};
use crate::sender::NoWay;
use crate::telemetry::log::{Ending, Subject};

/// Entries of one target that are tried at once. At 50 ms an answer they drain some 2,500 a second; each holds a payload of at
/// most 5 KiB and a stream of one of the target's connections, which direct pushes use too.
const AT_ONCE: usize = 128;

/// How often, while a target is left alone, what is over is dropped and what is soon over is looked for.
const LOOK_EVERY: Duration = Duration::from_secs(3);

/// What is over in less than this, and before its target will be asked again, is tried before: 10 s, in which it is looked for
/// three times, and a success lets thousands follow.
const LAST_CHANCE: Duration = Duration::from_secs(10);

/// The most of those taken at one look. If the provider does not work, one is tried for all; if its quota is met, all are, which is
/// some five a second.
const LAST_CHANCES: usize = 16;

/// A lease that has dropped so many that are over has probably left some.
const MANY_DROPPED: usize = 250;

/// How many leases in a row only drop, while a target is left alone: at least 5,000 entries, and pushes come in between.
const MOST_DROPS: u32 = 10;

/// How often it is tried to write what became of an entry. Each try waits 10 s for another process that holds the file; meanwhile
/// the loop knows the entry, lease or not.
const MOST_WRITES: u32 = 3;

/// Entries looked at for a probe: one that was not tried before says more about the provider than one that has failed, and
/// fewer than so many that fail for ever keep no target closed.
const PROBES_LOOKED_AT: usize = 16;

/// What a lease is longer than the two attempts that it may take (the second with a new credential): for the disk.
const LEASE_MARGIN: Duration = Duration::from_secs(20);

/// The longest wait without a look at the queue and at the breaker: another process may have changed the former, and direct
/// pushes the latter.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// The shortest wait: what is due within it is due now, and no rounding makes a loop spin.
const SHORTEST_WAIT: Duration = Duration::from_millis(10);

/// It was in the queue when its time was over.
const EXPIRED: Reason = "expired";

/// It could not be read from the disk.
const DAMAGED: Reason = "damaged";

/// What the log says of one that expired.
const TOO_LATE: &str = "its time was over before the provider took it";

/// What the log says of one that is kept for an operator to look at.
const GIVEN_UP: &str = "it was given up; `pushrelay queue list --buried` shows it";

/// The worker had a bug while it tried the entry.
const PANICKED: Reason = "relay_bug";

impl Relay {
    /// Tries what waits on disk until the shutdown begins, and then finishes what it has taken.
    pub async fn work(self: &Arc<Self>) {
        if let Some(queue) = &self.queue {
            join_all(self.targets.keys().map(|name| self.work_for(queue, name))).await;
        }
    }

    async fn work_for(self: &Arc<Self>, queue: &Queue, name: &TargetName) {
        let target = &self.targets[name];
        let mut running = Running::default();
        while !self.shutdown.has_begun() {
            while let Some(ended) = running.tasks.try_join_next() {
                running.ended(ended.ok());
            }
            let wait = self.step(queue, target, &mut running).await;
            if wait.is_zero() {
                continue;
            }
            tokio::select! {
                () = self.shutdown.begun() => {}
                () = self.clock.sleep(wait.min(LONGEST_WAIT)) => {}
                () = queue.wait_for_work(name) => {}
                () = target.resumed.notified() => {}
                Some(ended) = running.tasks.join_next() => running.ended(ended.ok()),
            }
        }
        while running.tasks.join_next().await.is_some() {}
    }

    /// Takes what may be tried now and begins to. Says how long to wait before the next look.
    async fn step(self: &Arc<Self>, queue: &Queue, target: &Target, running: &mut Running) -> Duration {
        let free = AT_ONCE.saturating_sub(running.tasks.len());
        if free == 0 || queue.waiting(&target.name) == 0 {
            return LONGEST_WAIT;
        }
        let (probe, limit) = match target.breaker.admit() {
            Pass::Closed => (None, free),
            Pass::Probe(probe) => (Some(probe), PROBES_LOOKED_AT.min(free)),
            Pass::Refused(refused) => {
                return self.while_left_alone(queue, target, running, refused.retry_in).await;
            }
        };
        let limit = match target.pace.admit(self.clock.now()) {
            Ok(()) if target.pace.state(self.clock.now()).per_second.is_some() => 1,
            Ok(()) => limit,
            Err(wait) => {
                drop(probe);
                return self.while_left_alone(queue, target, running, wait).await;
            }
        };
        let lease = match queue.lease(&target.name, limit, self.leased_until(queue)).await {
            Ok(lease) => lease,
            Err(error) => {
                self.queue_failed("lease", &error);
                return LONGEST_WAIT;
            }
        };
        self.take_out(target, &lease);
        let took_none = lease.entries.is_empty();
        self.begin_to_try(target, lease.entries, probe, running).await;
        match lease.next_due {
            _ if !took_none => Duration::ZERO,
            Some(due) => due.saturating_sub(queue.now()).max(SHORTEST_WAIT),
            None => LONGEST_WAIT,
        }
    }

    /// Nothing is sent for so long. What is over goes all the same, and what will be over before is tried: whatever a provider
    /// says, a notification is not dropped without another try. Not at each look: a target that is left alone is looked at
    /// whenever something is put on disk for it. Says how long to wait before the next look.
    async fn while_left_alone(
        self: &Arc<Self>,
        queue: &Queue,
        target: &Target,
        running: &mut Running,
        for_so_long: Duration,
    ) -> Duration {
        let (now, wait) = (self.clock.now(), for_so_long.max(SHORTEST_WAIT));
        if running.looked_at.is_some_and(|at| now.saturating_duration_since(at) < LOOK_EVERY) {
            return wait;
        }
        running.looked_at = Some(now);
        let free = AT_ONCE.saturating_sub(running.tasks.len()).min(LAST_CHANCES);
        let ends_before = queue.now() + for_so_long.min(LAST_CHANCE);
        let lease = match queue.lease_ending(&target.name, free, ends_before, self.leased_until(queue)).await {
            Ok(lease) => lease,
            Err(error) => {
                self.queue_failed("lease", &error);
                return wait;
            }
        };
        self.take_out(target, &lease);
        self.drop_the_rest(queue, target, lease.expired.len()).await;
        self.begin_to_try(target, lease.entries, target.breaker.last_chance(), running).await;
        wait
    }

    /// Tries the one that was tried least and waits for its end, if there is a probe; begins to try the others, which go back if the
    /// breaker is still open.
    async fn begin_to_try(
        self: &Arc<Self>,
        target: &Target,
        entries: Vec<Leased>,
        probe: Option<Probe<'_>>,
        running: &mut Running,
    ) {
        let mut entries: VecDeque<_> =
            entries.into_iter().filter(|entry| !running.entries.contains(&entry.id)).collect();
        if let Some(probe) = probe {
            let least = entries.iter().enumerate().min_by_key(|(_, entry)| entry.attempts).map(|(place, _)| place);
            if let Some(entry) = least.and_then(|place| entries.remove(place)) {
                self.try_safely(target, entry, Some(probe)).await;
            }
        }
        for (place, entry) in entries.into_iter().enumerate() {
            // The first was counted above. Where there is a limit there are no others, unless it came this very moment or their
            // time is nearly over.
            if place > 0 {
                let _ = target.pace.admit(self.clock.now());
            }
            let (relay, name, id) = (Arc::clone(self), target.name.clone(), entry.id);
            running.entries.insert(id);
            running.tasks.spawn(async move {
                relay.try_safely(&relay.targets[&name], entry, None).await;
                id
            });
        }
    }

    /// A lease drops some hundreds that are over. Where it dropped many there are more, which take up room.
    async fn drop_the_rest(&self, queue: &Queue, target: &Target, mut dropped: usize) {
        for _ in 0..MOST_DROPS {
            if dropped < MANY_DROPPED {
                return;
            }
            match queue.lease(&target.name, 0, queue.now()).await {
                Ok(lease) => {
                    self.take_out(target, &lease);
                    dropped = lease.expired.len();
                }
                Err(error) => return self.queue_failed("lease", &error),
            }
        }
    }

    /// Until when what is leased now is.
    fn leased_until(&self, queue: &Queue) -> Duration {
        queue.now() + patience::longest(&self.limits) * 2 + LEASE_MARGIN
    }

    /// What a lease found to be of no more use.
    fn take_out(&self, target: &Target, lease: &Lease) {
        for damaged in &lease.undecodable {
            self.metrics.queue().settled(&target.name, "buried", 1);
            self.note(&subject_of(damaged), &Event::Buried { reason: Some(DAMAGED), attempts: damaged.attempts });
        }
        for expired in &lease.expired {
            self.expired(target, expired);
        }
        self.superseded(&lease.superseded);
    }

    /// A bug of ours must not take the loop with it, nor be met again and again.
    async fn try_safely(&self, target: &Target, entry: Leased, probe: Option<Probe<'_>>) {
        let id = entry.id;
        if let Some(settlement) = self.unwritten.take(id) {
            self.write(id, settlement).await;
            return;
        }
        let tried = AssertUnwindSafe(self.try_entry(target, entry, probe)).catch_unwind().await;
        if tried.is_err() {
            self.write(id, Settlement::Bury { reason: PANICKED }).await;
            self.metrics.queue().settled(&target.name, "buried", 1);
        }
    }

    async fn try_entry(&self, target: &Target, entry: Leased, probe: Option<Probe<'_>>) {
        let now = self.queue_time();
        // Between the lease and now others may have found out that the provider is gone.
        let mut probe = match probe {
            Some(probe) => Some(probe),
            None => match target.breaker.admit() {
                Pass::Closed => None,
                Pass::Probe(probe) => Some(probe),
                Pass::Refused(refused) => {
                    let reason = refused.opened_by.reason().unwrap_or_default();
                    let later = Settlement::Later { due_at: now, attempts: entry.attempts, reason };
                    self.write(entry.id, later).await;
                    return;
                }
            },
        };
        let sender = target.sender.load_full();
        let prepared = sender.prepare(&entry.notification, Some(entry.expires_at.saturating_sub(now)));
        let mut tried = Tried { attempts: entry.attempts, took: Duration::ZERO };
        let mut renewed = false;
        let transport = transport(target, &entry.notification);
        let attempt = loop {
            let started = self.clock.now();
            let attempt =
                sender.attempt(&prepared, patience::queued(&self.limits, tried.attempts), NoWay::GiveUp).await;
            let ended = self.clock.now();
            tried = Tried { attempts: tried.attempts + 1, took: ended - started };
            target.metrics.attempt(&attempt.verdict, tried.took);
            target.record(&sender, transport, &attempt, probe.take(), started..ended, tried.attempts);
            if matches!(attempt.verdict, Verdict::NewCredential { .. }) && !renewed {
                renewed = true;
                continue;
            }
            break target.settled(&sender, transport, attempt, started..ended, tried.attempts);
        };
        self.decide(target, &entry, &attempt, &tried).await;
    }

    async fn decide(&self, target: &Target, entry: &Leased, attempt: &Attempt, tried: &Tried) {
        let (now, verdict) = (self.queue_time(), &attempt.verdict);
        let reason = verdict.reason().unwrap_or_default();
        let ruling = self.rule(target, &Subject::of(&entry.notification), attempt).await;
        let (attempts, expires_at) = (tried.attempts, entry.expires_at);
        // A new credential was tried at once, in the same lease.
        let others_arrive = target.breaker.state().position == Position::Closed;
        let queued = Queued { attempts, credential_renewed: true, others_arrive, now, expires_at };
        let later = |verdict: &Verdict| policy::later(verdict, queued, fastrand::f64());
        let decided = match ruling {
            // Delivered when an operator has mended what made the provider refuse so many.
            Ruling::Withheld => later(&Verdict::TargetBroken { reason }),
            Ruling::Stands | Ruling::Believed { .. } => later(verdict),
        };
        let subject = Subject::of(&entry.notification);
        match decided {
            Later::At(due_at) => {
                let (number, provider_id) = (tried.attempts, attempt.provider_id.as_ref());
                let event = Event::Attempt { number, reason: Some(reason), provider_id, took: tried.took };
                self.note(&subject, &event);
                let later = Settlement::Later { due_at, attempts: tried.attempts, reason };
                if self.write(entry.id, later).await == Settled::Superseded {
                    self.tell_superseded(
                        &subject,
                        &target.name,
                        attempts,
                        Some(reason),
                        now.saturating_sub(entry.accepted_at),
                    );
                }
            }
            Later::Expires => {
                self.write(entry.id, Settlement::Done).await;
                self.note(&subject, &Event::Expired { reason: Some(reason), attempts });
                let took = now.saturating_sub(entry.accepted_at);
                let way = (&entry.notification.kind, transport(target, &entry.notification));
                self.tell_expired(&subject, target, way, Some(reason), attempts, took);
            }
            Later::Bury(reason) => {
                self.write(entry.id, Settlement::Bury { reason }).await;
                self.note(&subject, &Event::Buried { reason: Some(reason), attempts: tried.attempts });
                self.failed(target, entry, reason, tried, "buried");
            }
            Later::Settle => self.settle_entry(target, entry, attempt, tried).await,
        }
    }

    /// The provider has decided.
    async fn settle_entry(&self, target: &Target, entry: &Leased, attempt: &Attempt, tried: &Tried) {
        let Notification { kind, ack_id, .. } = &entry.notification;
        let (platform, transport) = (target.platform, transport(target, &entry.notification));
        let subject = Subject::of(&entry.notification);
        let (outcome, word) = match attempt.verdict {
            Verdict::Delivered => {
                let asks_for_receipt = !ack_id.is_empty() && !matches!(kind, PushKind::Native(_));
                self.metrics.success(platform, kind, transport, asks_for_receipt);
                if let Some(memory) = self.memory.as_ref().filter(|_| asks_for_receipt) {
                    memory.delivered_late(ack_id, platform);
                }
                self.write(entry.id, Settlement::Delivered).await;
                (Outcome::Delivered, "delivered")
            }
            Verdict::Remove { reason, .. } => {
                self.metrics.removal(platform, kind, transport, reason);
                // A word that may be a mistake of ours must not empty the queue.
                let others = !is_ambiguous(reason);
                if let Settled::WithOthers(gone) = self.write(entry.id, Settlement::Dead { reason, others }).await {
                    self.dead_with_it(&gone, reason);
                }
                (Outcome::Remove, "removed")
            }
            // What the provider will never take is kept for an operator, who may want to know why.
            Verdict::Rejected { reason }
            | Verdict::Retry { reason, .. }
            | Verdict::NewCredential { reason }
            | Verdict::TargetBroken { reason } => {
                self.write(entry.id, Settlement::Bury { reason }).await;
                self.note(&subject, &Event::Buried { reason: Some(reason), attempts: tried.attempts });
                return self.failed(target, entry, reason, tried, "rejected");
            }
        };
        self.metrics.queue().settled(&target.name, word, 1);
        let ending = self.ending(&outcome, attempt.verdict.reason(), entry, tried);
        self.tell(&subject, &ending);
        let provider_id = attempt.provider_id.as_ref();
        match attempt.verdict {
            // Its caller had its answer when it was put on disk, and hears of it only later.
            Verdict::Remove { reason, .. } => {
                let told = Told { provider_id, attempts: ending.attempts, took: ending.took };
                self.note(&subject, &Event::RemovedLate { reason, told: Some(told) });
            }
            _ => self.note_end(&subject, &ending, Ruling::Stands, provider_id),
        }
    }

    /// It has not arrived and will not.
    fn failed(&self, target: &Target, entry: &Leased, reason: Reason, tried: &Tried, word: &'static str) {
        let Notification { kind, .. } = &entry.notification;
        self.metrics.failure(target.platform, kind, transport(target, &entry.notification), reason);
        self.metrics.queue().settled(&target.name, word, 1);
        let outcome = Outcome::Failed { text: GIVEN_UP.into() };
        self.tell(&Subject::of(&entry.notification), &self.ending(&outcome, Some(reason), entry, tried));
    }

    fn ending<'a>(&self, outcome: &'a Outcome, reason: Option<Reason>, entry: &Leased, tried: &Tried) -> Ending<'a> {
        let took = self.queue_time().saturating_sub(entry.accepted_at);
        Ending { outcome, reason, observed: None, attempts: tried.attempts, took }
    }

    /// Its time was over before it could be tried again.
    fn expired(&self, target: &Target, expired: &Removed) {
        let (subject, took) = (subject_of(expired), self.queue_time().saturating_sub(expired.accepted_at));
        let Removed { attempts, reason, .. } = *expired;
        self.note(&subject, &Event::Expired { reason, attempts });
        let kind = PushKind::of_word(&expired.kind);
        self.tell_expired(&subject, target, (&kind, Transport::Standard), reason, attempts, took);
    }

    /// One reason for all that were too late; what the provider said last stands in the text.
    fn tell_expired(
        &self,
        subject: &Subject<'_>,
        target: &Target,
        (kind, transport): (&PushKind, Transport),
        last: Option<Reason>,
        attempts: u32,
        took: Duration,
    ) {
        self.metrics.queue().settled(&target.name, "expired", 1);
        self.metrics.failure(target.platform, kind, transport, EXPIRED);
        let text = match last {
            Some(last) => format!("{TOO_LATE}; the last attempt ended with {last}").into(),
            None => TOO_LATE.into(),
        };
        let outcome = Outcome::Failed { text };
        self.tell(subject, &Ending { outcome: &outcome, reason: Some(EXPIRED), observed: None, attempts, took });
    }

    /// What else waited for a device whose token is dead.
    fn dead_with_it(&self, gone: &[Removed], reason: Reason) {
        for one in gone {
            self.metrics.queue().settled(&one.target, "removed", 1);
            self.note(&subject_of(one), &Event::RemovedLate { reason, told: None });
        }
    }

    /// What cannot be written for as long as its lease holds leaves its entry leased. When the lease is over it is written again, and
    /// only a process that has ended meanwhile sends it again: twice is better than never.
    async fn write(&self, id: EntryId, settlement: Settlement) -> Settled {
        let Some(queue) = &self.queue else { return Settled::Gone };
        for _ in 0..MOST_WRITES {
            match queue.settle(id, settlement.clone()).await {
                Ok(settled) => {
                    // There is room again.
                    self.refusing.clear();
                    return settled;
                }
                Err(error) => {
                    self.queue_failed("settle", &error);
                    // Another process has held the file for those 10 s; anything else would be the same at once.
                    if !matches!(error, QueueError::Disk { .. }) {
                        break;
                    }
                }
            }
        }
        self.unwritten.keep(id, settlement);
        Settled::Gone
    }
}

/// What a loop is trying: at most [`AT_ONCE`] entries.
#[derive(Default)]
struct Running {
    tasks: JoinSet<EntryId>,
    entries: HashSet<EntryId>,
    /// When it was last looked for what is over, or soon will be, while the target was left alone.
    looked_at: Option<Instant>,
}

impl Running {
    /// Panics end inside of a task, and nobody aborts one: there always is an id.
    fn ended(&mut self, id: Option<EntryId>) {
        if let Some(id) = id {
            self.entries.remove(&id);
        }
    }
}

/// How the attempts at a queued entry stand.
struct Tried {
    /// Those made before it was put on disk included.
    attempts: u32,
    /// The last one.
    took: Duration,
}

/// Google has no channel apart for calls, and the reference counts none.
fn transport(target: &Target, notification: &Notification) -> Transport {
    match target.platform {
        Platform::Apple => notification.transport,
        Platform::Android => Transport::Standard,
    }
}
