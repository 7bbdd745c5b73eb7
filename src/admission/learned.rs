//! What the relay learns about who sends, in `observe` mode: which server ids, how much, signed or not, and with which key.
//!
//! Nobody is asked. A signature leaves a few keys that can have made it (`recovery`), and the next one leaves one of them:
//! that key is *learned*. From then on a signature by another key is a possible spoof.
//!
//! # What it proves, and what it does not
//!
//! A learned key proves that whoever sent two different signatures under this server id holds one private key, or has
//! two signatures that were made with it. It does **not** prove that this is the server's key:
//!
//! - Whoever sends first teaches. A stranger who knows the server id and sends before the server does, with a key of his
//!   own, is learned; the server itself is then the possible spoof. From here the two look the same.
//! - The signature does not cover the server id. Whoever has seen signatures of server A (each phone gets those of its
//!   own pushes) can send them under the id of server B, and teach A's key for B.
//! - A push without a signature, or with one repeated, says nothing about the key. Pushes are not held against each other
//!   here; that is the memory of ack ids.
//!
//! So a learned key is a proposal. [`Learned::adoptable`] gives it out only if nothing has spoken against it; what it is
//! worth beyond that shows `pushrelay enroll`, which fetches the key from the server's own address. Nothing learned here
//! ever decides about a push: only registered keys do.
//!
//! A server that changes its key looks like somebody else first. When the learned key stays silent while another one signs
//! ten times in a row, among the signatures that were looked at, that is reported as a possible rotation, and still nothing
//! is adopted.
//!
//! # What it costs
//!
//! Counting is a table look-up and a few atomic counters. Signatures are looked at as [`Limits`] allows: a look beyond it
//! is left out and the push only counted, so at high rates mismatches are a sample, the first ones of each second. Nobody
//! waits for a lock while a curve operation runs: whoever finds a server's keys taken leaves its look out.
//!
//! Memory: at most [`Limits::max_servers`] entries, 0.3 kB each for a server that signs nothing, 1.1 kB with a learned key,
//! and under 3 kB when strangers sign under its id as well.

mod budget;
mod document;
mod file;
mod keys;
mod observation;
mod report;
mod room;
mod server;
mod state;

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, TryLockError};

use super::key::VerifyingKey;
use super::signature::SignedParts;
use crate::notification::ServerId;
use budget::PerSecond;
pub use file::{FILE_NAME, LoadError, SaveError};
use keys::Finding;
pub use observation::{Event, Observation, Sent};
pub use report::{KeyStanding, NotAdoptable, Report, Rotation, ServerReport};
use server::{Server, is_due};
use state::State;

/// The longest server id kept, bytes. Mattermost's have 26; a longer one is not cut, since two could become one.
const MAX_ID_BYTES: usize = 128;

/// How much is remembered and how much is computed. With the defaults no load costs more than about 1,000 verifications a
/// second: 4 % of one core where a verification takes 35 µs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most servers remembered. Ten thousand is far more than one relay serves, and under 30 MB at worst; ids can be made
    /// up, so there must be a bound. Beyond it those are forgotten that look the least like servers (`room`).
    pub max_servers: usize,
    /// The most signatures of one server held against its learned key per second.
    pub comparisons_per_server: u32,
    /// The same of all servers together. Each takes a verification.
    pub comparisons: u32,
    /// The most recoveries for one server per second, so that one does not use up those of all.
    pub recoveries_per_server: u32,
    /// The same of all servers together. Each takes ten verifications, and up to twelve more to look through the suspects.
    pub recoveries: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_servers: 10_000,
            comparisons_per_server: 20,
            comparisons: 500,
            recoveries_per_server: 2,
            recoveries: 20,
        }
    }
}

