//! How often something may happen, counted apart for each of any number of keys in bounded memory.
//!
//! Each key has a bucket that holds `burst` and refills at a steady pace; `governor` does that arithmetic (GCRA). This
//! module owns where buckets are kept and which are forgotten. It does not know what a key means, nor what becomes of
//! whoever is too fast.
//!
//! **What is forgotten.** Buckets are kept in two generations of half of `max_keys` each. When the current one is full,
//! the previous one is dropped as a whole. A key that is seen moves to the current one, so a key is forgotten only when
//! about half of `max_keys` others came after its last sight; it then starts with a full bucket. Whoever can make up
//! that many keys gains nothing by it: each of them had a full bucket to begin with.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, Hash, Hasher, RandomState};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use governor::clock::Clock as _;
use governor::middleware::{NoOpMiddleware, StateInformationMiddleware};
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed, StateStore};
use governor::{Quota, RateLimiter};
use tokio::time::Instant;

use crate::clock::Clock;

/// The most shards. A check holds its shard's lock for the few dozen instructions of one table look-up: with this many,
/// callers with different keys hardly ever meet.
const MAX_SHARDS: usize = 64;

/// The fewest keys in one generation of one shard, unless `max_keys` allows fewer in all. Hashes do not fill shards quite
/// evenly; with fewer keys the fullest would forget much earlier than the rest.
const MIN_SHARD_KEYS: usize = 128;

/// The longest time in which a bucket may fill. It keeps the arithmetic, 64 bits of nanoseconds, from overflowing.
const MAX_FILL: Duration = Duration::from_hours(24 * 365);

/// How often something may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// The time in which a bucket regains one.
    interval: Duration,
    burst: NonZeroU32,
}

impl Rate {
    /// So many per time in the long run, and at most `burst` at once. A burst that would take more than a year to regain
    /// is cut to what a year regains.
    pub fn new(count: NonZeroU32, per: Duration, burst: NonZeroU32) -> Self {
        let interval = (per / count.get()).clamp(Duration::from_nanos(1), MAX_FILL);
        let most = u32::try_from(MAX_FILL.as_nanos() / interval.as_nanos()).unwrap_or(u32::MAX);
        let burst = NonZeroU32::new(burst.get().min(most)).unwrap_or(NonZeroU32::MIN);
        Self { interval, burst }
    }

    /// The most at once.
    pub fn burst(self) -> u32 {
        self.burst.get()
    }

    /// How many a second, in the long run.
    pub fn per_second(self) -> f64 {
        1.0 / self.interval.as_secs_f64()
    }

    /// It must wait because it has not even one: when it has, the others are still to come.
    fn wait(self, next_after: Duration) -> Wait {
        Wait { next_after, full_after: next_after + self.interval * (self.burst.get() - 1) }
    }

    fn quota(self) -> Quota {
        Quota::with_period(self.interval).expect("an interval is at least a nanosecond").allow_burst(self.burst)
    }
}

/// What a key may still do, after it was allowed one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remaining {
    /// How many more at once.
    pub count: u32,
    /// By then the bucket is full again; it may be full one interval earlier.
    pub full_after: Duration,
}

/// What a key must wait for. What it tried has not been counted against it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// Until the next one is allowed; more than zero unless the time came while this was worked out.
    pub next_after: Duration,
    /// Until the bucket is full again.
    pub full_after: Duration,
}

impl Wait {
    /// For a `Retry-After`: whole seconds until the next one is allowed, at least one.
    pub fn seconds(&self) -> u64 {
        whole_seconds(self.next_after).max(1)
    }
}

/// As many whole seconds as cover a time.
pub fn whole_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

/// One rate for one thing. Without a lock; about 60 bytes.
#[derive(Debug)]
pub struct Bucket {
    limiter: RateLimiter<NotKeyed, InMemoryState, Hands, NoOpMiddleware<Nanos>>,
    rate: Rate,
}

impl Bucket {
    /// A full one.
    pub fn new(rate: Rate, clock: Clock) -> Self {
        let hands = Hands { start: clock.now(), clock };
        Self { limiter: RateLimiter::direct_with_clock(rate.quota(), hands), rate }
    }

    /// How it fills.
    pub fn rate(&self) -> Rate {
        self.rate
    }

    /// Takes one, or says how long to wait.
    pub fn check(&self) -> Result<(), Wait> {
        self.limiter.check().map_err(|until| self.rate.wait(until.wait_time_from(self.limiter.clock().now())))
    }
}

/// One rate for each of many keys.
///
/// Memory: 17 bytes a key in hash tables that are at least 7/16 full when they have come to their size, so at most 39
/// bytes for each of `max_keys`, and what the allocator rounds up. Measured with jemalloc as resident memory, after eight
/// times as many keys as are remembered: 1.7 MiB (36 bytes a key) for 50,000, 40 MiB (42 bytes) for a million. It is
/// taken when keys come, and then kept. A check takes about 70 ns, most of it for the hash and the clock.
#[derive(Debug)]
pub struct Rates {
    limiter: RateLimiter<u64, Buckets, Hands, StateInformationMiddleware>,
    /// Those of the limiter, which does not show them.
    buckets: Buckets,
    rate: Rate,
    /// Random in each process, so that nobody can work out two keys that share a bucket.
    hashing: RandomState,
}

