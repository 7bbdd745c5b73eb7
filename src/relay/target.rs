//! One configured target as the relay sees it: who sends, how it has been of late, and what keeps it from being asked.
//!
//! The decisions are in `delivery`; this module asks for them and tells the operator when one changes something.

use std::ops::Range;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::health::{Health, LastAttempt};
use super::room::Room;
use crate::clock::Clock;
use crate::delivery::breaker::{self, Breaker, BreakerSettings, BreakerState, Position, Probe, Why};
use crate::delivery::pace::{self, Pace};
use crate::delivery::removal_cause::{Cause, likely_cause};
use crate::delivery::removal_guard::{self, GuardState, RemovalGuard, RemovalGuardSettings, Ruling, Withholding};
use crate::delivery::without_queue;
use crate::notification::{Platform, TargetName, Transport};
use crate::outcome::{Attempt, Verdict};
use crate::sender::{LeftOut, Sender};
use crate::telemetry::metrics::{Metrics, TargetMetrics};
use crate::telemetry::queue::Waiting;

/// An app at a provider.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) name: TargetName,
    pub(super) platform: Platform,
    /// Replaced when its credentials are: what was prepared by one is attempted by the same one.
    pub(super) sender: ArcSwap<Sender>,
    pub(super) health: Health,
    pub(super) breaker: Breaker,
    /// Absent if removals are never withheld.
    pub(super) guard: Option<RemovalGuard>,
    pub(super) pace: Pace,
    pub(super) metrics: TargetMetrics,
    /// Where pushes wait that cannot wait on disk.
    pub(super) room: Room,
    /// Told when the target may be asked again: what waits on disk need not wait for its probe.
    pub(super) resumed: Notify,
    counts: Arc<Metrics>,
    clock: Clock,
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
    /// Whether it is asked, and why not.
    pub breaker: BreakerState,
    /// Why removals of device tokens are withheld now, in words; `None` if they are not.
    pub removals_withheld: Option<String>,
    /// Notifications a second that it is given since its provider's quota was met; `None` if as many as there are.
    pub rate_limit: Option<f64>,
    /// What waits for it on disk; `None` without a queue.
    pub waiting: Option<Waiting>,
}

impl TargetReadiness {
    pub(super) fn left_out(left_out: &LeftOut, problem: &str) -> Self {
        Self {
            name: left_out.name.clone(),
            platform: left_out.platform,
            // What exactly is in the log: names of files are nothing for whoever reaches a probe.
            problem: Some(problem.to_owned()),
            left_out: true,
            last: None,
            credential_expires_at: None,
            credential_days_left: None,
            breaker: BreakerState::default(),
            removals_withheld: None,
            rate_limit: None,
            waiting: None,
        }
    }
}

/// Whole days until `end`, negative after it: 0 on the last day, -1 on the first one after. Both in seconds after the Unix
/// epoch.
pub fn days_left(end: u64, now: u64) -> i64 {
    const DAY: i64 = 24 * 60 * 60;
    let seconds = |time: u64| i64::try_from(time).unwrap_or(i64::MAX);
    seconds(end).saturating_sub(seconds(now)).div_euclid(DAY)
}

impl Target {
    pub(super) fn readiness(&self, waiting: Option<Waiting>) -> TargetReadiness {
        let sender = self.sender.load();
        let expires_at = sender.credential_expires_at();
        let (now, breaker) = (self.clock.now(), self.breaker.state());
        TargetReadiness {
            name: self.name.clone(),
            platform: self.platform,
            problem: sender.credential_problem().or_else(|| self.health.problem()).or_else(|| left_alone(&breaker)),
            left_out: false,
            last: self.health.last(),
            credential_expires_at: expires_at,
            credential_days_left: expires_at.map(|end| days_left(end, self.clock.unix_seconds())),
            breaker,
            removals_withheld: self.guard.as_ref().and_then(|guard| withholding(guard, now)),
            rate_limit: self.pace.state(now).per_second,
            waiting,
        }
    }

