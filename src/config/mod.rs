//! Files and environment become validated settings.

use std::time::Duration;

/// Everything that `serve` needs, checked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The edge.
    pub http: crate::http::HttpSettings,
    /// Who may send.
    pub admission: crate::admission::AdmissionSettings,
    /// How hard to try.
    pub delivery: crate::delivery::DeliverySettings,
    /// Where to.
    pub targets: Vec<crate::sender::TargetSettings>,
    /// Log lines.
    pub log: crate::telemetry::log::LogSettings,
    /// How closely the reference is followed.
    pub compatibility: crate::notification::Compatibility,
    /// How long running work may take after a request to stop.
    pub shutdown_deadline: Duration,
}