/// What has been learned. Shared by all workers; see the module for what it is worth.
#[derive(Debug)]
pub struct Learned {
    limits: Limits,
    /// Where it is kept, and that one saves at a time.
    file: Mutex<file::Place>,
    servers: RwLock<HashMap<ServerId, Arc<Server>>>,
    forgotten: AtomicU64,
    unusable_ids: AtomicU64,
    /// When an id that is not kept, or that another was forgotten for, was last worth a log line.
    last_logged: AtomicU64,
    comparisons: PerSecond,
    recoveries: PerSecond,
    is_dirty: AtomicBool,
}

impl Learned {
    /// Reads what was saved in this directory; nothing yet if there is no file. For the relay, which owns the file: one that
    /// cannot be understood is an error and gets another name, so the start after that begins with nothing.
    pub fn load(directory: &Path, limits: Limits) -> Result<Self, LoadError> {
        let state = file::load(directory)?;
        let servers = state.servers.into_iter().map(|(id, stored)| (id, Arc::new(Server::from(stored)))).collect();
        Ok(Self {
            limits,
            file: Mutex::new(file::Place::new(directory)),
            servers: RwLock::new(servers),
            forgotten: state.forgotten.into(),
            unusable_ids: state.unusable_ids.into(),
            last_logged: AtomicU64::default(),
            comparisons: PerSecond::default(),
            recoveries: PerSecond::default(),
            is_dirty: AtomicBool::default(),
        })
    }

    /// What the file in this directory says, for those who only look: it is left as it is, even if it is not understood.
    pub fn read(directory: &Path) -> Result<Report, LoadError> {
        Ok(report::report(&file::read(directory)?))
    }

    /// Writes what has changed since the last time; `false` if nothing has. Blocks for as long as the disk takes, so not on
    /// a worker. After an error everything is still to be saved.
    pub fn save(&self) -> Result<bool, SaveError> {
        let place = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.is_dirty.swap(false, Ordering::AcqRel) {
            return Ok(false);
        }
        place.write(&self.state()).inspect_err(|_| self.is_dirty.store(true, Ordering::Release))?;
        Ok(true)
    }

    /// Counts a push and looks at its signature. `now` in unix seconds.
    pub fn observe(&self, id: &ServerId, sent: Sent<'_>, now: u64) -> Observation {
        let (server, event) = match self.server(id, now) {
            Ok(found) => found,
            Err(event) => {
                self.mark_dirty();
                return Observation { server: Some(event), key: None, log: is_due(&self.last_logged, now) };
            }
        };
        server.count(sent, now);
        let finding = match sent {
            Sent::Signed(parts) => self.look(&server, &parts, now),
            Sent::Unsigned | Sent::UnsignedTest | Sent::Unusable => None,
        };
        if finding == Some(Finding::Impossible) {
            server.unusable.fetch_add(1, Ordering::Relaxed);
        }
        self.mark_dirty();
        let key = match finding {
            Some(Finding::Narrowed) => Some(Event::KeyNarrowed),
            Some(Finding::Learned) => Some(Event::KeyLearned),
            Some(Finding::Mismatch) => Some(Event::PossibleSpoof),
            Some(Finding::Rotation) => Some(Event::PossibleRotation),
            Some(Finding::Confirmed | Finding::Nothing | Finding::Impossible) | None => None,
        };
        let log = match key {
            Some(Event::PossibleSpoof | Event::PossibleRotation) => is_due(&server.last_logged, now),
            Some(Event::KeyLearned) => true,
            // Any number of strangers can bring about a first signature each, and once there were too many, a first push.
            _ => match event {
                Some(Event::ServerBeyondBound) => is_due(&self.last_logged, now),
                event => event.is_some(),
            },
        };
        Observation { server: event, key, log }
    }

    /// Forgets a server, as when it was registered: its place is free for another.
    pub fn forget(&self, id: &ServerId) -> bool {
        let known = self.servers.write().unwrap_or_else(PoisonError::into_inner).remove(id).is_some();
        if known {
            self.mark_dirty();
        }
        known
    }

