//! The memory of what was sent: a request that comes again within the window wakes no phone again but gets the first one's
//! outcome, and a phone's receipt counts only if this relay sent what it names.
//!
//! Two requests are the same if server, id (`ack_id`, or `webhook-id`) and device token are. Kept are keyed hashes of them
//! (`identity.rs`) and no text of a caller. Decides nothing about sending, counts nothing and logs one thing: that its bound
//! is too small for its window. Ids without text are not remembered: nobody named the request.
//!
//! **What is remembered** ([`is_remembered`]): what will not change. Delivered, clearly removed, and a push that the provider
//! refused for its own sake. Forgotten is what may pass: the caller is told to try again later, so its next try must be a
//! real one, and broken credentials are mended by an operator in minutes, not after the window. That also holds if an attempt's
//! fate is unknown (no answer in time): the phone may then be woken twice. The other choice, to answer the repeat from memory,
//! loses the message for certain while telling the caller to try again; the relay's own attempts take the same risk, and
//! a repeat that is delivered is remembered. Whoever replays a captured request gains at most that one push.
//!
//! **Duplicates in flight** wait for the first one and get its outcome, remembered or not. If the first one is dropped
//! without one (a forced stop, a panic), they are told [`NoOutcome::Lost`] and the next
//! claim is a first one again. Requests in flight are kept apart from the bounded tables: no flood pushes them out.
//!
//! **Bounds.** See [`MemorySettings::entries`]. With a `data_dir` it outlives the process ([`Memory::kept`]); without one, a restart
//! forgets everything.
//!
//! **Cost**, measured with full tables of the default size, most of it waiting for memory: 0.6 to 0.9 µs of CPU for a claim
//! and its end, the same with one thread as with two; 0.2 µs for a repeat, 0.1 µs for a receipt. One request in some 1,800
//! allocates: a table, sized to what the last one held. A lock is held for the look into four tables; one request in some
//! thousands makes a new table under it, or moves the entries of one that grew.

mod generations;
mod identity;
mod kept;
mod texts;

use std::collections::hash_map::Entry;
use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::clock::Clock;
use crate::notification::Platform;
use crate::outcome::{Outcome, Verdict};
use generations::{Generations, LIVE, Limits, TABLE_ENTRIES};
use identity::{AckKey, HashedMap, Hashes, Identity};
use kept::{Log, Note};
use texts::Texts;

/// How far the memory reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemorySettings {
    /// A request is the same only so long after the first. For signed webhooks twice their tolerance: a timestamp that lies
    /// ahead by the tolerance is good for twice as long.
    pub window: Duration,
    /// The most requests remembered, and as many sent ids for receipts; fewer than 4 count as 4. Needed for a whole window:
    /// notifications per second × window in seconds × 4/3 (the oldest of four tables goes as a whole). If more come, the oldest
    /// go earlier and [`MemoryState::window_held`] says how far back the memory still reaches.
    ///
    /// 48 bytes each, measured: 29 for the request and 19 for its receipt. So the default takes 48 MB when full (57 MB of
    /// resident memory) and holds 8.7 notifications a second for 24 hours; 100 a second for 24 hours need 11.5 million
    /// entries and 555 MB. Taken as it is needed, in steps: a table that has just grown is half empty.
    pub entries: usize,
}

impl Default for MemorySettings {
    fn default() -> Self {
        Self { window: Duration::from_secs(24 * 60 * 60), entries: 1_000_000 }
    }
}

/// What was sent, and what is being sent.
pub struct Memory {
    hashes: Hashes,
    clock: Clock,
    started: Instant,
    limits: Limits,
    requests: Box<[Mutex<Requests>]>,
    receipts: Box<[Mutex<Generations<AckKey, Sent>>]>,
    texts: Arc<Texts>,
    shrinking: AtomicBool,
    /// Its milliseconds when it began: as many as the window has, where what was sent before has its place in them.
    base: u64,
    /// From which millisecond on what was sent is known.
    known_since: u64,
    /// Absent where nothing outlives the process.
    log: Option<Log>,
}

