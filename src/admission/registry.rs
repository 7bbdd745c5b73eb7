//! The registered chat servers: what each may do, and how much of it each has done. Readers see one whole state and never
//! wait; [`Registry::replace`] puts another in its place while requests run.
//!
//! A server's limits are its own: no request waits for, or is counted against, another server's. How much it has sent
//! lives as long as the process, across replacements, by id; it is not written anywhere. A server that is taken out and
//! put back later starts anew, and so does the bucket of one whose rate is changed.
//!
//! **Measured** with 10,000 servers in files of their own, one key each (release build, jemalloc, two shared cores): the
//! configuration is read in 0.15 to 0.37 s and the registry made of it in 3 ms; after a change the directory is read again
//! in 0.04 to 0.07 s (files that look unchanged are not opened), the whole of it in 0.12 to 0.22 s, and put in place in 3 to
//! 7 ms. Finding a server takes 35 to 50 ns, counting against its rate and quota another 70 to 110 ns. Resident memory: 3.0 KB
//! a server, most of it the parsed key; 4.7 KB after everything was read again, when there were two of each for a moment.
//!
//! It does not know how a request is signed, nor where the settings come from.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, Guard};
use aws_lc_rs::digest::{self, SHA256};

pub use super::webhook::WebhookKey;

use super::key::VerifyingKey;
use super::rate::{Bucket, Rate};
use super::refusal::{Refusal, seconds};
use super::site::Site;
use crate::clock::Clock;
use crate::notification::{ServerId, TargetName};
use crate::telemetry::log;

/// Seconds in a day: UTC, as the Unix epoch counts, knows no other.
const DAY: u64 = 24 * 60 * 60;

/// The most names in an account of what a replacement changed: more do not help on one line.
const MOST_NAMES: usize = 10;

/// One registered chat server.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerSettings {
    /// What it calls itself (Mattermost: the diagnostic id).
    pub id: ServerId,
    /// For people.
    pub name: String,
    /// Where it can be asked who it is; nobody asks there while the relay runs.
    pub site: Option<Site>,
    /// What it may sign Mattermost's requests with; any of them will do.
    pub keys: ServerKeys,
    /// What it may sign webhooks with.
    pub webhook_keys: WebhookKeys,
    /// The client certificates that say it is this server, whatever it signs.
    pub certificates: Vec<Fingerprint>,
    /// How it may sign.
    pub schemes: Schemes,
    /// Where it may push to; to every target if absent.
    pub targets: Option<BTreeSet<TargetName>>,
    /// How fast it may send; without one as fast as it likes.
    pub rate: Option<Rate>,
    /// How many notifications it may send in a day (UTC); as many as it likes if absent.
    pub daily_quota: Option<u32>,
    /// Whether it may send nothing for the time being.
    pub disabled: bool,
}

/// How requests are signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// As Mattermost signs: ES256 over the ids of push and device.
    Mattermost,
    /// As Standard Webhooks are signed.
    Webhook,
    /// Not at all: the connection's client certificate says who it is.
    Certificate,
}

/// SHA-256 of a client's certificate, DER.
pub type Fingerprint = [u8; 32];

/// Which of them a server may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Schemes {
    /// [`Scheme::Mattermost`].
    pub mattermost: bool,
    /// [`Scheme::Webhook`].
    pub webhook: bool,
    /// [`Scheme::Certificate`].
    pub certificate: bool,
}

impl Schemes {
    fn allow(self, scheme: Scheme) -> bool {
        match scheme {
            Scheme::Mattermost => self.mattermost,
            Scheme::Webhook => self.webhook,
            Scheme::Certificate => self.certificate,
        }
    }
}

/// Public keys of a server, those that last longest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServerKeys {
    keys: Vec<VerifyingKey>,
    /// For each, the last second in which it counts, since the Unix epoch; `u64::MAX` for those without an end.
    until: Vec<u64>,
}

impl ServerKeys {
    /// Adds one that counts up to and including this second since the Unix epoch, or without end.
    pub fn add(&mut self, key: VerifyingKey, until: Option<u64>) {
        let until = until.unwrap_or(u64::MAX);
        let at = self.until.partition_point(|other| *other >= until);
        self.keys.insert(at, key);
        self.until.insert(at, until);
    }

    /// Those that count at this second.
    pub fn live(&self, unix_seconds: u64) -> &[VerifyingKey] {
        &self.keys[..self.count_live(unix_seconds)]
    }

    /// Those that have ended by then, each with its last second.
    pub fn ended(&self, unix_seconds: u64) -> impl Iterator<Item = (&VerifyingKey, u64)> {
        self.keys.iter().zip(self.until.iter().copied()).skip(self.count_live(unix_seconds))
    }

