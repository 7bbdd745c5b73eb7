//! The attempts at one notification while its caller waits.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::patience;
use super::refusing::Refuses;
use super::room::Turn;
use super::target::Target;
use super::{Relay, Remembered};
use crate::delivery::DeliverySettings;
use crate::delivery::breaker::Pass;
use crate::delivery::policy::{self, Next, Tried};
use crate::delivery::removal_guard::Ruling;
use crate::delivery::without_queue;
use crate::outcome::{Attempt, Reason, Scope, Verdict};
use crate::sender::{NoWay, Prepared, Sender};

/// How the attempts at one notification went.
#[derive(Debug)]
pub(super) struct Run {
    /// The last one, or what kept it from being made.
    pub(super) last: Attempt,
    pub(super) attempts: u32,
    pub(super) elapsed: Duration,
    /// Why it was not tried, or not tried further.
    pub(super) stopped: Option<Stopped>,
    /// What becomes of the last verdict, where that had to be asked before it is told.
    pub(super) ruling: Option<Ruling>,
}

/// Why a notification was not tried, or not tried further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stopped {
    /// The target's breaker is open.
    Breaker,
    /// The provider's quota is met.
    Pace,
    /// The relay is about to end.
    Shutdown,
    /// The caller did not want to wait.
    AskedFor,
    /// So many of its server wait that the places which are left on disk are for others.
    Share,
    /// The queue takes nothing.
    Refused(Refuses),
}

/// The target is given less than there is.
const PACED: Reason = "quota_pace";

/// Nothing was tried yet, as the caller wished.
const ASKED_FOR: Reason = "respond_async";

/// Its server has filled its share of the queue.
const QUEUE_SHARE: Reason = "queue_share";

impl Run {
    /// Its token was found dead while an earlier notification to it waited on disk.
    pub(super) fn found_dead(reason: Reason) -> Self {
        Self::without_attempt(Verdict::Remove { reason, ambiguous: false }, None)
    }

    /// The provider is known to refuse it, and is not asked.
    pub(super) fn unfit(reason: Reason) -> Self {
        Self::without_attempt(Verdict::Rejected { reason }, None)
    }

    pub(super) fn asked_for_later() -> Self {
        let verdict = Verdict::Retry { reason: ASKED_FOR, after: None, scope: Scope::Target, unprocessed: true };
        Self::without_attempt(verdict, Some(Stopped::AskedFor))
    }

    fn without_attempt(verdict: Verdict, stopped: Option<Stopped>) -> Self {
        Self { last: Attempt::unanswered(verdict), attempts: 0, elapsed: Duration::ZERO, stopped, ruling: None }
    }

    fn stopped(verdict: Verdict, tried: Tried, stopped: Stopped) -> Self {
        let Tried { attempts, elapsed, .. } = tried;
        Self { last: Attempt::unanswered(verdict), attempts, elapsed, stopped: Some(stopped), ruling: None }
    }

    /// It was to wait on disk, and the places there are for other servers. Broken credentials are the better reason: they are
    /// why it was to wait.
    pub(super) fn beyond_its_share(&self) -> Self {
        self.kept_out(QUEUE_SHARE, Stopped::Share)
    }

    /// The same, and the queue took nothing.
    pub(super) fn refused_by_the_queue(&self, why: Refuses) -> Self {
        self.kept_out(why.reason(), Stopped::Refused(why))
    }

    fn kept_out(&self, reason: Reason, stopped: Stopped) -> Self {
        let (verdict, stopped) = match self.last.verdict {
            Verdict::Retry { after, scope, unprocessed, .. } => {
                (Verdict::Retry { reason, after, scope, unprocessed }, Some(stopped))
            }
            ref other => (other.clone(), self.stopped),
        };
        Self { last: Attempt { verdict, ..self.last.clone() }, stopped, ..*self }
    }

    /// Whether trying later may help: the trouble passes by itself, or an operator ends it.
    pub(super) fn may_wait(&self) -> bool {
        match self.last.verdict {
            Verdict::Retry { .. } | Verdict::TargetBroken { .. } | Verdict::NewCredential { .. } => true,
            Verdict::Delivered | Verdict::Remove { .. } | Verdict::Rejected { .. } => false,
        }
    }

    /// For a metric: why it went to the queue.
    pub(super) fn why(&self) -> &'static str {
        match (self.stopped, &self.last.verdict) {
            (Some(Stopped::Breaker), _) => "breaker",
            (Some(Stopped::Pace), _) => "quota",
            (Some(Stopped::Shutdown), _) => "shutdown",
            (Some(Stopped::AskedFor), _) => "asked_for",
            (Some(Stopped::Share), _) => "share",
            (Some(Stopped::Refused(why)), _) => why.reason(),
            (None, Verdict::TargetBroken { .. } | Verdict::NewCredential { .. }) => "credentials",
            (None, _) => "trouble",
        }
    }
}

/// What keeps a push from being tried when its target is given less than there is.
fn paced(wait: Duration) -> Verdict {
    Verdict::Retry { reason: PACED, after: Some(wait), scope: Scope::Quota, unprocessed: true }
}

