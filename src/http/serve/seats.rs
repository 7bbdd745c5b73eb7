//! Who makes room on a listener with few places, where somebody must always find one: whoever asks nothing.
//!
//! A connection with a request is left alone, so that neither a watcher nor a scrape is cut off for others. All others can be had
//! again by dialling, which costs a probe less than a place that it does not find.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock, Weak};

use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::http::pace::Pace;

/// One connection's: what it is doing, once it has said something.
#[derive(Debug, Default)]
pub(super) struct Seat(OnceLock<Arc<Pace>>);

impl Seat {
    /// It speaks from now on, at this pace.
    pub(super) fn speaks(&self, pace: &Arc<Pace>) {
        // Said once, where it begins to speak.
        let _ = self.0.set(Arc::clone(pace));
    }
}

/// Those that are taken. As many as there are slots, and ends that were not yet noticed.
#[derive(Debug, Default)]
pub(super) struct Seats(VecDeque<Taken>);

#[derive(Debug)]
struct Taken {
    /// Held by the connection: gone when it has ended.
    seat: Weak<Seat>,
    since: Instant,
    connection: AbortHandle,
}

impl Seats {
    /// Somebody has sat down.
    pub(super) fn take(&mut self, seat: &Arc<Seat>, connection: AbortHandle) {
        self.0.retain(|taken| taken.seat.strong_count() > 0);
        self.0.push_back(Taken { seat: Arc::downgrade(seat), since: Instant::now(), connection });
    }

    /// Ends the connection that has been without a request for the longest time, if there is one.
    pub(super) fn make_room(&mut self) {
        let idle_since = |taken: &Taken| match taken.seat.upgrade()?.0.get() {
            Some(pace) => pace.without_request_since(),
            None => Some(taken.since),
        };
        let longest =
            self.0.iter().filter_map(|taken| Some((idle_since(taken)?, taken))).min_by_key(|(since, _)| *since);
        if let Some((_, taken)) = longest {
            taken.connection.abort();
        }
    }
}
