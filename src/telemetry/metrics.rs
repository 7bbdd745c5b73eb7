//! Every metric with its labels and units.
//!
//! The `service_*` names, labels, help texts and buckets are those of `mattermost-push-proxy`, so that dashboards and
//! alerts made for it keep working; `pushrelay_*` is what it does not have. Every label takes its values from a fixed
//! table or from the configuration, never from a caller: what a stranger sends cannot grow this map.

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus::proto::MetricType;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

use super::figures::{self, Figure};
use super::log::DroppedLines;
use super::queue::QueueMetrics;
use super::recent::Recent;
use super::repeats::Repeats;
use super::series::{ByPush, by_label, counters, registered};
use super::targets::Targets;
use crate::clock::Clock;
use crate::notification::{Platform, PushKind, TargetName, Transport};
use crate::outcome::{Reason, Verdict};

/// Seconds; the Go client's default buckets, which the reference uses.
pub const BUCKETS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// The values of the label `app_version`.
const APP_VERSIONS: [&str; 3] = ["1", "2", "other"];

/// The reference's help text for three of its histograms.
const LATENCY_HELP: &str = "Request latency distribution";

const LOG_LINES_DROPPED: [Figure; 1] = [Figure {
    name: "pushrelay_log_lines_dropped_total",
    help: "Log lines dropped because whoever reads them was too slow or the file could not be written",
    kind: MetricType::COUNTER,
}];

const JOURNAL_LINES_DROPPED: [Figure; 1] = [Figure {
    name: "pushrelay_journal_lines_dropped_total",
    help: "Lines of the journal dropped because the disk was too slow or could not be written",
    kind: MetricType::COUNTER,
}];

const TRACE_SPANS_DROPPED: [Figure; 1] = [Figure {
    name: "pushrelay_trace_spans_dropped_total",
    help: "Spans dropped because the collector was too slow or took none",
    kind: MetricType::COUNTER,
}];

/// All metrics of one relay. Made once and shared; a second one (in tests) counts for itself.
pub struct Metrics {
    registry: Registry,
    notifications: ByPush,
    by_app_version: IntCounterVec,
    by_app_version_cells: [[OnceLock<IntCounter>; APP_VERSIONS.len()]; Platform::ALL.len()],
    success: ByPush,
    success_with_ack: ByPush,
    failure: ByPush,
    failure_with_reason: IntCounterVec,
    removal: IntCounterVec,
    delivered: IntCounterVec,
    bad_request: IntCounter,
    request_seconds: Histogram,
    apns_seconds: Histogram,
    fcm_seconds: Histogram,
    notification_seconds: HistogramVec,
    attempts: IntCounterVec,
    attempt_reasons: IntCounterVec,
    refusals: IntCounterVec,
    observed_refusals: IntCounterVec,
    learned_events: IntCounterVec,
    in_flight: IntGauge,
    overload: IntCounter,
    repeats: Repeats,
    queue: QueueMetrics,
    throttled: IntCounter,
    connections: Connections,
    targets: Targets,
    failures: Recent,
    refused: Recent,
}

impl Metrics {
    /// Registers everything, the process's own figures (CPU, memory, file descriptors) included.
    pub fn new(version: &str, dropped_lines: DroppedLines) -> Self {
        let metrics = Self::without_process(version);
        #[cfg(target_os = "linux")]
        super::process::register(&metrics.registry);
        figures::register(&metrics.registry, &LOG_LINES_DROPPED, move || vec![Some(dropped_lines.count() as f64)]);
        metrics
    }

    /// Shows what the journal has dropped since the start, read at each scrape. To be called once, if there is a journal.
    pub fn journal(&self, dropped: impl Fn() -> u64 + Send + Sync + 'static) {
        figures::register(&self.registry, &JOURNAL_LINES_DROPPED, move || vec![Some(dropped() as f64)]);
    }

    /// Shows how many spans were not sent, read at each scrape. To be called once, if there are traces.
    pub fn traces(&self, dropped: impl Fn() -> u64 + Send + Sync + 'static) {
        figures::register(&self.registry, &TRACE_SPANS_DROPPED, move || vec![Some(dropped() as f64)]);
    }

    /// Tells the time of what it remembers by this clock instead of the system's.
    #[must_use]
    pub fn timed_by(self, clock: &Clock) -> Self {
        Self { failures: Recent::new(clock.clone()), refused: Recent::new(clock.clone()), ..self }
    }

