//! What the relay's counters said in the last ten minutes, one reading a second. Reads what is counted anyway; pure but for
//! the readings that it is given.
//!
//! **Memory** is fixed: rings of [`SECONDS`] numbers of four bytes (10 KiB, and 2.4 KiB for each target), and the last minute's
//! readings (5 KiB, and 10.2 KiB for each target).

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::percentiles::{Estimate, percentile};
use super::sparkline::Series;
use crate::notification::TargetName;
use crate::telemetry::metrics::{BUCKETS, TargetFigures, Totals};

/// How far back plots reach.
pub(super) const SECONDS: usize = 600;

/// How far back verdicts and percentiles reach.
const MINUTE: Duration = Duration::from_secs(60);

/// Over how long the rates are averaged: long enough that a figure can be read, short enough to be called live.
const LIVE: Duration = Duration::from_secs(10);

/// Readings kept: one a second for a minute, its beginning, and one for a timer that was early.
const READINGS: usize = 62;

/// All counters at one moment.
#[derive(Clone, Debug)]
pub(super) struct Reading {
    pub(super) at: Instant,
    pub(super) totals: Totals,
    /// By name; the same targets each time. With each, how many wait on disk for it.
    pub(super) targets: Vec<(TargetName, TargetFigures, u64)>,
}

/// The last ten minutes.
#[derive(Debug)]
pub(super) struct History {
    /// Never empty. The first is the newest of those that are at least a minute old, if there is one.
    readings: VecDeque<Reading>,
    admitted: Ring,
    delivered: Ring,
    failed: Ring,
    waiting: Ring,
    /// Delivered, in the order of the readings.
    by_target: Vec<Ring>,
}

/// The newest [`SECONDS`] values.
#[derive(Debug)]
struct Ring {
    values: VecDeque<f32>,
    seen: u64,
}

impl Ring {
    fn new() -> Self {
        Self { values: VecDeque::with_capacity(SECONDS), seen: 0 }
    }

    /// The same value for each of these seconds.
    fn add(&mut self, value: f32, seconds: usize) {
        for _ in 0..seconds.min(SECONDS) {
            if self.values.len() == SECONDS {
                self.values.pop_front();
            }
            self.values.push_back(value);
        }
        self.seen += seconds as u64;
    }

    fn series(&self) -> Series {
        Series { values: self.values.iter().copied().collect(), seen: self.seen }
    }
}

/// What a person wants to know of the last minutes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct View {
    pub(super) admitted: Rate,
    pub(super) delivered: Rate,
    pub(super) failed: Rate,
    pub(super) refused_per_second: f64,
    /// On disk, all targets together.
    pub(super) waiting: u64,
    pub(super) waiting_series: Series,
    /// Since the start.
    pub(super) totals: Totals,
    /// By name.
    pub(super) targets: Vec<TargetView>,
}

/// How fast something happens.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Rate {
    /// Of the last ten seconds.
    pub(super) per_second: f64,
    /// Of each second of the last ten minutes.
    pub(super) series: Series,
}

/// The attempts at one target.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct TargetView {
    pub(super) name: TargetName,
    /// Delivered.
    pub(super) delivered: Rate,
    /// By verdict, in the last minute.
    pub(super) last_minute: [u64; TargetFigures::VERDICTS.len()],
    /// By verdict, since the start.
    pub(super) since_start: [u64; TargetFigures::VERDICTS.len()],
    /// How long attempts of the last minute took, seconds: the 50th, 90th and 99th percentile.
    pub(super) latency: [Option<Estimate>; 3],
}

impl History {
    /// Begins with the first reading.
    pub(super) fn new(first: Reading) -> Self {
        let by_target = first.targets.iter().map(|_| Ring::new()).collect();
        let mut readings = VecDeque::with_capacity(READINGS);
        readings.push_back(first);
        let [admitted, delivered, failed, waiting] = std::array::from_fn(|_| Ring::new());
        Self { readings, admitted, delivered, failed, waiting, by_target }
    }

    /// Adds the next one. Should more than a second have passed, because the machine slept or was busy, each of those seconds
    /// gets its share.
    pub(super) fn add(&mut self, next: Reading) {
        let last = self.newest();
        let elapsed = next.at.saturating_duration_since(last.at).as_secs_f64();
        // Rounded: a timer is a little late each time. A float that is too large for the type becomes its largest.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "not negative, and saturating")]
        let seconds = (elapsed.round() as usize).max(1);
        #[allow(clippy::cast_possible_truncation, reason = "a plot has some forty steps of height")]
        let rate = |now: u64, before: u64| (now.saturating_sub(before) as f64 / elapsed.max(0.5)) as f32;
        let (now, before) = (next.totals, last.totals);
        let delivered: Vec<f32> = next
            .targets
            .iter()
            .zip(&last.targets)
            .map(|((_, now, _), (_, before, _))| rate(now.verdicts[0], before.verdicts[0]))
            .collect();
        self.admitted.add(rate(now.admitted, before.admitted), seconds);
        self.delivered.add(rate(now.delivered, before.delivered), seconds);
        self.failed.add(rate(now.failed, before.failed), seconds);
        self.waiting.add(waiting(&next) as f32, seconds);
        for (ring, delivered) in self.by_target.iter_mut().zip(delivered) {
            ring.add(delivered, seconds);
        }
        let now = next.at;
        self.readings.push_back(next);
        let is_old = |reading: &Reading| now.saturating_duration_since(reading.at) >= MINUTE;
        while self.readings.len() >= READINGS || self.readings.get(1).is_some_and(is_old) {
            self.readings.pop_front();
        }
    }

