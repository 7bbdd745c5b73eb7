//! What became of entries whose end the disk did not take. They stay leased there and are handed out again when their lease is over;
//! then their end is written, and no phone is woken a second time.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::queue::{EntryId, Settlement};

/// The most of them, a few MB. A disk that takes nothing for longer than that many deliveries wakes some phones twice.
const MOST: usize = 65_536;

#[derive(Debug, Default)]
pub(super) struct Unwritten(Mutex<HashMap<EntryId, Settlement>>);

impl Unwritten {
    /// Keeps the end of an entry; one that is to be tried again has none.
    pub(super) fn keep(&self, id: EntryId, settlement: Settlement) {
        let is_end = match settlement {
            Settlement::Delivered | Settlement::Dead { .. } | Settlement::Done | Settlement::Bury { .. } => true,
            Settlement::Later { .. } => false,
        };
        let mut ends = self.lock();
        if is_end && (ends.len() < MOST || ends.contains_key(&id)) {
            ends.insert(id, settlement);
        }
    }

    /// The end of an entry that is handed out again, if it has had one.
    pub(super) fn take(&self, id: EntryId) -> Option<Settlement> {
        self.lock().remove(&id)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<EntryId, Settlement>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_entry_that_has_ended_is_known_until_its_end_is_written_and_one_to_try_again_is_not() {
        let id = EntryId::of;
        let unwritten = Unwritten::default();
        let later = Settlement::Later { due_at: Duration::ZERO, attempts: 1, reason: "timeout" };
        for (number, settlement, is_kept) in [
            (1, Settlement::Delivered, true),
            (2, Settlement::Dead { reason: "Unregistered", others: true }, true),
            (3, Settlement::Bury { reason: "PayloadTooLarge" }, true),
            (4, Settlement::Done, true),
            (5, later, false),
        ] {
            unwritten.keep(id(number), settlement.clone());
            assert_eq!(unwritten.take(id(number)), is_kept.then_some(settlement));
            assert_eq!(unwritten.take(id(number)), None, "once");
        }
    }
}
