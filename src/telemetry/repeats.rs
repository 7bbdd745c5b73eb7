//! What is counted about requests that came before, and about receipts of phones.

use std::time::Duration;

use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGauge, Registry};

use super::series::{counters, registered};
use crate::notification::Platform;

/// Seconds. A phone at hand answers in one or two; one that was off, when it is on again.
const RECEIPT_BUCKETS: [f64; 11] = [0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3_600.0, 86_400.0];

/// The counts.
#[derive(Debug)]
pub struct Repeats {
    requests: IntCounterVec,
    receipts: IntCounterVec,
    receipt_seconds: HistogramVec,
    remembered: IntGauge,
    window_held: IntGauge,
    unkept: IntGauge,
}

impl Repeats {
    pub(super) fn register(registry: &Registry) -> Self {
        let gauge = |name: &str, help: &str| registered(registry, IntGauge::new(name, help));
        let receipt_seconds = HistogramOpts::new(
            "pushrelay_receipt_seconds",
            "From the provider's answer to the phone's receipt, by whose phone it is",
        );
        Self {
            requests: counters(
                registry,
                "pushrelay_repeats_total",
                "Requests that came before and woke no phone again, by where their answer came from",
                &["answer"],
            ),
            receipts: counters(
                registry,
                "pushrelay_receipts_total",
                "Receipts of phones: for what this relay sent, for the same again, or for what it does not know",
                &["result"],
            ),
            receipt_seconds: registered(
                registry,
                HistogramVec::new(receipt_seconds.buckets(RECEIPT_BUCKETS.into()), &["platform"]),
            ),
            remembered: gauge("pushrelay_remembered_requests", "Requests whose repeats would be known as such"),
            unkept: gauge(
                "pushrelay_memory_unkept_records",
                "Requests and receipts since the start that a restart forgets because the disk did not take them",
            ),
            window_held: gauge(
                "pushrelay_memory_window_seconds",
                "How far back repeats are known; less than the configured window if more came than the memory holds",
            ),
        }
    }

    /// A request came before. `answer` is a fixed word.
    pub fn repeat(&self, answer: &'static str) {
        self.requests.with_label_values(&[answer]).inc();
    }

    /// A receipt that says nothing new. `result` is a fixed word.
    pub fn receipt(&self, result: &'static str) {
        self.receipts.with_label_values(&[result]).inc();
    }

    /// The first receipt for what this relay sent, this long after its provider took it.
    pub fn receipt_of_ours(&self, platform: Platform, after: Duration) {
        self.receipt("sent");
        self.receipt_seconds.with_label_values(&[platform.as_str()]).observe(after.as_secs_f64());
    }

    /// What is remembered. Set when somebody looks.
    pub fn set_memory(&self, requests: usize, window_held: Duration, unkept: u64) {
        self.unkept.set(i64::try_from(unkept).unwrap_or(i64::MAX));
        self.remembered.set(i64::try_from(requests).unwrap_or(i64::MAX));
        self.window_held.set(i64::try_from(window_held.as_secs()).unwrap_or(i64::MAX));
    }
}
