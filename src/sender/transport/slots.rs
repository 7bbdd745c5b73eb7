//! The books of a pool: which connections there are, how many streams each may carry and carries, and who waits for
//! one. Pure bookkeeping under one lock: nothing here waits, connects or knows HTTP/2.
//!
//! Held at all times: while anybody waits, no stream is free. So whoever finds a free stream is not overtaking.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::trouble::Trouble;

/// Bounds and pauses of one pool.
#[derive(Clone, Debug)]
pub(crate) struct Tuning {
    /// Connections that take new requests. As many again may be finishing their last ones after a GOAWAY.
    pub(crate) max_connections: usize,
    /// Streams on one connection, whatever the peer allows. Apple allows about 1,000.
    pub(crate) max_streams: usize,
    /// After the first failure in a row the next attempt follows within this time, after each further one within twice
    /// as much …
    pub(crate) backoff_first: Duration,
    /// … up to this. The pause is drawn evenly from zero to the limit, so that relays do not come back in step.
    pub(crate) backoff_limit: Duration,
    /// How often a connection looks whether it is still alive.
    pub(crate) tick: Duration,
    /// So many silent ticks while requests wait for answers, and the peer is pinged. Twice as many after each ping that it answered
    /// without answering a request.
    pub(crate) busy_ticks: u32,
    /// The same while none do.
    pub(crate) idle_ticks: u32,
    /// So many more without a byte from the peer, and the connection is given up.
    pub(crate) pong_ticks: u32,
}

impl Tuning {
    /// The figures for both providers. Apple asks for connections that stay open for hours; a ping each half minute of silence
    /// keeps middleboxes from forgetting them. One that died unnoticed gets nothing new within 4 s of the first request that it
    /// swallows, and is given up within 6 s.
    pub(crate) fn with_connections(max_connections: usize) -> Self {
        Self {
            max_connections: max_connections.max(1),
            max_streams: 1_000,
            backoff_first: Duration::from_millis(100),
            // A push that cannot wait on disk waits some seconds for a connection, and one try a second harms nobody.
            backoff_limit: Duration::from_secs(1),
            tick: Duration::from_secs(1),
            busy_ticks: 2,
            idle_ticks: 30,
            pong_ticks: 3,
        }
    }
}

/// Names a connection for as long as the pool lives.
pub(super) type Id = u64;

struct Entry<C> {
    id: Id,
    /// `None` once it takes no new requests and only finishes.
    connection: Option<C>,
    /// Owes the answer to a ping: takes no new requests until it says something.
    suspect: bool,
    /// Streams that may run: one until the peer's settings have arrived (RFC 9113 §3.4 lets a client begin before).
    limit: usize,
    in_use: usize,
}

/// The books. `C` is a handle to a connection, `W` whoever waits.
pub(super) struct Slots<C, W> {
    tuning: Tuning,
    /// All whose task runs: at most `max_connections` that take new requests, and at most twice as many in all.
    all: Vec<Entry<C>>,
    /// In order of arrival; ids only grow. Bounded by the callers: each waits once, and leaves when it gives up.
    waiting: VecDeque<(Id, W)>,
    next_id: Id,
    /// A connection is being opened. One at a time: a burst must not open more than turn out to be needed.
    opening: bool,
    /// Attempts in a row that led to no answered request.
    failures: u32,
    last_failure: Option<Trouble>,
    not_before: Option<Instant>,
    closed: bool,
}

impl<C: Clone, W> Slots<C, W> {
    pub(super) fn new(tuning: Tuning) -> Self {
        Self {
            tuning,
            all: Vec::new(),
            waiting: VecDeque::new(),
            next_id: 0,
            opening: false,
            failures: 0,
            last_failure: None,
            not_before: None,
            closed: false,
        }
    }

    fn id(&mut self) -> Id {
        self.next_id += 1;
        self.next_id
    }

    /// Takes a stream on the connection with the fewest: one that has stopped answering fills up, and is then passed
    /// over.
    pub(super) fn take(&mut self) -> Option<(Id, C)> {
        let free = |entry: &&mut Entry<C>| entry.is_open() && entry.in_use < entry.limit;
        let entry = self.all.iter_mut().filter(free).min_by_key(|entry| entry.in_use)?;
        let connection = entry.connection.clone()?;
        entry.in_use += 1;
        Some((entry.id, connection))
    }

    fn open(&self) -> usize {
        self.all.iter().filter(|entry| entry.is_open()).count()
    }

    fn entry(&mut self, id: Id) -> Option<&mut Entry<C>> {
        self.all.iter_mut().find(|entry| entry.id == id)
    }

    /// Gives a stream back. Its connection may be gone.
    pub(super) fn release(&mut self, id: Id) {
        if let Some(entry) = self.entry(id) {
            entry.in_use -= 1;
        }
    }