    fn without_process(version: &str) -> Self {
        let registry = Registry::new();
        let r = &registry;
        let by_push = |name, help| ByPush::register(r, name, help);
        let histogram = |name: &str| {
            registered(r, Histogram::with_opts(HistogramOpts::new(name, LATENCY_HELP).buckets(BUCKETS.into())))
        };
        let counter = |name: &str, help: &str| registered(r, IntCounter::new(name, help));
        let gauge = |name: &str, help: &str| registered(r, IntGauge::new(name, help));
        let gauges = |name: &str, help: &str, label| registered(r, IntGaugeVec::new(Opts::new(name, help), &[label]));

        gauges("pushrelay_build_info", "Always 1; the label says which version runs", "version")
            .with_label_values(&[version])
            .set(1);
        Self {
            notifications: by_push("service_notifications_total", "Number of notifications sent"),
            by_app_version: counters(
                r,
                "service_notifications_by_app_version_total",
                "Number of notifications sent by the version of the app's protocol",
                &["platform", "app_version"],
            ),
            by_app_version_cells: Default::default(),
            success: by_push("service_success_total", "Number of push success."),
            success_with_ack: by_push("service_success_with_ack_total", "Number of push success that contains ackId."),
            failure: by_push("service_failure_total", "Number of push errors."),
            failure_with_reason: counters(
                r,
                "service_failure_with_reason_total",
                "Number of push errors with reasons.",
                &["platform", "type", "transport", "reason"],
            ),
            removal: counters(
                r,
                "service_removal_total",
                "Number of device token errors.",
                &["platform", "transport", "reason"],
            ),
            delivered: counters(
                r,
                "service_delivered_total",
                "Number of push delivered.",
                &["platform", "type", "transport"],
            ),
            bad_request: counter("service_bad_request_total", "Request to push proxy was a bad request"),
            request_seconds: histogram("service_request_duration_seconds"),
            apns_seconds: histogram("service_apns_request_duration_seconds"),
            fcm_seconds: histogram("service_fcm_request_duration_seconds"),
            notification_seconds: registered(
                r,
                HistogramVec::new(
                    // "Notifiction" is the reference's spelling; help texts are compared byte for byte.
                    HistogramOpts::new(
                        "service_notification_duration_seconds",
                        "Notifiction request latency distribution",
                    )
                    .buckets(BUCKETS.into()),
                    &["platform"],
                ),
            ),
            attempts: counters(
                r,
                "pushrelay_attempts_total",
                "Attempts at a provider by what they ended with",
                &["target", "verdict"],
            ),
            attempt_reasons: counters(
                r,
                "pushrelay_attempt_reasons_total",
                "Attempts at a provider that did not deliver by the provider's word for it, or ours if it did not answer",
                &["target", "reason"],
            ),
            refusals: counters(
                r,
                "pushrelay_refusals_total",
                "Notifications not sent because the sender was not admitted",
                &["reason"],
            ),
            observed_refusals: counters(
                r,
                "pushrelay_observed_refusals_total",
                "Notifications sent that would be refused if signatures were required",
                &["reason"],
            ),
            learned_events: counters(
                r,
                "pushrelay_learned_events_total",
                "What pushes have told about chat servers that are not registered",
                &["event"],
            ),
            in_flight: gauge("pushrelay_in_flight", "Requests being worked on"),
            overload: counter("pushrelay_overload_total", "Requests turned away because too many were being worked on"),
            repeats: Repeats::register(r),
            queue: QueueMetrics::register(r),
            throttled: counter("pushrelay_throttled_total", "Requests turned away because their client asks too often"),
            connections: Connections::register(r),
            targets: Targets::register(r),
            failures: Recent::new(Clock::System),
            refused: Recent::new(Clock::System),
            registry,
        }
    }

    /// A notification was admitted and will be tried. `app_version` is the app's protocol version.
    pub fn notification(&self, platform: Platform, kind: &PushKind, transport: Transport, app_version: u32) {
        self.notifications.of(platform, kind, transport).inc();
        let version = match app_version {
            1 => 0,
            2 => 1,
            _ => 2,
        };
        self.by_app_version_cells[platform.index()][version]
            .get_or_init(|| self.by_app_version.with_label_values(&[platform.as_str(), APP_VERSIONS[version]]))
            .inc();
    }

    /// The provider took it. `with_ack`: the caller asked for a receipt.
    pub fn success(&self, platform: Platform, kind: &PushKind, transport: Transport, with_ack: bool) {
        self.success.of(platform, kind, transport).inc();
        if with_ack {
            self.success_with_ack.of(platform, kind, transport).inc();
        }
    }

    /// It did not arrive and will not.
    pub fn failure(&self, platform: Platform, kind: &PushKind, transport: Transport, reason: Reason) {
        self.failure.of(platform, kind, transport).inc();
        self.failure_with_reason.with_label_values(&[platform.as_str(), kind.label(), transport.label(), reason]).inc();
    }

    /// The caller was told to forget the token. The reference counts this as a failure too, so do not call
    /// [`Metrics::failure`] for the same notification.
    pub fn removal(&self, platform: Platform, kind: &PushKind, transport: Transport, reason: Reason) {
        self.removal.with_label_values(&[platform.as_str(), transport.label(), reason]).inc();
        self.failure(platform, kind, transport, reason);
    }

