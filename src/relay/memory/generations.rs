//! A bounded table of recent entries. Entries are never removed one by one: they live in a few tables, each newer than the
//! next, and the oldest table is dropped as a whole when its entries are too old, or earlier to make room.
//!
//! Knows no time but the milliseconds it is told, and does not look into values: whoever reads one checks its age.

use std::hash::{BuildHasherDefault, Hash};

use super::identity::HashedMap;

/// Tables alive at once. Three are filled to cover a window and the fourth is being filled, so entries stay at most a third
/// of the window longer than they must. More would waste less, and cost one more look per unknown key each.
pub(super) const LIVE: usize = 4;

/// The most entries in one table: what the standard map fits into 4,096 slots (seven eighths of them). A table that grows
/// moves half as many entries under its lock, some 10 µs, once; sized after its predecessor, it rarely grows.
pub(super) const TABLE_ENTRIES: usize = 3_584;

/// How long and how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// Milliseconds an entry is of use.
    pub(super) window: u64,
    /// Entries per table; [`LIVE`] times as many in all.
    pub(super) per_table: usize,
}

/// The tables, newest first.
#[derive(Debug)]
pub(super) struct Generations<K, V> {
    limits: Limits,
    tables: [Table<K, V>; LIVE],
    /// The latest time this was told. Callers read the clock before they wait for the lock, so times arrive out of order.
    latest: u64,
    lost: Lost,
}

#[derive(Debug)]
struct Table<K, V> {
    entries: HashedMap<K, V>,
    /// When the first and the last entry came, milliseconds.
    opened: u64,
    newest: u64,
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self { entries: HashedMap::default(), opened: 0, newest: 0 }
    }
}

/// What was dropped before its time to keep within the bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Lost {
    /// The last entry so lost came at this millisecond; everything later is there.
    pub(super) until: Option<u64>,
    /// How many in all.
    pub(super) entries: u64,
}

