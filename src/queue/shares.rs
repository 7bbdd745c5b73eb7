//! How much of the queue's room one chat server may fill: so much that one alone loses little, and never so much that another
//! finds no place.

use std::collections::HashMap;

/// A server's entries are at most so many times what is free. One alone fills 16 of 17 parts of the room; `n` that all want
/// more get 16 of `16 n + 1` parts each, and one part stays free for whoever comes next. What a small one does not use is for
/// the large ones, and how many servers there are need not be known.
const TIMES_WHAT_IS_FREE: u64 = 16;

/// Whether a server that has so many entries must leave the places that are free to others.
pub(super) fn is_used_up(held: u64, free: u64) -> bool {
    held >= free.saturating_mul(TIMES_WHAT_IS_FREE)
}

/// How many entries each server has, buried ones included. For the writer alone; as many as there are servers with entries.
#[derive(Debug, Default)]
pub(super) struct Shares(HashMap<String, u64>);

impl Shares {
    pub(super) fn held(&self, server: &str) -> u64 {
        self.0.get(server).copied().unwrap_or(0)
    }

    /// What a commit has changed.
    pub(super) fn change(&mut self, server: &str, change: i64) {
        let held = self.held(server).saturating_add_signed(change);
        if held == 0 {
            self.0.remove(server);
        } else if let Some(so_far) = self.0.get_mut(server) {
            *so_far = held;
        } else {
            self.0.insert(server.to_owned(), held);
        }
    }

    /// The figures are to be counted anew.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What greedy servers hold in the end, and what is free then. They come one after the other or at once.
    fn filled(room: u64, servers: usize, one_by_one: bool) -> (Vec<u64>, u64) {
        let mut held = vec![0; servers];
        let free = |held: &[u64]| room - held.iter().sum::<u64>();
        let may = |held: &[u64], server: usize| free(held) > 0 && !is_used_up(held[server], free(held));
        for server in (0..servers).filter(|_| one_by_one) {
            while may(&held, server) {
                held[server] += 1;
            }
        }
        while let Some(server) = (0..servers).filter(|server| may(&held, *server)).min_by_key(|server| held[*server]) {
            held[server] += 1;
        }
        let free = free(&held);
        (held, free)
    }

    #[test]
    fn one_alone_fills_nearly_all_and_several_get_the_same_and_leave_a_place() {
        // (room, servers, each one's part, free)
        for (room, servers, each, left) in [
            (1_000_000, 1, 941_177, 58_823),
            (1_000_000, 2, 484_849, 30_302),
            (1_000_000, 10, 99_379, 6_211),
            (1_000, 1, 942, 58),
            (1_000, 100, 16, 0),
            (17, 1, 16, 1),
            (2, 1, 2, 0),
            (1, 1, 1, 0),
        ] {
            let (held, free) = filled(room, servers, false);
            assert!(held.iter().all(|held| held.abs_diff(each) <= 16), "{room} for {servers}: {held:?}");
            assert!(free.abs_diff(left) <= 16, "{room} for {servers}: {free} free");
        }
    }

    #[test]
    fn whoever_comes_last_still_finds_places() {
        let (held, free) = filled(1_000_000, 3, true);
        assert_eq!(held[0], 941_177);
        assert!(held[1] > 50_000 && held[2] > 3_000 && free > 150, "{held:?}, {free} free");
    }
}