    /// Queues up.
    pub(super) fn wait(&mut self, waiter: W) -> Id {
        let id = self.id();
        self.waiting.push_back((id, waiter));
        id
    }

    /// Whoever has waited longest.
    pub(super) fn next_waiter(&mut self) -> Option<W> {
        self.waiting.pop_front().map(|(_, waiter)| waiter)
    }

    /// Those who have given up with the last try at a connection. Nobody has, while there is one: they wait for a stream then.
    pub(super) fn disappointed(&mut self, has_given_up: impl Fn(&W) -> bool) -> Vec<W> {
        if self.open() > 0 {
            return Vec::new();
        }
        let (gone, left) = std::mem::take(&mut self.waiting).into_iter().partition(|(_, waiter)| has_given_up(waiter));
        self.waiting = left;
        let gone: VecDeque<(Id, W)> = gone;
        gone.into_iter().map(|(_, waiter)| waiter).collect()
    }

    /// Leaves the queue, if still in it. Who gives up has mostly waited longest, so this looks near the front.
    pub(super) fn give_up(&mut self, id: Id) {
        if let Ok(index) = self.waiting.binary_search_by_key(&id, |(id, _)| *id) {
            self.waiting.remove(index);
        }
    }

    pub(super) fn has_waiters(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Whether another connection should be opened now; if so, it counts as being opened.
    pub(super) fn start_opening(&mut self) -> bool {
        let wanted = !self.closed
            && !self.opening
            && self.has_waiters()
            && self.open() < self.tuning.max_connections
            && self.all.len() < 2 * self.tuning.max_connections;
        self.opening |= wanted;
        wanted
    }

    pub(super) fn stop_opening(&mut self) {
        self.opening = false;
    }

    /// A connection is there; one stream is free on it. `None` if the pool has been closed meanwhile.
    pub(super) fn opened(&mut self, connection: impl FnOnce(Id) -> C) -> Option<Id> {
        if self.closed {
            return None;
        }
        let id = self.id();
        self.all.push(Entry { id, connection: Some(connection(id)), suspect: false, limit: 1, in_use: 0 });
        Some(id)
    }

    /// The peer's settings changed.
    pub(super) fn set_limit(&mut self, id: Id, limit: usize) {
        let most = self.tuning.max_streams;
        if let Some(entry) = self.entry(id) {
            entry.limit = limit.min(most);
        }
    }

    /// Takes no new requests any more; those that run go on.
    pub(super) fn retire(&mut self, id: Id) {
        if let Some(entry) = self.entry(id) {
            entry.connection = None;
        }
    }

    /// Whether it owes the answer to a ping.
    pub(super) fn suspect(&mut self, id: Id, suspect: bool) {
        if let Some(entry) = self.entry(id) {
            entry.suspect = suspect;
        }
    }

    /// Streams that run on a connection.
    pub(super) fn in_use(&self, id: Id) -> usize {
        self.all.iter().find(|entry| entry.id == id).map_or(0, |entry| entry.in_use)
    }

    /// The connection's task has ended.
    pub(super) fn ended(&mut self, id: Id) {
        self.all.retain(|entry| entry.id != id);
    }

    /// An attempt failed, or a connection ended without having answered anything. `draw` is even in 0..1.
    pub(super) fn failed(&mut self, trouble: Trouble, now: Instant, draw: f64) {
        let limit = self.tuning.backoff_first.saturating_mul(1 << self.failures.min(16)).min(self.tuning.backoff_limit);
        self.failures = self.failures.saturating_add(1);
        self.last_failure = Some(trouble);
        self.not_before = Some(now + limit.mul_f64(draw));
    }

    /// A request was answered: the way is open.
    pub(super) fn succeeded(&mut self) {
        self.failures = 0;
        self.last_failure = None;
        self.not_before = None;
    }

    /// Before which moment no connection should be attempted.
    pub(super) fn not_before(&self) -> Option<Instant> {
        self.not_before
    }

    /// What a caller is told that got no stream in time.
    pub(super) fn why_none(&self) -> Trouble {
        match self.last_failure {
            Some(trouble) if self.open() == 0 => trouble,
            _ if self.open() == 0 && self.opening => Trouble::ConnectTimeout,
            _ => Trouble::NoStream,
        }
    }

    /// No request is taken any more: everybody waiting leaves, every connection finishes. The handles are returned so
    /// that they are dropped outside the lock.
    pub(super) fn close(&mut self) -> (Vec<C>, Vec<W>) {
        self.closed = true;
        let connections = self.all.iter_mut().filter_map(|entry| entry.connection.take()).collect();
        (connections, self.waiting.drain(..).map(|(_, waiter)| waiter).collect())
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// For tests and the debug print: connections that take requests, streams in use on all, waiting callers.
    pub(super) fn counts(&self) -> (usize, usize, usize) {
        (self.open(), self.all.iter().map(|entry| entry.in_use).sum(), self.waiting.len())
    }
}

impl<C> Entry<C> {
    fn is_open(&self) -> bool {
        self.connection.is_some() && !self.suspect
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots(max_connections: usize) -> Slots<&'static str, &'static str> {
        Slots::new(Tuning::with_connections(max_connections))
    }

    #[test]
    fn a_connection_carries_one_stream_until_its_settings_arrive_and_never_more_than_our_own_bound() {
        let mut slots = slots(1);
        let id = slots.opened(|_| "a").unwrap();
        assert!(slots.take().is_some());
        assert!(slots.take().is_none());
        slots.set_limit(id, usize::MAX);
        assert_eq!(std::iter::from_fn(|| slots.take()).count(), 999);
    }

    #[test]
    fn a_lowered_limit_lets_running_streams_finish_and_admits_none_until_enough_have() {
        let mut slots = slots(1);
        let id = slots.opened(|_| "a").unwrap();
        slots.set_limit(id, 3);
        while slots.take().is_some() {}
        slots.set_limit(id, 1);
        slots.release(id);
        slots.release(id);
        assert!(slots.take().is_none());
        slots.release(id);
        assert!(slots.take().is_some());
    }

    #[test]
    fn the_least_busy_connection_is_taken_and_a_retired_one_never() {
        let mut slots = slots(2);
        let a = slots.opened(|_| "a").unwrap();
        let b = slots.opened(|_| "b").unwrap();
        slots.set_limit(a, 10);
        slots.set_limit(b, 10);
        let taken: Vec<_> = (0..4).map(|_| slots.take().unwrap().1).collect();
        assert_eq!(taken.iter().filter(|name| **name == "a").count(), 2);
        slots.retire(a);
        assert!((0..8).all(|_| slots.take().unwrap().1 == "b"));
        slots.release(a);
        slots.ended(a);
    }

    #[test]
    fn one_that_owes_the_answer_to_a_ping_gets_nothing_new_and_another_may_be_opened_beside_it() {
        let mut slots = slots(1);
        let id = slots.opened(|_| "a").unwrap();
        slots.set_limit(id, 10);
        assert!(slots.take().is_some());
        slots.suspect(id, true);
        assert!(slots.take().is_none());
        assert_eq!(slots.in_use(id), 1);
        slots.wait("x");
        assert!(slots.start_opening());
        slots.stop_opening();
        slots.suspect(id, false);
        assert!(!slots.start_opening(), "one is the bound");
        assert_eq!(slots.take().unwrap().1, "a");
    }

    #[test]
    fn connections_are_opened_one_at_a_time_and_only_while_somebody_waits() {
        let mut slots = slots(2);
        assert!(!slots.start_opening());
        slots.wait("x");
        assert!(slots.start_opening());
        assert!(!slots.start_opening());
        slots.opened(|_| "a").unwrap();
        slots.stop_opening();
        assert!(slots.start_opening());
        slots.opened(|_| "b").unwrap();
        slots.stop_opening();
        assert!(!slots.start_opening(), "two are the bound");
    }

    #[test]
    fn finishing_connections_are_bounded_too() {
        let mut slots = slots(1);
        slots.wait("x");
        let finishing = slots.opened(|_| "a").unwrap();
        slots.retire(finishing);
        let second = slots.opened(|_| "b").unwrap();
        slots.retire(second);
        assert!(!slots.start_opening());
        slots.ended(finishing);
        assert!(slots.start_opening());
    }

    #[test]
    fn callers_are_served_in_order_and_those_who_gave_up_are_forgotten() {
        let mut slots = slots(1);
        slots.wait("first");
        let second = slots.wait("second");
        slots.wait("third");
        slots.give_up(second);
        assert_eq!(slots.next_waiter(), Some("first"));
        assert_eq!(slots.next_waiter(), Some("third"));
        slots.give_up(second);
        assert_eq!(slots.next_waiter(), None);
    }

    #[test]
    fn the_pause_doubles_to_its_limit_is_jittered_from_zero_and_ends_with_an_answer() {
        let mut slots = slots(1);
        let now = Instant::now();
        let mut pauses = Vec::new();
        for _ in 0..10 {
            slots.failed(Trouble::ConnectRefused, now, 1.0);
            pauses.push((slots.not_before().unwrap() - now).as_millis());
        }
        assert_eq!(pauses, [100, 200, 400, 800, 1_000, 1_000, 1_000, 1_000, 1_000, 1_000]);
        slots.failed(Trouble::ConnectRefused, now, 0.0);
        assert_eq!(slots.not_before(), Some(now));
        assert_eq!(slots.why_none(), Trouble::ConnectRefused);
        slots.succeeded();
        assert_eq!(slots.not_before(), None);
        slots.failed(Trouble::Dns, now, 1.0);
        assert_eq!((slots.not_before().unwrap() - now).as_millis(), 100);
    }
}
