//! What is known of the targets besides their attempts: whether they can deliver, how long their certificates last, and what
//! became of new credentials. The label `target` takes its values from the configuration.

use prometheus::{IntCounterVec, IntGaugeVec, Opts, Registry};

use super::series::{counters, registered};
use crate::notification::TargetName;

/// Gauges and counts of all targets.
pub struct Targets {
    ready: IntGaugeVec,
    expires: IntGaugeVec,
    expires_days: IntGaugeVec,
    reloads: IntCounterVec,
}

impl Targets {
    pub(super) fn register(r: &Registry) -> Self {
        let gauges = |name: &str, help: &str| registered(r, IntGaugeVec::new(Opts::new(name, help), &["target"]));
        Self {
            ready: gauges("pushrelay_target_ready", "1 if nothing keeps the target from delivering"),
            expires: gauges(
                "pushrelay_credential_expires_timestamp_seconds",
                "When the target's certificate ends, seconds after the Unix epoch; absent for keys, which do not end",
            ),
            expires_days: gauges(
                "pushrelay_credential_expires_days",
                "Whole days until the target's certificate ends, negative after it; absent for keys, which do not end",
            ),
            reloads: counters(
                r,
                "pushrelay_credential_reloads_total",
                "New credentials of targets by what became of them",
                &["target", "result"],
            ),
        }
    }

    /// What is known of a target. Set when somebody looks, so that it cannot be stale. `expires_at`: seconds after the
    /// Unix epoch. `days_left`: whole days until then, negative after it.
    pub fn set(&self, target: &TargetName, ready: bool, expires_at: Option<u64>, days_left: Option<i64>) {
        self.ready.with_label_values(&[target.as_str()]).set(i64::from(ready));
        let expires_at = expires_at.map(|seconds| i64::try_from(seconds).unwrap_or(i64::MAX));
        for (gauge, value) in [(&self.expires, expires_at), (&self.expires_days, days_left)] {
            match value {
                Some(value) => gauge.with_label_values(&[target.as_str()]).set(value),
                // A key has taken the certificate's place. Fails if there never was one.
                None => drop(gauge.remove_label_values(&[target.as_str()])),
            }
        }
    }

    /// New credentials of a target were looked at: `swapped`, `refused`, `unreadable` or `unknown`.
    pub fn credential_reload(&self, target: &TargetName, result: &'static str) {
        self.reloads.with_label_values(&[target.as_str(), result]).inc();
    }
}