    /// The key that may be proposed for this server: learned from two signatures, contradicted by none, and no other
    /// server's. What it is worth, the module says.
    pub fn adoptable(&self, id: &ServerId) -> Result<VerifyingKey, NotAdoptable> {
        self.report().servers.into_iter().find(|server| server.id == *id).ok_or(NotAdoptable::UnknownServer)?.adoptable
    }

    /// Everything, for people.
    pub fn report(&self) -> Report {
        report::report(&self.state())
    }

    /// The server, and the event if it is new; or why it is not kept.
    fn server(&self, id: &ServerId, now: u64) -> Result<(Arc<Server>, Option<Event>), Event> {
        let servers = self.servers();
        if let Some(server) = servers.get(id) {
            return Ok((Arc::clone(server), None));
        }
        if !is_usable(id.as_str()) {
            self.unusable_ids.fetch_add(1, Ordering::Relaxed);
            return Err(Event::UnusableServerId);
        }
        // Looked for while others may read: a flood of made-up ids must not stop them.
        let is_full = servers.len() >= self.limits.max_servers;
        let gone = if is_full { room::to_forget(&servers, self.limits.max_servers) } else { Vec::new() };
        drop(servers);
        let mut servers = self.servers.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(server) = servers.get(id) {
            return Ok((Arc::clone(server), None));
        }
        // Another may have made room, or taken it, meanwhile: a few too many or too few until the next one comes.
        if servers.len() >= self.limits.max_servers {
            let forgotten = gone.iter().filter(|id| servers.remove(*id).is_some()).count();
            self.forgotten.fetch_add(forgotten as u64, Ordering::Relaxed);
        }
        let server = Arc::new(Server { first_seen: now, ..Server::default() });
        servers.insert(id.clone(), Arc::clone(&server));
        let is_crowded = self.forgotten.load(Ordering::Relaxed) > 0;
        Ok((server, Some(if is_crowded { Event::ServerBeyondBound } else { Event::NewServer })))
    }

    fn look(&self, server: &Server, parts: &SignedParts<'_>, now: u64) -> Option<Finding> {
        // Whoever holds this lock is busy with the curve. Waiting would hold up a worker; another signature will come.
        let mut keys = match server.keys.try_lock() {
            Ok(keys) => keys,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        // A server's own budget first: what it may not use is not taken from the others.
        let may_recover = || {
            server.recoveries.take(now, self.limits.recoveries_per_server)
                && self.recoveries.take(now, self.limits.recoveries)
        };
        if keys.learned.is_none() {
            return may_recover().then(|| keys.learn(parts, now));
        }
        let may_compare = server.comparisons.take(now, self.limits.comparisons_per_server)
            && self.comparisons.take(now, self.limits.comparisons);
        may_compare.then(|| keys.compare(parts, now, may_recover))
    }

    fn servers(&self) -> RwLockReadGuard<'_, HashMap<ServerId, Arc<Server>>> {
        self.servers.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// A copy of everything. Each server's is of one moment, all of them are not: workers count on meanwhile.
    fn state(&self) -> State {
        let servers: Vec<_> = self.servers().iter().map(|(id, server)| (id.clone(), Arc::clone(server))).collect();
        let mut servers: Vec<_> = servers.into_iter().map(|(id, server)| (id, server.stored())).collect();
        servers.sort_by(|(one, _), (other, _)| one.cmp(other));
        State {
            servers,
            forgotten: self.forgotten.load(Ordering::Relaxed),
            unusable_ids: self.unusable_ids.load(Ordering::Relaxed),
        }
    }

    /// After the change: a save that runs meanwhile has either seen it or leaves the mark.
    fn mark_dirty(&self) {
        self.is_dirty.swap(true, Ordering::AcqRel);
    }
}

/// Whether an id is kept. Others would come out again on the operator's terminal, move its cursor or turn its text about;
/// Mattermost's ids are letters and digits.
fn is_usable(id: &str) -> bool {
    !id.is_empty() && id.len() <= MAX_ID_BYTES && id.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests;