/// The requests of one shard.
#[derive(Debug)]
struct Requests {
    /// Bounded by its callers: one entry for each [`Pending`] that lives. The channel exists once somebody waits.
    in_flight: HashedMap<Identity, Option<watch::Sender<Option<Outcome>>>>,
    decided: Generations<Identity, Decided>,
}

/// Milliseconds (48 bits) and the outcome's number in [`Texts`] (16 bits): with its key, an entry is 24 bytes.
#[derive(Clone, Copy, Debug)]
struct Decided(u64);

impl Decided {
    fn new(claimed: u64, outcome: u16) -> Self {
        Self(claimed << 16 | u64::from(outcome))
    }

    fn claimed(self) -> u64 {
        self.0 >> 16
    }

    #[allow(clippy::cast_possible_truncation, reason = "the lower bits are the outcome")]
    fn outcome(self) -> u16 {
        self.0 as u16
    }
}

/// Milliseconds, the platform (1 bit), and whether the receipt came (1 bit).
#[derive(Clone, Copy, Debug)]
struct Sent(u64);

impl Sent {
    fn new(at: u64, platform: Platform) -> Self {
        Self(at << 2 | u64::from(platform == Platform::Android) << 1)
    }

    fn at(self) -> u64 {
        self.0 >> 2
    }

    fn platform(self) -> Platform {
        if self.0 & 2 == 0 { Platform::Apple } else { Platform::Android }
    }

    /// Whether this is the first receipt.
    fn receive(&mut self) -> bool {
        let first = self.0 & 1 == 0;
        self.0 |= 1;
        first
    }
}

/// Whether a request is sent.
#[derive(Debug)]
pub enum Claim<'a> {
    /// The first of its name: send it and [settle](Pending::settle) it.
    First(Pending<'a>),
    /// It was sent or is being sent: send nothing and answer what [`Again::outcome`] says.
    Again(Again<'a>),
}

/// A request on its way. Dropped without [`Pending::settle`], it leaves nothing behind.
#[derive(Debug)]
#[must_use = "a request that is dropped unsettled is forgotten, and its duplicates are told that it was lost"]
pub struct Pending<'a> {
    memory: &'a Memory,
    /// `None` if it has no name, or no longer needs one.
    named: Option<Named>,
}

#[derive(Clone, Copy, Debug)]
struct Named {
    identity: Identity,
    ack: AckKey,
    claimed: u64,
}

/// A repeated request.
#[derive(Debug)]
pub struct Again<'a> {
    clock: &'a Clock,
    first: First,
}

#[derive(Debug)]
enum First {
    Settled(Outcome),
    InFlight(watch::Receiver<Option<Outcome>>),
}

/// Why a repeated request has no outcome to repeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoOutcome {
    /// The first one was given up without one. Nothing is known about its phone; claiming anew sends it.
    Lost,
    /// The first one is still on its way and the time is up.
    Late,
}

/// What a phone's receipt means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receipt {
    /// The first receipt for what this relay sent within the window.
    Sent {
        /// Whose phones it went to.
        platform: Platform,
        /// From the provider's answer to this receipt, to the millisecond.
        after: Duration,
    },
    /// It was counted before.
    Again,
    /// Nothing of this name was delivered within the window, as far as the memory reaches.
    Unknown,
}

/// For metrics, and for tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryState {
    /// Requests remembered; outdated ones are counted until their table goes.
    pub requests: usize,
    /// Ids that a receipt may name or has named.
    pub receipts: usize,
    /// Requests being sent.
    pub in_flight: usize,
    /// How far back the memory reaches now: the window, or the time since the start if that is shorter, or less if the bound
    /// is too small for what comes in.
    pub window_held: Duration,
    /// Requests and receipts that were dropped before their time, since the start. Grows only when the bound is too small.
    pub dropped_early: u64,
    /// Requests and receipts that are known to this process and could not be kept for the next one, since the start.
    pub unkept: u64,
}

/// Whether what one request ended with is the answer to its repeats, or they are sent. `verdict` is the last attempt's.
pub fn is_remembered(verdict: &Verdict) -> bool {
    match verdict {
        Verdict::Delivered | Verdict::Remove { ambiguous: false, .. } | Verdict::Rejected { .. } => true,
        // An ambiguous removal may be the fault of the target or its environment, which somebody corrects before trying again.
        Verdict::Remove { ambiguous: true, .. }
        | Verdict::Retry { .. }
        | Verdict::NewCredential { .. }
        | Verdict::TargetBroken { .. } => false,
    }
}

