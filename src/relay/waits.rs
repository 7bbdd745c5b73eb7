//! How many repeats may wait for the outcome of the first: each of them holds a place among the requests in flight, which
//! others need, and whoever has recorded one request can send as many as he likes. Beyond the bounds a repeat is answered at
//! once. Decides nothing else; a repeat whose outcome is known never comes here.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::notification::ServerId;

/// Of all places for requests in flight, one in so many may be held by waiting repeats: 1,250 of 10,000.
const SHARE_OF_ALL: usize = 8;

/// And one in so many by those of one server: 312 of 10,000. A chat server repeats a request a few times and not hundreds.
const SHARE_OF_ONE: usize = 32;

/// The waits of repeats.
#[derive(Debug)]
pub(super) struct Waits {
    in_all: usize,
    of_one: usize,
    /// No more servers than waits, and nobody who has none.
    servers: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    in_all: usize,
    by_server: HashMap<ServerId, usize>,
}

/// One repeat that waits.
#[derive(Debug)]
pub(super) struct Wait<'a> {
    waits: &'a Waits,
    server: ServerId,
}

impl Waits {
    /// For a relay that works on so many requests at once.
    pub(super) fn among(places: usize) -> Self {
        Self {
            in_all: (places / SHARE_OF_ALL).max(1),
            of_one: (places / SHARE_OF_ONE).max(1),
            servers: Mutex::default(),
        }
    }

    /// A place to wait; `None` if too many wait already.
    pub(super) fn enter(&self, server: &ServerId) -> Option<Wait<'_>> {
        let mut counts = self.counts();
        let own = counts.by_server.get(server).copied().unwrap_or(0);
        if counts.in_all >= self.in_all || own >= self.of_one {
            return None;
        }
        counts.in_all += 1;
        counts.by_server.insert(server.clone(), own + 1);
        Some(Wait { waits: self, server: server.clone() })
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        // Nothing under this lock can panic half-way.
        self.servers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        let mut counts = self.waits.counts();
        counts.in_all -= 1;
        if let Some(own) = counts.by_server.get_mut(&self.server) {
            *own -= 1;
            if *own == 0 {
                counts.by_server.remove(&self.server);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_has_its_share_and_all_together_theirs_and_what_ends_makes_room() {
        let server = |number: usize| ServerId::new(&format!("chat-{number}")).unwrap();
        // Places, then how many of one server and how many in all may wait.
        for (places, of_one, in_all) in [(10_000, 312, 1_250), (300, 9, 37), (16, 1, 2), (1, 1, 1)] {
            let waits = Waits::among(places);
            let enter = |number| std::iter::from_fn(|| waits.enter(&server(number))).collect::<Vec<_>>();
            let first = enter(0);
            assert_eq!(first.len(), of_one, "of {places}");
            let others: Vec<_> = (1..20).flat_map(enter).collect();
            assert_eq!(first.len() + others.len(), in_all, "of {places}");
            drop((first, others));
            assert!(waits.counts().by_server.is_empty());
            assert_eq!(enter(0).len(), of_one, "of {places}");
        }
    }
}