    /// All of them, each with its last second if it has one.
    pub fn all(&self) -> impl Iterator<Item = (&VerifyingKey, Option<u64>)> {
        self.keys.iter().zip(self.until.iter().map(|until| Some(*until).filter(|until| *until != u64::MAX)))
    }

    /// How many there are, ended ones included.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    fn count_live(&self, unix_seconds: u64) -> usize {
        self.until.partition_point(|until| *until >= unix_seconds)
    }
}

/// Keys for webhooks. They tell nobody whether two of them are the same, so a digest of their texts is kept beside them.
#[derive(Clone, Debug, Default)]
pub struct WebhookKeys {
    keys: Vec<WebhookKey>,
    digests: Vec<TextDigest>,
}

#[derive(Clone, PartialEq)]
struct TextDigest([u8; 32]);

impl fmt::Debug for TextDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TextDigest([private])")
    }
}

impl WebhookKeys {
    /// Adds the one that `text` was read as.
    pub fn add(&mut self, key: WebhookKey, text: &str) {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest::digest(&SHA256, text.as_bytes()).as_ref());
        self.keys.push(key);
        self.digests.push(TextDigest(bytes));
    }

    /// All of them.
    pub fn as_slice(&self) -> &[WebhookKey] {
        &self.keys
    }
}

impl PartialEq for WebhookKeys {
    fn eq(&self, other: &Self) -> bool {
        self.digests == other.digests
    }
}

/// All registered servers.
#[derive(Debug)]
pub struct Registry {
    servers: ArcSwap<HashMap<ServerId, Arc<Server>>>,
    /// Held by whoever replaces them, so that no usage is lost between two; never by a request.
    replacing: Mutex<()>,
    unsigned_tests: Rate,
    clock: Clock,
}

/// One registered server and what it has used.
#[derive(Debug)]
pub struct Server {
    settings: ServerSettings,
    rate: Option<Arc<Bucket>>,
    usage: Arc<Usage>,
}

/// What outlives a change of the settings.
#[derive(Debug)]
struct Usage {
    unsigned_tests: Bucket,
    today: Day,
}

/// How many were sent today: days since the epoch in the upper half, the count in the lower.
#[derive(Debug, Default)]
struct Day(AtomicU64);

impl Registry {
    /// `unsigned_tests` is how often each may send a test without a signature.
    pub fn new(servers: Vec<ServerSettings>, unsigned_tests: Rate, clock: Clock) -> Self {
        let registry = Self { servers: ArcSwap::default(), replacing: Mutex::default(), unsigned_tests, clock };
        registry.replace(servers);
        registry
    }

    /// The servers at this moment. To be held for one decision, not longer.
    pub fn load(&self) -> Guard<Arc<HashMap<ServerId, Arc<Server>>>> {
        self.servers.load()
    }

    /// From now on there are these and no others. Of several with the same id the last one counts.
    pub fn replace(&self, servers: Vec<ServerSettings>) -> Changes {
        // A panic would have left the old state in place.
        let _turn = self.replacing.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.servers.load_full();
        let mut after = HashMap::with_capacity(servers.len());
        let mut changes = Changes::default();
        for settings in servers {
            let server = match before.get(&settings.id) {
                Some(server) if server.settings == settings => Arc::clone(server),
                Some(server) => {
                    changes.changed.add(&settings.name);
                    Arc::new(self.changed(server, settings))
                }
                None => {
                    changes.added.add(&settings.name);
                    Arc::new(self.added(settings))
                }
            };
            after.insert(server.settings.id.clone(), server);
        }
        let mut removed: Vec<_> =
            before.iter().filter(|(id, _)| !after.contains_key(*id)).map(|(_, server)| &server.settings.name).collect();
        removed.sort();
        for name in removed {
            changes.removed.add(name);
        }
        self.servers.store(Arc::new(after));
        changes
    }

    fn added(&self, settings: ServerSettings) -> Server {
        let usage =
            Usage { unsigned_tests: Bucket::new(self.unsigned_tests, self.clock.clone()), today: Day::default() };
        Server { rate: self.bucket(settings.rate), settings, usage: Arc::new(usage) }
    }

    /// A bucket that fills at another rate is another bucket: half an hour's wait under the old rate would otherwise
    /// outlive the raise that was to end it.
    fn changed(&self, server: &Server, settings: ServerSettings) -> Server {
        let kept = server.rate.as_ref().filter(|bucket| Some(bucket.rate()) == settings.rate).cloned();
        let rate = kept.or_else(|| self.bucket(settings.rate));
        Server { rate, settings, usage: Arc::clone(&server.usage) }
    }

