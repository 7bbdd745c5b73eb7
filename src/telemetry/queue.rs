//! What is counted about notifications that wait on disk, and about what keeps a target from being asked.

use std::time::Duration;

use prometheus::{GaugeVec, IntCounterVec, IntGaugeVec, Opts, Registry};

use super::series::{counters, registered};
use crate::notification::TargetName;

/// The counts. Label values are names of targets from the configuration, and fixed words.
#[derive(Debug)]
pub struct QueueMetrics {
    waiting: IntGaugeVec,
    oldest_seconds: IntGaugeVec,
    buried: IntGaugeVec,
    enqueued: IntCounterVec,
    settled: IntCounterVec,
    failures: IntCounterVec,
    refuses: IntGaugeVec,
    breaker: IntGaugeVec,
    breaker_opened: IntCounterVec,
    guard_active: IntGaugeVec,
    withheld: IntCounterVec,
    rate_limit: GaugeVec,
}

/// What is known of one target's queue. Set when somebody looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Notifications that will be tried.
    pub waiting: u64,
    /// How long the oldest of them has waited; zero if there is none.
    pub oldest: Duration,
    /// Notifications that will not be tried again, kept for an operator to look at.
    pub buried: u64,
}

impl QueueMetrics {
    pub(super) fn register(r: &Registry) -> Self {
        let gauges = |name: &str, help: &str| registered(r, IntGaugeVec::new(Opts::new(name, help), &["target"]));
        Self {
            waiting: gauges("pushrelay_queue_waiting", "Notifications on disk that will be tried"),
            oldest_seconds: gauges(
                "pushrelay_queue_oldest_seconds",
                "How long the oldest notification on disk has waited; 0 if none does",
            ),
            buried: gauges(
                "pushrelay_queue_buried",
                "Notifications on disk that will not be tried again, kept for an operator to look at",
            ),
            enqueued: counters(
                r,
                "pushrelay_queue_enqueued_total",
                "Notifications put on disk to be tried later, by why",
                &["target", "why"],
            ),
            settled: counters(
                r,
                "pushrelay_queue_settled_total",
                "Notifications that have left the queue, by what became of them",
                &["target", "outcome"],
            ),
            failures: counters(
                r,
                "pushrelay_queue_failures_total",
                "Operations of the queue that failed; the log says why",
                &["operation"],
            ),
            refuses: registered(
                r,
                IntGaugeVec::new(
                    Opts::new(
                        "pushrelay_queue_refuses",
                        "1 while the queue on disk takes nothing, by why: full, no room on its disk, or it cannot be written",
                    ),
                    &["why"],
                ),
            ),
            breaker: gauges(
                "pushrelay_breaker_state",
                "Whether the target is asked: 0 it is (closed), 1 one at a time (half-open), 2 it is not (open)",
            ),
            breaker_opened: counters(
                r,
                "pushrelay_breaker_opened_total",
                "How often a target was given up for a while, by why",
                &["target", "why"],
            ),
            guard_active: gauges(
                "pushrelay_removal_guard_active",
                "1 while removals of device tokens are withheld because there are suspiciously many",
            ),
            withheld: counters(
                r,
                "pushrelay_removals_withheld_total",
                "Removals of device tokens that chat servers were not told",
                &["target"],
            ),
            rate_limit: registered(
                r,
                GaugeVec::new(
                    Opts::new(
                        "pushrelay_target_rate_limit",
                        "Notifications a second that the target is given since its provider's quota was met; absent if none was",
                    ),
                    &["target"],
                ),
            ),
        }
    }

    /// A notification was put on disk.
    pub fn enqueued(&self, target: &TargetName, why: &'static str) {
        self.enqueued.with_label_values(&[target.as_str(), why]).inc();
    }

    /// One has left the queue.
    pub fn settled(&self, target: &TargetName, outcome: &'static str, count: u64) {
        self.settled.with_label_values(&[target.as_str(), outcome]).inc_by(count);
    }

    /// The queue could not do what it was asked to.
    pub fn failed(&self, operation: &'static str) {
        self.failures.with_label_values(&[operation]).inc();
    }

    /// Whether the queue takes nothing for this reason. Set when somebody looks.
    pub fn set_refuses(&self, why: &'static str, refuses: bool) {
        self.refuses.with_label_values(&[why]).set(i64::from(refuses));
    }

    /// A target is not asked for a while.
    pub fn breaker_opened(&self, target: &TargetName, why: &'static str) {
        self.breaker_opened.with_label_values(&[target.as_str(), why]).inc();
    }

    /// A removal was withheld.
    pub fn withheld(&self, target: &TargetName) {
        self.withheld.with_label_values(&[target.as_str()]).inc();
    }

    /// What is on disk for a target. Set when somebody looks.
    pub fn set_waiting(&self, target: &TargetName, waiting: Waiting) {
        let label = [target.as_str()];
        self.waiting.with_label_values(&label).set(whole(waiting.waiting));
        self.oldest_seconds.with_label_values(&label).set(whole(waiting.oldest.as_secs()));
        self.buried.with_label_values(&label).set(whole(waiting.buried));
    }

    /// How a target is protected now. `breaker`: 0, 1 or 2; `rate_limit`: per second. Set when somebody looks.
    pub fn set_protection(&self, target: &TargetName, breaker: i64, guard_active: bool, rate_limit: Option<f64>) {
        let label = [target.as_str()];
        self.breaker.with_label_values(&label).set(breaker);
        self.guard_active.with_label_values(&label).set(i64::from(guard_active));
        match rate_limit {
            Some(limit) => self.rate_limit.with_label_values(&label).set(limit),
            // Fails only if it is not there.
            None => drop(self.rate_limit.remove_label_values(&label)),
        }
    }
}

/// Gauges are signed; a count that large is none.
fn whole(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