    fn newest(&self) -> &Reading {
        self.readings.back().expect("there is a reading from the beginning on, and the last one is never removed")
    }

    /// The newest reading that is at least this old, or the oldest there is.
    fn ago(&self, age: Duration) -> &Reading {
        let now = self.newest().at;
        let is_old = |reading: &&Reading| now.saturating_duration_since(reading.at) >= age;
        self.readings.iter().rev().find(is_old).unwrap_or(&self.readings[0])
    }

    /// What it says now.
    pub(super) fn view(&self) -> View {
        let (now, live, minute) = (self.newest(), self.ago(LIVE), self.ago(MINUTE));
        let elapsed = now.at.saturating_duration_since(live.at).as_secs_f64();
        let per_second = |now: u64, before: u64| {
            if elapsed > 0.0 { now.saturating_sub(before) as f64 / elapsed } else { 0.0 }
        };
        let rate =
            |now: u64, before: u64, ring: &Ring| Rate { per_second: per_second(now, before), series: ring.series() };
        let targets = now.targets.iter().zip(&live.targets).zip(&minute.targets).zip(&self.by_target);
        let targets = targets.map(|((((name, now, _), (_, live, _)), (_, minute, _)), ring)| {
            let took: Vec<u64> =
                now.latency.iter().zip(minute.latency).map(|(now, then)| now.saturating_sub(then)).collect();
            TargetView {
                name: name.clone(),
                delivered: rate(now.verdicts[0], live.verdicts[0], ring),
                last_minute: std::array::from_fn(|at| now.verdicts[at].saturating_sub(minute.verdicts[at])),
                since_start: now.verdicts,
                latency: [0.5, 0.9, 0.99].map(|q| percentile(&BUCKETS, &took, q)),
            }
        });
        View {
            admitted: rate(now.totals.admitted, live.totals.admitted, &self.admitted),
            delivered: rate(now.totals.delivered, live.totals.delivered, &self.delivered),
            failed: rate(now.totals.failed, live.totals.failed, &self.failed),
            refused_per_second: per_second(now.totals.refused, live.totals.refused),
            waiting: waiting(now),
            waiting_series: self.waiting.series(),
            totals: now.totals,
            targets: targets.collect(),
        }
    }
}

fn waiting(reading: &Reading) -> u64 {
    reading.targets.iter().map(|(_, _, waiting)| waiting).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn reading(at: Instant, delivered: u64) -> Reading {
        let mut figures = TargetFigures::default();
        figures.verdicts[0] = delivered;
        // All of them between 25 and 50 ms.
        figures.latency[3] = delivered;
        let totals = Totals { admitted: 2 * delivered, delivered, failed: 0, refused: 0 };
        Reading { at, totals, targets: vec![(TargetName::new("apple_rn"), figures, 7)] }
    }

    /// A history with a reading each second, in which this many are delivered.
    fn steady(start: Instant, seconds: u32, per_second: u64) -> History {
        let mut history = History::new(reading(start, 0));
        for second in 1..=seconds {
            history.add(reading(start + SECOND * second, u64::from(second) * per_second));
        }
        history
    }

    #[test]
    fn before_anything_was_counted_there_is_nothing_to_show_and_no_division_by_it() {
        let view = History::new(reading(Instant::now(), 0)).view();
        assert_eq!((view.admitted.per_second, view.targets[0].latency), (0.0, [None; 3]));
        assert!(view.admitted.series.values.is_empty());
    }

    #[test]
    fn rates_are_of_ten_seconds_and_verdicts_and_percentiles_of_a_minute() {
        let start = Instant::now();
        let mut history = steady(start, 120, 10);
        for second in 121..=130 {
            history.add(reading(start + SECOND * second, 1_200));
        }
        let view = history.view();
        assert_eq!((view.delivered.per_second, view.admitted.per_second), (0.0, 0.0), "nothing came for ten seconds");
        let target = &view.targets[0];
        assert_eq!((target.last_minute[0], target.since_start[0]), (500, 1_200));
        let [median, _, _] = target.latency;
        let Some(Estimate::At(median)) = median else { panic!("{median:?}") };
        assert!((median - 0.0375).abs() < 1e-9, "{median}");
        assert_eq!(view.waiting, 7);
    }

    #[test]
    fn however_long_it_runs_it_holds_ten_minutes_and_a_minute_of_readings() {
        let history = steady(Instant::now(), 3_000, 1);
        assert_eq!((history.delivered.values.len(), history.by_target[0].values.len()), (SECONDS, SECONDS));
        assert!(history.readings.len() <= READINGS, "{}", history.readings.len());
        assert!(history.delivered.values.capacity() < 2 * SECONDS);
        assert_eq!(history.delivered.seen, 3_000);
    }

    #[test]
    fn a_gap_is_filled_with_its_mean_and_bounded_however_long_it_was() {
        let start = Instant::now();
        let mut history = steady(start, 5, 10);
        history.add(reading(start + SECOND * 15, 150));
        assert_eq!(history.view().delivered.series.values, [10.0; 15]);
        history.add(reading(start + SECOND * 1_000_000, 150));
        assert_eq!(history.view().delivered.series.values, [0.0; SECONDS]);
        assert_eq!(history.view().targets[0].last_minute[0], 0);
    }
}