    fn bucket(&self, rate: Option<Rate>) -> Option<Arc<Bucket>> {
        rate.map(|rate| Arc::new(Bucket::new(rate, self.clock.clone())))
    }
}

impl Server {
    /// What was configured.
    pub fn settings(&self) -> &ServerSettings {
        &self.settings
    }

    /// Whether it may send anything at all, signed in this way. For before its signature is looked at.
    pub fn may_sign(&self, scheme: Scheme) -> Result<(), Refusal> {
        if self.settings.disabled {
            return Err(Refusal::ServerDisabled);
        }
        if self.settings.schemes.allow(scheme) { Ok(()) } else { Err(Refusal::SchemeNotAllowed) }
    }

    /// Whether the connection's certificate is one of this server's, and may say so.
    pub fn is_certified_by(&self, certificate: Option<Fingerprint>) -> bool {
        self.settings.schemes.certificate
            && certificate.is_some_and(|shown| self.settings.certificates.contains(&shown))
    }

    /// Whether it may push to this target.
    pub fn may_push_to(&self, target: &TargetName) -> Result<(), Refusal> {
        let allowed = self.settings.targets.as_ref().is_none_or(|targets| targets.contains(target));
        if allowed { Ok(()) } else { Err(Refusal::TargetNotAllowed) }
    }

    /// Counts a test without a signature.
    pub fn count_unsigned_test(&self) -> Result<(), Refusal> {
        self.usage.unsigned_tests.check().map_err(|wait| Refusal::TooManyTests { retry_after: seconds(wait) })
    }

    /// Counts one against its rate. Only for what it has signed: a stranger must not be able to use its rate up.
    pub fn count_against_rate(&self) -> Result<(), Refusal> {
        let Some(bucket) = &self.rate else { return Ok(()) };
        bucket.check().map_err(|wait| Refusal::ServerRate { retry_after: seconds(wait) })
    }

    /// How many were counted against its quota, or would have been, on the day of this second (UTC).
    pub fn sent_today(&self, unix_seconds: u64) -> u32 {
        self.usage.today.so_far(unix_seconds)
    }

    /// Counts one that will be sent against its quota.
    pub fn count_against_quota(&self, unix_seconds: u64) -> Result<(), Refusal> {
        self.usage.today.count(self.settings.daily_quota, unix_seconds)
    }
}

impl Day {
    fn so_far(&self, unix_seconds: u64) -> u32 {
        let packed = self.0.load(Ordering::Relaxed);
        let is_today = packed >> 32 >= unix_seconds / DAY;
        if is_today { u32::try_from(packed & u64::from(u32::MAX)).unwrap_or(u32::MAX) } else { 0 }
    }

    fn count(&self, quota: Option<u32>, unix_seconds: u64) -> Result<(), Refusal> {
        let today = unix_seconds / DAY;
        let most = quota.unwrap_or(u32::MAX);
        // Relaxed: the number stands for nothing but itself.
        let counted = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |packed| {
            let (day, count) = (packed >> 32, packed & u64::from(u32::MAX));
            // Should the wall clock be set back over midnight, the later day goes on.
            let (day, count) = if day < today { (today, 0) } else { (day, count) };
            (count < u64::from(most)).then_some(day << 32 | (count + 1))
        });
        match counted {
            Ok(_) => Ok(()),
            // Four thousand million in a day without a quota: nobody is refused for our counter.
            Err(_) if quota.is_none() => Ok(()),
            Err(packed) => {
                let left = ((packed >> 32) + 1) * DAY - unix_seconds;
                Err(Refusal::DailyQuota { retry_after: u32::try_from(left).unwrap_or(u32::MAX) })
            }
        }
    }
}

/// What a replacement has changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Servers that were not there before.
    pub added: Names,
    /// Servers with other settings than before.
    pub changed: Names,
    /// Servers that are gone.
    pub removed: Names,
}

impl Changes {
    /// Whether everything is as it was.
    pub fn is_empty(&self) -> bool {
        [&self.added, &self.changed, &self.removed].iter().all(|names| names.count == 0)
    }
}

/// Some servers, for people: how many, and the names of the first few.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// How many.
    pub count: usize,
    first: Vec<String>,
}

impl Names {
    fn add(&mut self, name: &str) {
        self.count += 1;
        if self.first.len() < MOST_NAMES {
            self.first.push(log::bounded(name).to_owned());
        }
    }
}

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.first.join(", "))?;
        match self.count - self.first.len() {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

#[cfg(test)]
#[path = "registry_tests.rs"]
mod tests;
