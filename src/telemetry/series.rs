//! Counters that are looked up once. A labelled counter costs a hash, a lock and a comparison of strings; a cell that
//! remembers it costs one atomic load.
//!
//! A cell is filled on first use, not at the start: a series appears in `/metrics` when it first counts, as it does
//! with the reference, and not as hundreds of zeros.

use std::sync::OnceLock;

use prometheus::core::Collector as _;
use prometheus::{IntCounter, IntCounterVec, Opts, Registry};

use crate::notification::{Platform, PushKind, Transport};

/// Every combination of platform, kind and transport: 2 × 6 × 3 cells, the bound of each family's series.
const CELLS: usize = Platform::ALL.len() * PushKind::LABELS.len() * Transport::LABELS.len();

/// One family labelled by platform, type and transport.
pub(super) struct ByPush {
    family: IntCounterVec,
    cells: [OnceLock<IntCounter>; CELLS],
}

impl ByPush {
    pub(super) fn register(registry: &Registry, name: &str, help: &str) -> Self {
        let family = counters(registry, name, help, &["platform", "type", "transport"]);
        Self { family, cells: [const { OnceLock::new() }; CELLS] }
    }

    pub(super) fn of(&self, platform: Platform, kind: &PushKind, transport: Transport) -> &IntCounter {
        let row = platform.index() * PushKind::LABELS.len() + kind.index();
        self.cells[row * Transport::LABELS.len() + transport.index()]
            .get_or_init(|| self.family.with_label_values(&[platform.as_str(), kind.label(), transport.label()]))
    }

    /// All combinations together. Takes no lock.
    pub(super) fn total(&self) -> u64 {
        self.cells.iter().filter_map(OnceLock::get).map(IntCounter::get).sum()
    }
}

/// The series of a family that has one label, with their counts. Briefly locks out new series, and no counting.
pub(super) fn by_label(family: &IntCounterVec) -> Vec<(String, u64)> {
    let mut all: Vec<_> = family
        .collect()
        .iter()
        .flat_map(prometheus::proto::MetricFamily::get_metric)
        .map(|metric| {
            let label = metric.get_label().first().map(|pair| pair.value().to_owned()).unwrap_or_default();
            // Whole and far below 2^53: these were counted one by one.
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count in a float")]
            let count = metric.get_counter().get_value() as u64;
            (label, count)
        })
        .collect();
    all.sort_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
    all
}

/// Registers a family of counters.
pub(super) fn counters(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    registered(registry, IntCounterVec::new(Opts::new(name, help), labels))
}

/// Registers what was made; both steps fail only on a malformed or repeated name, and every name is a literal of this
/// module's neighbours that the tests construct.
pub(super) fn registered<C>(registry: &Registry, made: prometheus::Result<C>) -> C
where
    C: prometheus::core::Collector + Clone + 'static,
{
    let collector = made.expect("the metric's name and labels are well-formed literals");
    registry.register(Box::new(collector.clone())).expect("each metric's name is registered once");
    collector
}