    /// A request could not be understood.
    pub fn bad_request(&self) {
        self.bad_request.inc();
    }

    /// A phone says that a push arrived. Both texts come from the caller and are reduced to fixed words here: Apple's
    /// phones call themselves `ios`, and other senders use a target's name.
    pub fn acknowledged(&self, platform: &str, kind: &str) {
        let platform = match platform {
            "ios" => "ios",
            apple if apple.starts_with(Platform::Apple.as_str()) => Platform::Apple.as_str(),
            android if android.starts_with(Platform::Android.as_str()) => Platform::Android.as_str(),
            _ => "other",
        };
        let kind = PushKind::from_wire(kind).label();
        self.delivered.with_label_values(&[platform, kind, Transport::Standard.label()]).inc();
    }

    /// A request to send or a receipt was answered, this long after its headers were read.
    pub fn request(&self, took: Duration) {
        self.request_seconds.observe(took.as_secs_f64());
    }

    /// Admission turned a notification away.
    pub fn refusal(&self, reason: &'static str) {
        self.refusals.with_label_values(&[reason]).inc();
    }

    /// Admission let a notification pass that it would turn away if signatures were required.
    pub fn observed_refusal(&self, reason: &'static str) {
        self.observed_refusals.with_label_values(&[reason]).inc();
    }

    /// A push has told something about a chat server that is not registered.
    pub fn learned_event(&self, event: &'static str) {
        self.learned_events.with_label_values(&[event]).inc();
    }

    /// A request was turned away because too many were being worked on.
    pub fn overloaded(&self) {
        self.overload.inc();
    }

    /// Requests that came before, and receipts.
    pub fn repeats(&self) -> &Repeats {
        &self.repeats
    }

    /// Notifications that wait on disk, and what keeps targets from being asked.
    pub fn queue(&self) -> &QueueMetrics {
        &self.queue
    }

    /// A request was turned away because its client asks more often than it may.
    pub fn throttled(&self) {
        self.throttled.inc();
    }

    /// A connection did not become private.
    pub fn tls_handshake_failed(&self, reason: &'static str) {
        self.connections.tls_failures.with_label_values(&[reason]).inc();
    }

    /// When the certificate that callers are shown ends, in seconds after the Unix epoch.
    pub fn set_ingest_certificate(&self, expires_at: u64) {
        self.connections.certificate_expires.with_label_values::<&str>(&[]).set(whole(expires_at));
    }

    /// How many requests are being worked on. Set when somebody looks rather than at each request.
    pub fn set_in_flight(&self, requests: usize) {
        self.in_flight.set(whole(requests as u64));
    }

    /// What is known of the targets besides their attempts.
    pub fn targets(&self) -> &Targets {
        &self.targets
    }

    /// The counts of connections of one listener, `ingest` or `ops`.
    pub fn listener(&self, name: &'static str) -> ListenerMetrics {
        ListenerMetrics {
            open: self.connections.open.with_label_values(&[name]),
            accepted: self.connections.accepted.with_label_values(&[name]),
        }
    }

    /// The counts of one target. The name must come from the configuration: it becomes a label.
    pub fn target(&self, name: &TargetName, platform: Platform) -> TargetMetrics {
        TargetMetrics {
            name: name.clone(),
            attempts: self.attempts.clone(),
            reasons: self.attempt_reasons.clone(),
            by_verdict: Default::default(),
            latency: Default::default(),
            provider_seconds: match platform {
                Platform::Apple => self.apns_seconds.clone(),
                Platform::Android => self.fcm_seconds.clone(),
            },
            notification_seconds: self.notification_seconds.with_label_values(&[platform.as_str()]),
        }
    }

    /// The last notifications that did not arrive and will not.
    pub fn failures(&self) -> &Recent {
        &self.failures
    }

    /// The last notifications that were not admitted.
    pub fn refused(&self) -> &Recent {
        &self.refused
    }

    /// What became of notifications since the start, all targets together.
    pub fn totals(&self) -> Totals {
        let sum = |family| by_label(family).into_iter().map(|(_, count)| count).sum();
        Totals {
            admitted: self.notifications.total(),
            delivered: self.success.total(),
            failed: self.failure.total(),
            refused: sum(&self.refusals),
        }
    }

    /// How many notifications were refused for each reason since the start, the most frequent first.
    pub fn refusals(&self) -> Vec<(String, u64)> {
        by_label(&self.refusals)
    }

