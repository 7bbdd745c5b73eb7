//! What happened, in order: accepted pushes, refused ones, streams left unprocessed, and clients' missteps.
//!
//! It tells the truth about processing: a push stands here as accepted if and only if the simulator took it, whatever
//! the client came to hear. Bounded; the counts go on when old entries fall out.

use std::collections::hash_map::{DefaultHasher, Entry};
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use serde::Serialize;
use tokio::sync::{broadcast, watch};

use super::faults::Provider;

/// Events a page may lag behind before it has to load everything anew.
const EVENTS: usize = 256;

/// A push the simulator took.
#[derive(Clone)]
pub struct Push {
    /// Its place in the order of everything accepted or refused, from 1.
    pub number: u64,
    /// Who took it.
    pub provider: Provider,
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// On which connection, counted from 1 over all listeners.
    pub connection: u64,
    /// On which HTTP/2 stream; 0 for HTTP/1.1.
    pub stream: u32,
    /// APNs: `apns-id`. FCM: the message's name.
    pub id: String,
    /// The device token.
    pub device_token: String,
    /// APNs: the topic. FCM: the project.
    pub topic: String,
    /// The request's headers in order, without `authorization`.
    pub headers: Vec<(String, String)>,
    /// The body as it came.
    pub body: Bytes,
    /// APNs: this `apns-id` was accepted before. FCM: exactly this body was accepted before.
    pub repeat: bool,
}

impl Push {
    /// The body as JSON (it was checked to be an object).
    pub fn payload(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// Shows neither the device token nor the text: a failing test's output is read by many.
impl fmt::Debug for Push {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Push")
            .field("number", &self.number)
            .field("provider", &self.provider)
            .field("connection", &self.connection)
            .field("stream", &self.stream)
            .field("id", &self.id)
            .field("topic", &self.topic)
            .field("repeat", &self.repeat)
            .finish_non_exhaustive()
    }
}

/// A push or a token request the simulator refused.
#[derive(Clone, Serialize)]
pub struct Refusal {
    /// Its place in the order of everything accepted or refused, from 1.
    pub number: u64,
    /// Who refused.
    pub provider: Provider,
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// On which connection.
    pub connection: u64,
    /// HTTP status.
    pub status: u16,
    /// The provider's word: APNs `reason`, FCM `errorCode` or `status`, OAuth `error`.
    pub reason: String,
    /// What was wrong, for a person; more than the provider would say.
    pub why: String,
    /// The device token, as far as the request had one.
    pub device_token: String,
}

impl fmt::Debug for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refusal")
            .field("number", &self.number)
            .field("provider", &self.provider)
            .field("status", &self.status)
            .field("reason", &self.reason)
            .field("why", &self.why)
            .finish_non_exhaustive()
    }
}

/// A request that arrived and was deliberately not processed: reset, dropped, stalled or beyond a GOAWAY.
#[derive(Clone, PartialEq, Eq)]
pub struct Unprocessed {
    /// On which connection.
    pub connection: u64,
    /// On which HTTP/2 stream; 0 for HTTP/1.1.
    pub stream: u32,
    /// The device token, as far as it was known.
    pub device_token: String,
}

impl fmt::Debug for Unprocessed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unprocessed")
            .field("connection", &self.connection)
            .field("stream", &self.stream)
            .finish_non_exhaustive()
    }
}

/// Something a client did that the provider forbids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Violation {
    /// Opened a stream while as many as allowed were open; it was refused.
    TooManyStreams {
        /// On this connection.
        connection: u64,
        /// This stream.
        stream: u32,
    },
    /// Sent a PRIORITY frame.
    PriorityFrame {
        /// On this connection.
        connection: u64,
        /// For this stream.
        stream: u32,
    },
    /// Came to APNs without negotiating `h2`.
    NotHttp2 {
        /// On this connection.
        connection: u64,
    },
}

/// How often each thing happened since the start or the last [`Ledger::clear`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Pushes accepted, repeats included.
    pub accepted: u64,
    /// Accepted pushes that were accepted before.
    pub repeats: u64,
    /// Pushes and token requests refused.
    pub refused: u64,
    /// Requests deliberately not processed.
    pub unprocessed: u64,
    /// Requests that a fault held back, released or not.
    pub held: u64,
    /// Missteps of clients.
    pub violations: u64,
    /// Requests to the token endpoint.
    pub token_requests: u64,
    /// Connections that came to APNs and finished the TLS handshake.
    pub apns_connections: u64,
    /// Connections that came to FCM or OAuth and finished the TLS handshake.
    pub fcm_connections: u64,
}

/// What the inbox page is told as it happens.
#[derive(Clone, Debug)]
pub(super) enum Event {
    Accepted(Arc<Push>),
    Refused(Arc<Refusal>),
    Cleared,
}

/// What is known of a push before the ledger gives it a number.
pub(super) struct Accepted {
    pub(super) provider: Provider,
    pub(super) connection: u64,
    pub(super) stream: u32,
    pub(super) id: String,
    pub(super) device_token: String,
    pub(super) topic: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Bytes,
}

#[derive(Default)]
struct State {
    accepted: VecDeque<Arc<Push>>,
    refused: VecDeque<Arc<Refusal>>,
    unprocessed: VecDeque<Unprocessed>,
    violations: VecDeque<Violation>,
    /// Fingerprints of the accepted, each with how many of the kept pushes carry it.
    seen: HashMap<u64, u32>,
    counts: Counts,
    last_number: u64,
}

/// The record of one simulator.
pub struct Ledger {
    state: Mutex<State>,
    capacity: usize,
    counts: watch::Sender<Counts>,
    events: broadcast::Sender<Event>,
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger").field("counts", &self.counts()).finish_non_exhaustive()
    }
}