impl Memory {
    /// An empty one. Takes memory as entries come.
    pub fn new(settings: MemorySettings, clock: Clock) -> Self {
        // As many shards as make full tables: their slots come in powers of two.
        let shards = settings.entries.div_ceil(LIVE * TABLE_ENTRIES).max(1);
        let per_table = (settings.entries / (LIVE * shards)).max(1);
        // 2^46 ms are two thousand years; the cut keeps sums with times far from overflow.
        let window = settings.window.as_millis().min(1 << 46) as u64;
        let limits = Limits { window, per_table };
        let requests = || Requests { in_flight: HashedMap::default(), decided: Generations::new(limits) };
        Self {
            hashes: Hashes::new(),
            base: 0,
            known_since: 0,
            log: None,
            started: clock.now(),
            clock,
            limits,
            requests: (0..shards).map(|_| Mutex::new(requests())).collect(),
            receipts: (0..shards).map(|_| Mutex::new(Generations::new(limits))).collect(),
            texts: Arc::default(),
            shrinking: AtomicBool::new(false),
        }
    }

    /// The same, with what an earlier process sent, and kept for the next one, in this directory. Where that cannot be, it is told, and
    /// this one remembers as long as it lives.
    pub fn kept(settings: MemorySettings, clock: &Clock, data_dir: &Path) -> Self {
        let mut memory = Self::new(settings, clock.clone());
        let bounds = kept::Bounds { window: settings.window, entries: settings.entries };
        let opened = kept::open(data_dir, bounds).map_err(|error| error.to_string());
        let started = opened.and_then(|mut kept| {
            memory.hashes = Hashes::of(kept.key);
            memory.base = memory.limits.window;
            memory.known_since = memory.base;
            kept.read(clock, |read| memory.recall(read));
            Log::start(kept, Arc::clone(&memory.texts), clock.clone(), memory.now()).map_err(|error| error.to_string())
        });
        match started {
            Ok(log) => memory.log = Some(log),
            Err(error) => tracing::error!(
                error,
                "what is sent is remembered in memory only: after a restart repeats of it will be sent again"
            ),
        }
        memory
    }

    /// Takes over what one file of an earlier process holds.
    fn recall(&mut self, read: kept::Past) {
        let now = self.base;
        #[allow(clippy::cast_possible_truncation, reason = "cut to the window")]
        let age = read.age.as_millis().min(u128::from(self.limits.window)) as u64;
        let begun = now - age;
        self.known_since = self.known_since.min(begun);
        let mut texts = std::collections::HashMap::new();
        for record in read.records {
            // What was noted later than now cannot be: the wall time was set back over a boot of the machine.
            let at = |millis: i32| begun.saturating_add_signed(millis.into()).min(now);
            match record {
                kept::Record::Text { number, text } => {
                    texts.insert(number, text);
                }
                kept::Record::Settled { identity, ack, at: millis, outcome, receipt } => {
                    let at = at(millis);
                    if now - at >= self.limits.window {
                        continue;
                    }
                    if let Some(number) = outcome.and_then(|number| self.texts.adopt(number, &texts)) {
                        let identity = Identity::of(identity);
                        self.requests(identity).decided.insert(identity, Decided::new(at, number), at);
                    }
                    if let Some(platform) = receipt {
                        self.expect_receipt(AckKey::of(ack), platform, at);
                    }
                }
                kept::Record::Late { ack, at: millis, platform } => {
                    self.expect_receipt(AckKey::of(ack), platform, at(millis));
                }
                kept::Record::Received { ack } => {
                    let ack = AckKey::of(ack);
                    if let Some(sent) = self.receipts(ack).get_mut(ack) {
                        sent.receive();
                    }
                }
            }
        }
    }

    /// Has all that is remembered on disk, and keeps no more. Blocks for as long as the disk takes: for the end of the process.
    pub fn close(&self) {
        if let Some(log) = &self.log {
            log.close();
        }
    }