impl Rates {
    /// All keys have full buckets. At most `max_keys` (and at least 2) are remembered; no memory is taken before they come.
    pub fn new(rate: Rate, max_keys: usize, clock: Clock) -> Self {
        let (buckets, hands) = (Buckets::new(max_keys), Hands { start: clock.now(), clock });
        let limiter = RateLimiter::new(rate.quota(), buckets.clone(), hands);
        Self { limiter, buckets, rate, hashing: RandomState::new() }
    }

    /// Takes one from the key's bucket, or says how long the key must wait.
    ///
    /// Keys are told apart by a hash of 64 bits: among a million keys, two share a bucket with a probability of 3·10⁻⁸.
    pub fn check(&self, key: impl Hash) -> Result<Remaining, Wait> {
        let Rate { interval, burst } = self.rate;
        match self.limiter.check_key(&self.hashing.hash_one(key)) {
            Ok(state) => {
                let count = state.remaining_burst_capacity();
                Ok(Remaining { count, full_after: interval * burst.get().saturating_sub(count) })
            }
            Err(until) => Err(self.rate.wait(until.wait_time_from(self.limiter.clock().now()))),
        }
    }

    /// How a key stands, without taking anything from its bucket. `None` if it is not remembered: its bucket is full.
    pub fn look(&self, key: impl Hash) -> Option<Result<(), Wait>> {
        let key = self.hashing.hash_one(key);
        let full_at = self.buckets.shard(key).full_at(key)?;
        let now: u64 = self.limiter.clock().now().into();
        let full_after = Duration::from_nanos(full_at.saturating_sub(now));
        // One is there when all but one may still be missing.
        match full_after.checked_sub(self.rate.interval * (self.rate.burst.get() - 1)) {
            Some(next_after) if !next_after.is_zero() => Some(Err(Wait { next_after, full_after })),
            _ => Some(Ok(())),
        }
    }

    /// Fills a key's bucket.
    pub fn forget(&self, key: impl Hash) {
        let key = self.hashing.hash_one(key);
        let mut shard = self.buckets.shard(key);
        shard.current.remove(&key);
        shard.previous.remove(&key);
    }

    /// How many keys are remembered now. Locks each shard in turn: for tests, not for the hot path.
    pub fn remembered(&self) -> usize {
        self.buckets.shards.iter().map(|shard| lock(shard).len()).sum()
    }
}

/// The relay's clock, as `governor` reads it: nanoseconds since the start.
#[derive(Debug)]
struct Hands {
    clock: Clock,
    start: Instant,
}

impl governor::clock::Clock for Hands {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        self.clock.now().duration_since(self.start).into()
    }
}

/// Where buckets are kept. Clones share them.
#[derive(Clone, Debug)]
struct Buckets {
    /// A power of two of them.
    shards: Arc<[Mutex<Shard>]>,
    /// Keys in one generation of one shard, at most.
    generation: usize,
}

impl Buckets {
    fn new(max_keys: usize) -> Self {
        let generation = (max_keys / 2).max(1);
        let mut shards = MAX_SHARDS;
        while shards > 1 && generation / shards < MIN_SHARD_KEYS {
            shards /= 2;
        }
        Self { shards: (0..shards).map(|_| Mutex::default()).collect(), generation: generation / shards }
    }

    fn shard(&self, key: u64) -> MutexGuard<'_, Shard> {
        // From the middle: the tables take the lowest bits and the highest seven.
        let middle = usize::try_from(key >> 32 & 0xffff).expect("16 bits fit");
        lock(&self.shards[middle % self.shards.len()])
    }
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    // Between any two of its operations a shard is whole: at worst a panic has lost one bucket.
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

impl StateStore for Buckets {
    type Key = u64;

    fn measure_and_replace<T, F, E>(&self, key: &u64, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut shard = self.shard(*key);
        if let Some(full_at) = shard.current.get_mut(key) {
            let (outcome, replacement) = decide(Some((*full_at).into()))?;
            *full_at = replacement.into();
            return Ok(outcome);
        }
        let known = shard.previous.remove(key);
        match decide(known.map(Nanos::from)) {
            Ok((outcome, full_at)) => {
                shard.insert(*key, full_at.into(), self.generation);
                Ok(outcome)
            }
            Err(denied) => {
                // A key that keeps trying must not be forgotten for it.
                if let Some(full_at) = known {
                    shard.insert(*key, full_at, self.generation);
                }
                Err(denied)
            }
        }
    }
}

/// Part of the buckets: by key, when each is full again, in nanoseconds since the start.
#[derive(Debug, Default)]
struct Shard {
    current: HashMap<u64, u64, BuildHasherDefault<AsItIs>>,
    previous: HashMap<u64, u64, BuildHasherDefault<AsItIs>>,
}

impl Shard {
    fn full_at(&self, key: u64) -> Option<u64> {
        self.current.get(&key).or_else(|| self.previous.get(&key)).copied()
    }

    /// Adds a key that is in neither generation.
    fn insert(&mut self, key: u64, full_at: u64, generation: usize) {
        if self.current.len() >= generation {
            std::mem::swap(&mut self.current, &mut self.previous);
            // Keeps its memory for the keys to come.
            self.current.clear();
        }
        self.current.insert(key, full_at);
    }

    fn len(&self) -> usize {
        self.current.len() + self.previous.len()
    }
}

/// For keys that are hashes already.
#[derive(Debug, Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn write(&mut self, bytes: &[u8]) {
        // Not for `u64`, the only keys there are; but whatever is written counts.
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
#[path = "rate_tests.rs"]
mod tests;
