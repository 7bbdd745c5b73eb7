//! Where pushes wait for their target in memory, as long as their callers do, because there is no queue: until its breaker
//! lets one through, or its pace. Bounds how many wait, and how many of them go on at once.
//!
//! A push that need not wait never comes here.

use std::time::Duration;

use tokio::sync::{Notify, Semaphore, SemaphorePermit};

use crate::clock::Clock;

/// Pushes of one target that wait. Each holds its payload (5 KiB at the most) and one of the places that `http.max_in_flight`
/// bounds: beyond these it is answered at once, so that a target in trouble leaves places to the others.
const PLACES: usize = 4_096;

/// Of those that have waited, so many are tried at once: as many as of a queue's entries. At 50 ms an answer all that waited
/// are through within two seconds, and a provider that was just found well is not struck by all of them.
const TURNS: usize = 128;

/// The longest wait without another look. Whoever began to wait in the moment in which the others were told to go on has not
/// heard it.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// One target's.
#[derive(Debug)]
pub(super) struct Room {
    places: Semaphore,
    turns: Semaphore,
    go_on: Notify,
}

/// The right to be tried after a wait; given back when dropped.
pub(super) type Turn<'a> = SemaphorePermit<'a>;

impl Room {
    /// Empty.
    pub(super) fn new() -> Self {
        Self { places: Semaphore::new(PLACES), turns: Semaphore::new(TURNS), go_on: Notify::new() }
    }

    /// Has all look again.
    pub(super) fn go_on(&self) {
        self.go_on.notify_waiters();
    }

    /// Waits for so long, or until [`Self::go_on`], and for a turn then. `None` if all of that cannot be done `within` that
    /// time, or the room is full.
    pub(super) async fn wait(&self, wait: Duration, within: Duration, clock: &Clock) -> Option<Turn<'_>> {
        let until = clock.now() + within;
        if wait >= within {
            return None;
        }
        let _place = self.places.try_acquire().ok()?;
        tokio::select! {
            () = self.go_on.notified() => {}
            () = clock.sleep(wait.min(LONGEST_WAIT)) => {}
        }
        let left = until.saturating_duration_since(clock.now());
        tokio::select! {
            biased;
            turn = self.turns.acquire() => turn.ok(),
            () = clock.sleep(left) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test]
    async fn whoever_waits_goes_on_when_told_or_when_the_time_is_over() {
        let (room, clock) = (Room::new(), Clock::manual(0));
        let mut told = std::pin::pin!(room.wait(SECOND, SECOND * 5, &clock));
        assert!(futures_util::poll!(&mut told).is_pending());
        room.go_on();
        assert!(told.await.is_some());

        let mut late = std::pin::pin!(room.wait(SECOND / 2, SECOND * 5, &clock));
        assert!(futures_util::poll!(&mut late).is_pending());
        clock.advance(SECOND / 2);
        assert!(late.await.is_some());

        assert!(room.wait(SECOND, SECOND, &clock).await.is_none(), "there is no time to wait");
    }

    #[tokio::test]
    async fn no_more_go_on_at_once_than_there_are_turns_and_those_whose_time_is_over_leave() {
        let (room, clock) = (Room::new(), Clock::manual(0));
        let mut turns = Vec::new();
        for _ in 0..TURNS {
            turns.push(room.wait(Duration::ZERO, SECOND, &clock).await.unwrap());
        }
        let mut next = std::pin::pin!(room.wait(Duration::ZERO, SECOND * 2, &clock));
        // Else the runtime itself would make it wait, after so many that did not.
        tokio::task::yield_now().await;
        assert!(futures_util::poll!(&mut next).is_pending());
        turns.pop();
        assert!(next.await.is_some());

        turns.push(room.wait(Duration::ZERO, SECOND, &clock).await.unwrap());
        let mut late = std::pin::pin!(room.wait(Duration::ZERO, SECOND, &clock));
        assert!(futures_util::poll!(&mut late).is_pending());
        clock.advance(SECOND);
        assert!(late.await.is_none());
    }

    #[tokio::test]
    async fn a_full_room_keeps_nobody_waiting() {
        let (room, clock) = (Arc::new(Room::new()), Clock::manual(0));
        let mut waiting: Vec<_> = (0..PLACES).map(|_| Box::pin(room.wait(SECOND, SECOND * 5, &clock))).collect();
        for one in &mut waiting {
            tokio::task::yield_now().await;
            assert!(futures_util::poll!(one).is_pending());
        }
        assert!(room.wait(SECOND, SECOND * 5, &clock).await.is_none());
        waiting.pop();
        assert!(futures_util::poll!(std::pin::pin!(room.wait(SECOND, SECOND * 5, &clock))).is_pending());
    }
}
