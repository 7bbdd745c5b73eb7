//! Whom to forget when there is no more room: ids can be made up, and a flood of them must keep out no real server.
//!
//! A real one sends again, and signs. So those without a known key go first, of those the ones that hardly sent, and of equals the ones
//! not seen for the longest time.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use super::server::Server;
use crate::notification::ServerId;

/// Pushes beyond which more say nothing: whoever makes ids up can also send under each of them a few times.
const PUSHES_THAT_COUNT: u64 = 10;

/// A sixteenth of the room is made at once, so that looking through all of it is paid for by as many new servers.
const PART: usize = 16;

/// Those to forget so that at least one more has room, and `max` are kept at the most.
pub(super) fn to_forget(servers: &HashMap<ServerId, Arc<Server>>, max: usize) -> Vec<ServerId> {
    let count = (servers.len() + 1).saturating_sub(max) + max / PART;
    let mut ranked: Vec<_> = servers.iter().map(|(id, server)| (rank(server), id)).collect();
    if count < ranked.len() {
        ranked.select_nth_unstable(count);
        ranked.truncate(count);
    }
    ranked.into_iter().map(|(_, id)| id.clone()).collect()
}

/// The lowest go first.
fn rank(server: &Server) -> (bool, u64, u64) {
    let has_key = server.keys.lock().unwrap_or_else(PoisonError::into_inner).learned.is_some();
    let pushes = server.pushes.load(Ordering::Relaxed).min(PUSHES_THAT_COUNT);
    (has_key, pushes, server.last_seen.load(Ordering::Relaxed))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(pushes: u64, last_seen: u64) -> Arc<Server> {
        Arc::new(Server { pushes: pushes.into(), last_seen: last_seen.into(), ..Server::default() })
    }

    #[test]
    fn who_hardly_sent_goes_first_and_of_equals_who_was_not_seen_for_the_longest_time() {
        let id = |name: &str| ServerId::new(name).unwrap();
        let servers: HashMap<_, _> = [
            ("once, long ago", 1, 100),
            ("once, lately", 1, 300),
            ("thrice, long ago", 3, 50),
            ("always", 1_000, 200),
            ("often", PUSHES_THAT_COUNT, 150),
        ]
        .into_iter()
        .map(|(name, pushes, seen)| (id(name), server(pushes, seen)))
        .collect();
        let order = ["once, long ago", "once, lately", "thrice, long ago", "often", "always"].map(id);
        for max in 1..=5 {
            let mut gone = to_forget(&servers, max);
            gone.sort();
            let mut expected = order[..servers.len() + 1 - max].to_vec();
            expected.sort();
            assert_eq!(gone, expected, "room for {max}");
        }
        assert_eq!(to_forget(&servers, 6), [], "there is room");
    }
}