    pub(super) fn new(
        name: TargetName,
        sender: Sender,
        breaker: &BreakerSettings,
        guard: Option<&RemovalGuardSettings>,
        has_queue: bool,
        clock: &Clock,
        counts: &Arc<Metrics>,
    ) -> Self {
        let platform = sender.platform();
        let (breaker, stop) = if has_queue {
            (breaker.clone(), pace::Stop::Whole)
        } else {
            (without_queue::breaker(breaker), pace::Stop::Probed)
        };
        Self {
            metrics: counts.target(&name, platform),
            name,
            platform,
            sender: ArcSwap::from_pointee(sender),
            health: Health::new(clock.clone()),
            breaker: Breaker::new(breaker, clock.clone()),
            guard: guard.map(|settings| RemovalGuard::new(settings.clone(), clock.now(), clock.unix())),
            pace: Pace::new(stop, clock.now()),
            room: Room::new(),
            resumed: Notify::new(),
            counts: Arc::clone(counts),
            clock: clock.clone(),
        }
    }

    /// Takes note of an attempt, the `number`th at its push, made from when to when, and tells an operator when it changes whether the target is asked. With a `probe`, the attempt
    /// was the one that was to find that out.
    /// What a sender met that has been replaced says nothing about its successor.
    /// Nor does it say anything about other pushes that the provider does not let us send calls: their topic is another one,
    /// which a certificate may lack.
    pub(super) fn record(
        &self,
        sender: &Arc<Sender>,
        transport: Transport,
        attempt: &Attempt,
        probe: Option<Probe<'_>>,
        during: Range<Instant>,
        number: u32,
    ) {
        let is_about_calls = transport == Transport::Voip && matches!(attempt.verdict, Verdict::TargetBroken { .. });
        if is_about_calls || !Arc::ptr_eq(&self.sender.load(), sender) {
            return;
        }
        self.health.record(&attempt.verdict, breaker::counts(attempt, number));
        self.tell_of_pace(self.pace.record(attempt, during.clone()));
        self.tell_of_breaker(match probe {
            Some(probe) => probe.report(attempt, number),
            None => self.breaker.record(attempt, during, number),
        });
    }

    fn tell_of_breaker(&self, turn: breaker::Turn) {
        let target = self.name.as_str();
        match turn {
            breaker::Turn::None => {}
            breaker::Turn::Opened { reason, why: Why::Credentials, pause } => {
                self.counts.queue().breaker_opened(&self.name, "credentials");
                tracing::error!(
                    target,
                    reason,
                    next_try_s = pause.as_secs_f64(),
                    "the provider does not accept this target's credentials or topic: no push to it can arrive; \
                     correct key, certificate, topic or project"
                );
            }
            breaker::Turn::Opened { reason, why: Why::Trouble, pause } => {
                self.counts.queue().breaker_opened(&self.name, "trouble");
                tracing::warn!(
                    target,
                    reason,
                    next_try_s = pause.as_secs_f64(),
                    "one attempt after the other has failed: the provider is left alone for a while"
                );
            }
            breaker::Turn::Closed { was_open_for } => {
                self.resumed.notify_one();
                self.room.go_on();
                tracing::info!(target, after_s = was_open_for.as_secs_f64(), "the target delivers again");
            }
        }
    }

    fn tell_of_pace(&self, turn: pace::Turn) {
        let target = self.name.as_str();
        match turn {
            pace::Turn::None => {}
            pace::Turn::Slowed { per_second, pause } => {
                let pause_s = pause.as_secs_f64();
                let what = match self.pace.stop() {
                    pace::Stop::Whole => "nothing is sent until the pause is over, and then only so much",
                    pace::Stop::Probed => "one a second is sent until the pause is over or the provider takes one",
                };
                tracing::warn!(target, per_second, pause_s, "the provider's quota is met: {what}");
            }
            pace::Turn::Lifted => {
                self.room.go_on();
                tracing::info!(target, "as much as comes is sent again");
            }
        }
    }