    /// Everything in Prometheus' text format, version 0.0.4.
    pub fn render(&self) -> String {
        // Encoding fails only on a family without a name or type; a registry holds none.
        TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap_or_default()
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// Connections from callers, all listeners together.
struct Connections {
    open: IntGaugeVec,
    accepted: IntCounterVec,
    tls_failures: IntCounterVec,
    /// Without labels, and yet absent until it is set: 0 would look like a certificate that ended in 1970.
    certificate_expires: IntGaugeVec,
}

impl Connections {
    fn register(r: &Registry) -> Self {
        let gauges =
            |name: &str, help: &str, labels: &[&str]| registered(r, IntGaugeVec::new(Opts::new(name, help), labels));
        Self {
            open: gauges("pushrelay_connections", "Open connections from callers", &["listener"]),
            accepted: counters(
                r,
                "pushrelay_connections_accepted_total",
                "Connections accepted from callers",
                &["listener"],
            ),
            tls_failures: counters(
                r,
                "pushrelay_tls_handshake_failures_total",
                "Connections from callers that ended before they were private, by why",
                &["reason"],
            ),
            certificate_expires: gauges(
                "pushrelay_ingest_certificate_expires_timestamp_seconds",
                "When the certificate shown to callers ends, seconds after the Unix epoch; absent without TLS",
                &[],
            ),
        }
    }
}

/// The counts of one listener's connections.
#[derive(Clone, Debug)]
pub struct ListenerMetrics {
    open: IntGauge,
    accepted: IntCounter,
}

impl ListenerMetrics {
    /// A connection was accepted.
    pub fn opened(&self) {
        self.accepted.inc();
        self.open.inc();
    }

    /// A connection has ended.
    pub fn closed(&self) {
        self.open.dec();
    }
}

/// The counts of one target, looked up once.
pub struct TargetMetrics {
    name: TargetName,
    attempts: IntCounterVec,
    reasons: IntCounterVec,
    by_verdict: [OnceLock<IntCounter>; VERDICTS],
    /// Attempts by how long they took, as the histograms count them, which have no label for the target. The last one is for
    /// what took longer than the last bound.
    latency: [AtomicU64; BUCKETS.len() + 1],
    provider_seconds: Histogram,
    notification_seconds: Histogram,
}

/// How many labels [`Verdict::label`] has.
const VERDICTS: usize = 6;

/// What became of notifications since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Admitted and not seen before.
    pub admitted: u64,
    /// Taken by a provider.
    pub delivered: u64,
    /// Neither taken nor going to be; their senders were told so, or to forget the device token.
    pub failed: u64,
    /// Not admitted.
    pub refused: u64,
}

/// What became of the attempts at one target since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TargetFigures {
    /// How many ended with each verdict, in the order of [`TargetFigures::VERDICTS`].
    pub verdicts: [u64; VERDICTS],
    /// How many took at most as long as each of [`BUCKETS`], and longer than the one before; the last: longer than all.
    pub latency: [u64; BUCKETS.len() + 1],
}

impl TargetFigures {
    /// What each of `verdicts` counts, as [`Verdict::label`] has it.
    pub const VERDICTS: [&'static str; VERDICTS] =
        ["delivered", "remove", "retry", "new_credential", "target_broken", "rejected"];
}

impl TargetMetrics {
    /// One attempt ended with this after this long.
    pub fn attempt(&self, verdict: &Verdict, took: Duration) {
        let cell = match verdict {
            Verdict::Delivered => 0,
            Verdict::Remove { .. } => 1,
            Verdict::Retry { .. } => 2,
            Verdict::NewCredential { .. } => 3,
            Verdict::TargetBroken { .. } => 4,
            Verdict::Rejected { .. } => 5,
        };
        self.by_verdict[cell]
            .get_or_init(|| self.attempts.with_label_values(&[self.name.as_str(), verdict.label()]))
            .inc();
        // Looked up each time: attempts that do not deliver are few, and take a provider's time.
        if let Some(reason) = verdict.reason() {
            self.reasons.with_label_values(&[self.name.as_str(), reason]).inc();
        }
        let seconds = took.as_secs_f64();
        // Relaxed: each number stands for nothing but itself.
        self.latency[BUCKETS.partition_point(|bound| *bound < seconds)].fetch_add(1, Ordering::Relaxed);
        self.provider_seconds.observe(seconds);
        self.notification_seconds.observe(seconds);
    }
}

impl TargetMetrics {
    /// What was counted until now. Takes no lock.
    pub fn figures(&self) -> TargetFigures {
        TargetFigures {
            verdicts: std::array::from_fn(|at| self.by_verdict[at].get().map_or(0, IntCounter::get)),
            latency: std::array::from_fn(|at| self.latency[at].load(Ordering::Relaxed)),
        }
    }
}

impl fmt::Debug for TargetMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TargetMetrics").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Gauges are signed; a count that large is none.
fn whole(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
#[path = "metrics_tests.rs"]
mod tests;