impl Relay {
    /// Tries until the provider has decided or the deadline is near. One that `may_wait` on disk is given up for now as soon
    /// as waiting here makes no sense. Where there is no queue, waiting here is all there is: for the breaker and the pace as
    /// well.
    pub(super) async fn attempt(
        &self,
        target: &Target,
        sender: &Arc<Sender>,
        prepared: &Prepared,
        subject: &Remembered,
        deadline: &Duration,
        may_wait: bool,
    ) -> Run {
        let started = self.clock.now();
        let mut tried = Tried { attempts: 0, credential_renewed: false, elapsed: Duration::ZERO };
        // Each doubles the time that the next attempt gets.
        let mut timeouts = 0_u32;
        // One that has waited here goes on with it.
        let mut turn = None;
        loop {
            let probe = match target.breaker.admit() {
                Pass::Closed => None,
                Pass::Probe(probe) => Some(probe),
                Pass::Refused(refused) if self.queue.is_some() => {
                    return Run::stopped(refused.opened_by, tried, Stopped::Breaker);
                }
                Pass::Refused(refused) => {
                    drop(turn.take());
                    let until = without_queue::patience(&refused.opened_by, target.platform, *deadline);
                    // Boxed, here and below: it is rare, and each push in flight would hold the room for it.
                    turn = Box::pin(self.wait_in_room(target, refused.retry_in, until, &mut tried, started)).await;
                    if turn.is_none() {
                        return Run::stopped(refused.opened_by, tried, Stopped::Breaker);
                    }
                    continue;
                }
            };
            if let Err(wait) = target.pace.admit(self.clock.now()) {
                if self.queue.is_none() {
                    drop((probe, turn.take()));
                    turn = Box::pin(self.wait_in_room(target, wait, *deadline, &mut tried, started)).await;
                    if turn.is_some() {
                        continue;
                    }
                    return Run::stopped(paced(wait), tried, Stopped::Pace);
                }
                if may_wait || tried.elapsed.saturating_add(wait) >= *deadline {
                    return Run::stopped(paced(wait), tried, Stopped::Pace);
                }
                drop(probe);
                self.clock.sleep(wait).await;
                tried.elapsed = self.clock.now() - started;
                continue;
            }
            let left = deadline.saturating_sub(tried.elapsed);
            let patience = patience::direct(&self.limits, timeouts, left);
            let began = started + tried.elapsed;
            // One that may wait on disk need not wait for a connection. Where there is no queue it has pauses for that, and its
            // caller gets on when the way out refuses again and again.
            let no_way = if may_wait || self.queue.is_none() { NoWay::GiveUp } else { NoWay::Wait };
            let attempt = sender.attempt(prepared, patience, no_way).await;
            let ended = self.clock.now();
            let attempt_took = ended.saturating_duration_since(began);
            tried.attempts += 1;
            timeouts += u32::from(attempt.verdict.is_timeout());
            tried.elapsed = ended - started;
            target.metrics.attempt(&attempt.verdict, attempt_took);
            if let Some(span) = &subject.span {
                self.traces.attempt(span, &attempt, tried.attempts, attempt_took);
            }
            target.record(sender, subject.transport, &attempt, probe, began..ended, tried.attempts);
            turn = None;
            // Made anew: before the loop it would lie in the future of each push in flight while it waits.
            let limits = DeliverySettings { deadline: *deadline, ..self.limits.clone() };
            let next = if self.queue.is_some() {
                policy::next(&attempt.verdict, tried, &limits, fastrand::f64())
            } else {
                without_queue::next(&attempt, target.platform, tried, &limits, fastrand::f64())
            };
            let Next::Attempt { after } = next else {
                let Tried { attempts, elapsed, .. } = tried;
                let last = if tried.credential_renewed {
                    target.settled(sender, subject.transport, attempt, began..ended, tried.attempts)
                } else {
                    attempt
                };
                return Run { last, attempts, elapsed, stopped: None, ruling: None };
            };
            self.note_attempt(target, subject, &attempt, tried.attempts, attempt_took);
            tried.credential_renewed |= matches!(attempt.verdict, Verdict::NewCredential { .. });
            if !after.is_zero() && !self.pause(after, may_wait).await {
                return Run::stopped(attempt.verdict, tried, Stopped::Shutdown);
            }
            tried.elapsed = self.clock.now() - started;
        }
    }

    /// Waits for a target that lets nothing through now, until so long after the admission. `None` if that is too long.
    async fn wait_in_room<'a>(
        &self,
        target: &'a Target,
        wait: Duration,
        until: Duration,
        tried: &mut Tried,
        started: Instant,
    ) -> Option<Turn<'a>> {
        let within = until.saturating_sub(tried.elapsed);
        let turn = target.room.wait(wait, within, &self.clock).await;
        tried.elapsed = self.clock.now() - started;
        turn
    }

    /// Waits; less long if the relay is about to end and the notification can wait on disk instead. Says whether it waited.
    async fn pause(&self, pause: Duration, may_wait: bool) -> bool {
        if !may_wait {
            self.clock.sleep(pause).await;
            return true;
        }
        tokio::select! {
            biased;
            () = self.shutdown.begun() => false,
            () = self.clock.sleep(pause) => true,
        }
    }
}