    fn note(&self, note: Note) {
        if let Some(log) = &self.log {
            log.note(note);
        }
    }

    /// Asks to send what `server` calls `id` to `device`.
    pub fn claim(&self, server: &str, id: &str, device: &str) -> Claim<'_> {
        if id.is_empty() {
            return Claim::First(Pending { memory: self, named: None });
        }
        let identity = self.hashes.identity(server, id, device);
        let claimed = self.now();
        let mut requests = self.requests(identity);
        let decided = requests.decided.get(identity);
        if let Some(decided) = decided.filter(|first| claimed.saturating_sub(first.claimed()) < self.limits.window) {
            drop(requests);
            let outcome = self.texts.outcome(decided.outcome());
            return Claim::Again(Again { clock: &self.clock, first: First::Settled(outcome) });
        }
        match requests.in_flight.entry(identity) {
            Entry::Occupied(mut first) => {
                let told = first.get_mut().get_or_insert_with(|| watch::Sender::new(None)).subscribe();
                Claim::Again(Again { clock: &self.clock, first: First::InFlight(told) })
            }
            Entry::Vacant(vacant) => {
                vacant.insert(None);
                drop(requests);
                let named = Named { identity, ack: self.hashes.ack(id), claimed };
                Claim::First(Pending { memory: self, named: Some(named) })
            }
        }
    }

    /// Whether a claim would find that this was sent, or is being sent, already. Claims nothing.
    pub fn knows(&self, server: &str, id: &str, device: &str) -> bool {
        if id.is_empty() {
            return false;
        }
        let identity = self.hashes.identity(server, id, device);
        let now = self.now();
        let requests = self.requests(identity);
        let decided = requests.decided.get(identity);
        decided.is_some_and(|first| now.saturating_sub(first.claimed()) < self.limits.window)
            || requests.in_flight.contains_key(&identity)
    }

    /// What waited on disk was delivered: a receipt may come for it now.
    pub fn delivered_late(&self, ack_id: &str, platform: Platform) {
        let (ack, at) = (self.hashes.ack(ack_id), self.now());
        if self.expect_receipt(ack, platform, at) {
            self.warn_once_of_the_bound();
        }
        self.note(Note::Late { ack, at, platform });
    }

    /// Takes note of a phone's receipt, which names the id alone.
    pub fn receipt(&self, ack_id: &str) -> Receipt {
        let ack = self.hashes.ack(ack_id);
        let now = self.now();
        let mut receipts = self.receipts(ack);
        let Some(sent) = receipts.get_mut(ack) else { return Receipt::Unknown };
        let after = now.saturating_sub(sent.at());
        if after >= self.limits.window {
            Receipt::Unknown
        } else if sent.receive() {
            self.note(Note::Received { ack });
            Receipt::Sent { platform: sent.platform(), after: Duration::from_millis(after) }
        } else {
            Receipt::Again
        }
    }

    /// The figures, and the time to drop what nobody came to replace. Looks into every shard: for a scrape, not for a request.
    pub fn state(&self) -> MemoryState {
        let now = self.now();
        let (mut lost_until, mut dropped_early) = (self.known_since, 0);
        let mut add = |lost: generations::Lost| {
            lost_until = lost_until.max(lost.until.unwrap_or(0));
            dropped_early += lost.entries;
        };
        let (mut requests, mut receipts, mut in_flight) = (0, 0, 0);
        for shard in &self.requests {
            let mut shard = lock(shard);
            shard.decided.sweep(now);
            requests += shard.decided.len();
            in_flight += shard.in_flight.len();
            add(shard.decided.lost());
        }
        for shard in &self.receipts {
            let mut shard = lock(shard);
            shard.sweep(now);
            receipts += shard.len();
            add(shard.lost());
        }
        let window_held = Duration::from_millis(now.saturating_sub(lost_until).min(self.limits.window));
        let unkept = self.log.as_ref().map_or(0, Log::unkept);
        MemoryState { requests, receipts, in_flight, window_held, dropped_early, unkept }
    }

    /// Milliseconds since the start, and the window before it where what was sent then is known.
    #[allow(clippy::cast_possible_truncation, reason = "2^48 ms are nine thousand years")]
    fn now(&self) -> u64 {
        self.base + (self.clock.now() - self.started).as_millis() as u64
    }

    fn requests(&self, identity: Identity) -> MutexGuard<'_, Requests> {
        lock(&self.requests[identity.shard(self.requests.len())])
    }

    fn receipts(&self, ack: AckKey) -> MutexGuard<'_, Generations<AckKey, Sent>> {
        lock(&self.receipts[ack.shard(self.receipts.len())])
    }

    /// The first sent of a name keeps it: another server that learnt the id cannot make its receipt count twice.
    fn expect_receipt(&self, ack: AckKey, platform: Platform, now: u64) -> bool {
        let mut receipts = self.receipts(ack);
        match receipts.get(ack) {
            Some(sent) if now.saturating_sub(sent.at()) < self.limits.window => false,
            _ => receipts.insert(ack, Sent::new(now, platform), now),
        }
    }

    fn warn_once_of_the_bound(&self) {
        if !self.shrinking.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                entries = self.limits.per_table * LIVE * self.requests.len(),
                window_seconds = self.limits.window / 1_000,
                "more notifications come than the memory of what was sent can hold for its window: a repeat of an old one \
                 may be sent again; raise its entries or shorten its window"
            );
        }
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory")
            .field("limits", &self.limits)
            .field("shards", &self.requests.len())
            .finish_non_exhaustive()
    }
}