    /// What is to become of a verdict, and tells an operator when that changes. One that is only believed is not to be told
    /// yet: see `Relay::rule`.
    pub(super) fn rule(&self, attempt: &Attempt, now: Instant) -> Ruling {
        let Some(guard) = &self.guard else { return Ruling::Stands };
        let (ruling, turn) = guard.decide(attempt, now);
        let target = self.name.as_str();
        match turn {
            removal_guard::Turn::None => {}
            removal_guard::Turn::Began { reason } => {
                let Cause { cause, remedy } = likely_cause(reason);
                tracing::error!(
                    target,
                    reason,
                    cause,
                    remedy,
                    "so many device tokens are said to be dead that it is not believed: no chat server is told to forget any"
                );
            }
            removal_guard::Turn::Ended { lasted, withheld } => {
                let lasted_s = lasted.as_secs_f64();
                tracing::info!(target, lasted_s, withheld, "device tokens that are said to be dead are removed again");
            }
        }
        if ruling == Ruling::Withheld {
            self.counts.queue().withheld(&self.name);
        }
        ruling
    }

    /// A removal that was believed cannot be written down: nobody is told, and it did not use anything up.
    pub(super) fn take_back(&self, allowed: bool) {
        if let Some(guard) = &self.guard {
            guard.take_back(allowed, self.clock.now());
        }
        self.counts.queue().withheld(&self.name);
    }

    /// Whether removals that may be a mistake of ours are withheld now.
    pub(super) fn withholds_removals(&self) -> bool {
        self.guard.as_ref().is_some_and(|guard| guard.state(self.clock.now()).active.is_some())
    }

    /// The last attempt as it stands: a credential that was just renewed and is refused again is not old but wrong.
    pub(super) fn settled(
        &self,
        sender: &Arc<Sender>,
        transport: Transport,
        attempt: Attempt,
        during: Range<Instant>,
        number: u32,
    ) -> Attempt {
        let Verdict::NewCredential { reason } = attempt.verdict else { return attempt };
        let broken = Attempt { verdict: Verdict::TargetBroken { reason }, ..attempt };
        self.record(sender, transport, &broken, None, during, number);
        broken
    }

    /// Has others send from now on: those with new credentials.
    pub(super) fn replace_sender(&self, sender: Sender) {
        self.sender.store(Arc::new(sender));
        self.health.forget();
        self.breaker.reset();
        self.resumed.notify_one();
        self.room.go_on();
    }
}

/// For as long as nothing is sent to it at all. When that is over it must become ready by itself: whoever takes a relay that is
/// not ready out of service also takes away the pushes that would show that its provider is back.
fn left_alone(breaker: &BreakerState) -> Option<String> {
    let (why, reason) = breaker.cause.filter(|_| breaker.position == Position::Open)?;
    let left = breaker.next_try_in.as_secs_f64().ceil();
    Some(match why {
        Why::Credentials => format!(
            "the provider does not accept this target's credentials or topic: {reason}; nothing is sent for another {left} s"
        ),
        Why::Trouble => {
            format!("one attempt after the other met trouble: {reason}; nothing is sent for another {left} s")
        }
    })
}

/// Why removals are withheld, for whoever asks how the target is.
fn withholding(guard: &RemovalGuard, now: Instant) -> Option<String> {
    let state = guard.state(now);
    let active = state.active?;
    let Cause { cause, remedy } = likely_cause(active.reason);
    let (GuardState { believed, delivered, .. }, Withholding { withheld, reason, .. }) = (state, active);
    Some(format!(
        "{withheld} device tokens that were said to be dead ({reason}) were not believed, after {believed} of the last day with \
         {delivered} deliveries: {cause}; {remedy}"
    ))
}