impl<K: Copy + Eq + Hash, V: Copy> Generations<K, V> {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, tables: Default::default(), latest: 0, lost: Lost::default() }
    }

    /// The newest entry under this key.
    pub(super) fn get(&self, key: K) -> Option<V> {
        self.tables.iter().find_map(|table| table.entries.get(&key).copied())
    }

    /// The same, to be changed in place.
    pub(super) fn get_mut(&mut self, key: K) -> Option<&mut V> {
        self.tables.iter_mut().find_map(|table| table.entries.get_mut(&key))
    }

    /// Adds an entry; it hides an older one under the same key. `true` if others had to go before their time.
    pub(super) fn insert(&mut self, key: K, value: V, now: u64) -> bool {
        self.latest = self.latest.max(now);
        let current = &self.tables[0];
        let full = current.entries.len() >= self.limits.per_table;
        let span = self.limits.window.div_ceil(LIVE as u64 - 1);
        let over = !current.entries.is_empty() && self.latest - current.opened >= span;
        let early = (full || over) && self.turn();
        let current = &mut self.tables[0];
        if current.entries.is_empty() {
            current.opened = self.latest;
        }
        current.newest = self.latest;
        current.entries.insert(key, value);
        early
    }

    /// Begins a new table and drops the oldest.
    fn turn(&mut self) -> bool {
        self.sweep(self.latest);
        let oldest = &self.tables[LIVE - 1];
        let early = !oldest.entries.is_empty();
        if early {
            self.lost.until = Some(oldest.newest);
            self.lost.entries += oldest.entries.len() as u64;
        }
        // As many as the last one had and an eighth more: a steady flow finds its table large enough.
        let last = self.tables[0].entries.len();
        let room = (last + last / 8).min(self.limits.per_table);
        self.tables.rotate_right(1);
        self.tables[0].entries = HashedMap::with_capacity_and_hasher(room, BuildHasherDefault::default());
        early
    }

    /// Drops the tables whose newest entry is too old.
    pub(super) fn sweep(&mut self, now: u64) {
        self.latest = self.latest.max(now);
        for table in &mut self.tables {
            if table.newest + self.limits.window <= self.latest && !table.entries.is_empty() {
                *table = Table::default();
            }
        }
    }

    /// Entries held, hidden and outdated ones included.
    pub(super) fn len(&self) -> usize {
        self.tables.iter().map(|table| table.entries.len()).sum()
    }

    pub(super) fn lost(&self) -> Lost {
        self.lost
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::identity::{AckKey, Hashes};
    use super::*;

    const WINDOW: u64 = 300;

    fn generations(per_table: usize) -> Generations<AckKey, u64> {
        Generations::new(Limits { window: WINDOW, per_table })
    }

    #[test]
    fn an_entry_stays_for_the_window_and_goes_within_a_third_more() {
        let key = Hashes::new().ack("first");
        let other = Hashes::new().ack("other");
        let mut generations = generations(100);
        generations.insert(key, 1, 0);
        for now in 1..WINDOW {
            assert!(!generations.insert(other, now, now));
            assert_eq!(generations.get(key), Some(1), "{now}");
        }
        for now in WINDOW..=WINDOW + WINDOW / 3 {
            assert!(!generations.insert(other, now, now));
        }
        assert_eq!(generations.get(key), None);
        assert_eq!(generations.lost(), Lost::default());
    }

    #[test]
    fn after_silence_everything_goes_at_the_next_sweep() {
        let hashes = Hashes::new();
        let mut generations = generations(100);
        for now in 0..WINDOW {
            generations.insert(hashes.ack(&now.to_string()), now, now);
        }
        generations.sweep(WINDOW + 99);
        assert_eq!(generations.len(), 200, "the first table's hundred are outdated");
        generations.sweep(10 * WINDOW);
        assert_eq!(generations.len(), 0);
        assert_eq!(generations.lost(), Lost::default(), "nothing was lost before its time");
    }

    #[test]
    fn a_full_memory_drops_its_oldest_quarter_and_says_so() {
        let hashes = Hashes::new();
        let mut generations = generations(10);
        for n in 0..40 {
            assert!(!generations.insert(hashes.ack(&n.to_string()), n, n));
        }
        assert_eq!(generations.len(), 40);
        assert!(generations.insert(hashes.ack("40"), 40, 40));
        assert_eq!(generations.lost(), Lost { until: Some(9), entries: 10 });
        assert_eq!(generations.len(), 31);
    }

    #[test]
    fn a_time_that_arrives_late_is_no_reason_to_lose_anything() {
        let hashes = Hashes::new();
        let mut generations = generations(1_000);
        // Two threads, one of which always waited for the lock.
        for n in 0..10 * WINDOW {
            let now = if n % 2 == 0 { n + 3 } else { n };
            assert!(!generations.insert(hashes.ack(&n.to_string()), n, now), "{n}");
        }
    }

    proptest! {
        #[test]
        fn it_holds_all_that_is_newer_than_what_it_says_was_lost_and_never_more_than_its_bound(
            steps in prop::collection::vec((0..40_u8, 0..90_u64), 1..300),
            per_table in 1..9_usize,
        ) {
            let hashes = Hashes::new();
            let mut generations = generations(per_table);
            let mut model = std::collections::HashMap::new();
            let mut now = 0;
            for (n, (name, pause)) in steps.into_iter().enumerate() {
                now += pause;
                generations.insert(hashes.ack(&name.to_string()), n as u64, now);
                model.insert(name, (n as u64, now));
                prop_assert!(generations.len() <= LIVE * per_table);
                let lost = generations.lost().until;
                for (name, (value, at)) in &model {
                    let young = now - at < WINDOW && lost.is_none_or(|lost| *at > lost);
                    let found = generations.get(hashes.ack(&name.to_string()));
                    prop_assert!(!young || found == Some(*value), "{} {} {}", name, at, now);
                }
            }
        }
    }
}