impl Pending<'_> {
    /// The end. Tells the duplicates that wait, and remembers the outcome if `verdict`, the last attempt's, is
    /// [final](is_remembered). With a platform, a delivered push may be acknowledged by a receipt; `None` for ids that no
    /// phone hears of.
    pub fn settle(mut self, verdict: &Verdict, outcome: &Outcome, acknowledged_by: Option<Platform>) {
        let memory = self.memory;
        let Some(Named { identity, ack, claimed }) = self.named.take() else { return };
        // What is on disk is dealt with: a repeat must not go there a second time.
        let kept =
            if *outcome == Outcome::Queued || is_remembered(verdict) { memory.texts.number(outcome) } else { None };
        // First of all: the phone may have the push already. A receipt that overtakes this is unknown; it would have to make
        // its way over the chat server faster than the provider's answer came here.
        let now = memory.now();
        let mut early = match acknowledged_by {
            Some(platform) if *outcome == Outcome::Delivered => memory.expect_receipt(ack, platform, now),
            _ => false,
        };
        let mut requests = memory.requests(identity);
        let waiting = requests.in_flight.remove(&identity).flatten();
        if let Some(number) = kept {
            early |= requests.decided.insert(identity, Decided::new(claimed, number), now);
        }
        drop(requests);
        if let Some(waiting) = waiting {
            waiting.send_replace(Some(outcome.clone()));
        }
        let receipt = acknowledged_by.filter(|_| *outcome == Outcome::Delivered);
        if kept.is_some() || receipt.is_some() {
            memory.note(Note::Settled { identity, ack, claimed, outcome: kept, receipt });
        }
        if early {
            memory.warn_once_of_the_bound();
        }
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        if let Some(Named { identity, .. }) = self.named.take() {
            // Whoever waits learns it from the channel's end, outside of the lock.
            let waiting = self.memory.requests(identity).in_flight.remove(&identity);
            drop(waiting);
        }
    }
}

impl Again<'_> {
    /// The first one's outcome, waiting for it no longer than `within` on the memory's clock.
    pub async fn outcome(self, within: Duration) -> Result<Outcome, NoOutcome> {
        let mut told = match self.first {
            First::Settled(outcome) => return Ok(outcome),
            First::InFlight(told) => told,
        };
        tokio::select! {
            biased;
            told = told.wait_for(Option::is_some) => match told.as_deref() {
                Ok(Some(outcome)) => Ok(outcome.clone()),
                Ok(None) | Err(_) => Err(NoOutcome::Lost),
            },
            () = self.clock.sleep(within) => Err(NoOutcome::Late),
        }
    }

    /// Whether the first one is still on its way.
    pub fn is_in_flight(&self) -> bool {
        matches!(self.first, First::InFlight(_))
    }
}

/// A panic under one of these locks leaves an entry too many or too few, and no other harm.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