impl Ledger {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            state: Mutex::default(),
            capacity: capacity.max(1),
            counts: watch::Sender::new(Counts::default()),
            events: broadcast::Sender::new(EVENTS),
        }
    }

    /// What was accepted, oldest first, as far as it is kept.
    pub fn accepted(&self) -> Vec<Arc<Push>> {
        self.state().accepted.iter().cloned().collect()
    }

    /// What was accepted for this device token, oldest first, as far as it is kept.
    pub fn accepted_for(&self, device_token: &str) -> Vec<Arc<Push>> {
        self.state().accepted.iter().filter(|push| push.device_token == device_token).cloned().collect()
    }

    /// What was refused, oldest first, as far as it is kept.
    pub fn refused(&self) -> Vec<Arc<Refusal>> {
        self.state().refused.iter().cloned().collect()
    }

    /// What was deliberately not processed, oldest first, as far as it is kept.
    pub fn unprocessed(&self) -> Vec<Unprocessed> {
        self.state().unprocessed.iter().cloned().collect()
    }

    /// What clients did wrong, oldest first, as far as it is kept.
    pub fn violations(&self) -> Vec<Violation> {
        self.state().violations.iter().copied().collect()
    }

    /// How often each thing happened.
    pub fn counts(&self) -> Counts {
        *self.counts.borrow()
    }

    /// Waits until this many pushes were accepted, repeats included, and returns those kept. It waits for as long as
    /// that takes: give it a limit with `tokio::time::timeout`.
    pub async fn wait_for(&self, accepted: u64) -> Vec<Arc<Push>> {
        self.wait_until(|counts| counts.accepted >= accepted).await;
        self.accepted()
    }

    /// Waits until the counts are as asked.
    pub async fn wait_until(&self, reached: impl FnMut(&Counts) -> bool) -> Counts {
        let mut receiver = self.counts.subscribe();
        // The sender lives in `self`, so the wait cannot end in an error; the borrow is only to satisfy the type.
        receiver.wait_for(reached).await.map_or_else(|_| Counts::default(), |counts| *counts)
    }

    /// Forgets everything and counts from zero. Numbers go on, so that a page never confuses two pushes.
    pub fn clear(&self) {
        let mut state = self.state();
        *state = State { last_number: state.last_number, ..State::default() };
        self.publish(&state, || Event::Cleared);
    }

    pub(super) fn accept(&self, push: Accepted, at_ms: u64) {
        let fingerprint = fingerprint(&push);
        let mut state = self.state();
        state.last_number += 1;
        let repeat = match state.seen.entry(fingerprint) {
            Entry::Occupied(mut entry) => {
                *entry.get_mut() += 1;
                true
            }
            Entry::Vacant(entry) => {
                entry.insert(1);
                false
            }
        };
        let Accepted { provider, connection, stream, id, device_token, topic, headers, body } = push;
        let number = state.last_number;
        let push = Push { number, provider, at_ms, connection, stream, id, device_token, topic, headers, body, repeat };
        let push = Arc::new(push);
        if let Some(dropped) = keep(&mut state.accepted, Arc::clone(&push), self.capacity) {
            let dropped = fingerprint_of(dropped.provider, &dropped.id, &dropped.body);
            if let Entry::Occupied(mut entry) = state.seen.entry(dropped) {
                *entry.get_mut() -= 1;
                if *entry.get() == 0 {
                    entry.remove();
                }
            }
        }
        state.counts.accepted += 1;
        state.counts.repeats += u64::from(repeat);
        self.publish(&state, || Event::Accepted(push));
    }

    pub(super) fn refuse(&self, mut refusal: Refusal) {
        let mut state = self.state();
        state.last_number += 1;
        refusal.number = state.last_number;
        let refusal = Arc::new(refusal);
        keep(&mut state.refused, Arc::clone(&refusal), self.capacity);
        state.counts.refused += 1;
        self.publish(&state, || Event::Refused(refusal));
    }

    pub(super) fn leave_unprocessed(&self, unprocessed: Unprocessed) {
        let mut state = self.state();
        keep(&mut state.unprocessed, unprocessed, self.capacity);
        state.counts.unprocessed += 1;
        self.counts.send_replace(state.counts);
    }

    pub(super) fn note_violation(&self, violation: Violation) {
        let mut state = self.state();
        keep(&mut state.violations, violation, self.capacity);
        state.counts.violations += 1;
        self.counts.send_replace(state.counts);
    }

    pub(super) fn count(&self, change: impl FnOnce(&mut Counts)) {
        let mut state = self.state();
        change(&mut state.counts);
        self.counts.send_replace(state.counts);
    }

    /// What happens from now on.
    pub(super) fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&self, state: &State, event: impl FnOnce() -> Event) {
        self.counts.send_replace(state.counts);
        if self.events.receiver_count() > 0 {
            // An error says that the last page was just closed.
            let _ = self.events.send(event());
        }
    }
}

/// Appends, and returns what fell out at the other end.
fn keep<T>(entries: &mut VecDeque<T>, entry: T, capacity: usize) -> Option<T> {
    let dropped = if entries.len() >= capacity { entries.pop_front() } else { None };
    entries.push_back(entry);
    dropped
}

fn fingerprint(push: &Accepted) -> u64 {
    fingerprint_of(push.provider, &push.id, &push.body)
}

/// What a repeat has in common with its first: Apple has an id for it, Google only the request itself.
fn fingerprint_of(provider: Provider, id: &str, body: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    provider.hash(&mut hasher);
    match provider {
        Provider::Apns => id.hash(&mut hasher),
        Provider::Fcm | Provider::OAuth => body.hash(&mut hasher),
    }
    hasher.finish()
}
