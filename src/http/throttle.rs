//! How often one client may ask. Stands before the routes of the chat servers' listener, so that a client that asks too
//! often costs no more than this module's answer.
//!
//! Who counts as one client is decided here and in `client_address`; the counting is [`Rates`]'s. The answer, its headers
//! and the buckets by values of headers are those of `mattermost-push-proxy`. Unlike there, a client cannot choose its
//! bucket by what it writes into a header, and probes are never turned away: a flood must not make an orchestrator take
//! the relay for dead.

use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use tokio::time::Instant;

use super::ClientAddressSettings;
use super::answer::{self, Answer};
use super::serve::Routes;
use crate::admission::rate::{Rate, Rates, Wait, whole_seconds};
use crate::clock::Clock;
use crate::telemetry::metrics::Metrics;

/// Paths that are answered however often they are asked: they cost little, and an orchestrator ends what does not answer.
const NEVER_THROTTLED: [&str; 2] = ["/healthz", "/readyz"];

/// The most of a body that is read before its request is turned away, bytes, and how long that may take. A caller that is
/// still writing would see its connection reset and never read why.
const DISCARDED: (u64, Duration) = (64 * 1024, Duration::from_secs(1));

/// What a bucket holds.
const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");

/// What is left in it.
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");

/// Seconds until it is full again.
const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// How often the log speaks of clients that were turned away, all together: a flood must not become one of lines.
const LINE_INTERVAL: Duration = Duration::from_secs(1);

/// How often one client may ask.
#[derive(Clone, Debug)]
pub struct ThrottleSettings {
    /// Requests per second that a client may make in the long run.
    pub per_second: NonZeroU32,
    /// Requests that it may make at once.
    pub burst: NonZeroU32,
    /// Who counts as one client.
    pub vary: Vary,
    /// The most clients that are remembered, at about 40 bytes each. Beyond it those that were not seen for long are
    /// forgotten, and start anew if they come back.
    pub max_keys: usize,
}

/// Who counts as one client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Vary {
    /// Whoever has the same address. With IPv6, whoever has the same 64 first bits: providers give each customer at least
    /// that many, and one machine can use all of them.
    ClientAddress,
    /// Whoever sends the same first values in these headers, upper and lower case being the same, and an absent header
    /// the same as an empty one: requests that have none of them share one bucket. With no headers named, all do.
    ///
    /// Values are believed only from trusted proxies. A request that has any of the headers from elsewhere counts by
    /// its peer's address. Of the header in which proxies name the client, only what a trusted one has written counts:
    /// proxies append to what the client sent. Others must be overwritten by the proxy.
    Headers(Vec<HeaderName>),
}

/// Turns away who asks too often.
#[derive(Debug)]
pub(super) struct Throttle {
    rates: Rates,
    /// The value of [`LIMIT`].
    limit: HeaderValue,
    vary: Vary,
    client_address: ClientAddressSettings,
    lines: Lines,
    metrics: Arc<Metrics>,
}

impl Throttle {
    pub(super) fn new(
        settings: &ThrottleSettings,
        client_address: ClientAddressSettings,
        metrics: Arc<Metrics>,
        clock: Clock,
    ) -> Self {
        let rate = Rate::new(settings.per_second, Duration::from_secs(1), settings.burst);
        Self {
            rates: Rates::new(rate, settings.max_keys, clock.clone()),
            limit: rate.burst().into(),
            vary: settings.vary.clone(),
            client_address,
            lines: Lines::new(clock),
            metrics,
        }
    }

    /// These routes, for whoever does not ask too often.
    pub(super) fn before(self: Arc<Self>, routes: Routes) -> Routes {
        Routes::new(move |request, peer| {
            if NEVER_THROTTLED.contains(&request.uri().path()) {
                return routes.answer(request, peer);
            }
            match self.rates.check(self.client(request.headers(), peer.address)) {
                Ok(remaining) => {
                    let answer = routes.answer(request, peer);
                    let throttle = Arc::clone(&self);
                    Box::pin(async move {
                        let mut answer = answer.await;
                        throttle.describe(&mut answer, remaining.count, remaining.full_after);
                        answer
                    })
                }
                Err(wait) => {
                    let answer = self.turn_away(request.headers(), peer.address, wait);
                    Box::pin(async move {
                        discard(request.into_body()).await;
                        answer
                    })
                }
            }
        })
    }

    /// Whose bucket a request takes from.
    fn client<'a>(&'a self, headers: &'a HeaderMap, peer: IpAddr) -> Client<'a> {
        match &self.vary {
            Vary::ClientAddress => Client::Address(self.client_address.client(peer, headers)),
            Vary::Headers(names) => {
                let says_who = names.iter().any(|name| !first_value(headers, name).is_empty());
                if says_who && !self.client_address.trusts(peer) {
                    Client::Address(peer)
                } else {
                    Client::Values { names, headers, client_address: &self.client_address }
                }
            }
        }
    }

    fn turn_away(&self, headers: &HeaderMap, peer: IpAddr, wait: Wait) -> Answer {
        self.metrics.throttled();
        if let Some(requests) = self.lines.due() {
            let client = self.client_address.client(peer, headers);
            tracing::warn!(
                requests,
                %client,
                "requests were turned away because their clients ask more often than they may; this is the latest"
            );
        }
        let mut answer = answer::text(StatusCode::TOO_MANY_REQUESTS, "limit exceeded\n");
        self.describe(&mut answer, 0, wait.full_after);
        answer.headers_mut().insert(RETRY_AFTER, wait.seconds().into());
        answer
    }

    /// Tells the client how its bucket stands.
    fn describe(&self, answer: &mut Answer, remaining: u32, full_after: Duration) {
        let headers = answer.headers_mut();
        headers.insert(LIMIT, self.limit.clone());
        headers.insert(REMAINING, remaining.into());
        headers.insert(RESET, whole_seconds(full_after).into());
    }
}

/// Reads a body that nobody needs, if it is a short one.
async fn discard(mut body: Incoming) {
    if body.size_hint().upper().is_some_and(|most| most <= DISCARDED.0) {
        // In time or not, whole or not: the answer is the same.
        let _ = tokio::time::timeout(DISCARDED.1, async { while let Some(Ok(_)) = body.frame().await {} }).await;
    }
}

/// Empty for an absent header.
fn first_value<'a>(headers: &'a HeaderMap, name: &HeaderName) -> &'a [u8] {
    headers.get(name).map_or(&[], HeaderValue::as_bytes)
}

/// Who has a bucket. What hashes alike is the same client.
#[derive(Debug)]
enum Client<'a> {
    Address(IpAddr),
    Values { names: &'a [HeaderName], headers: &'a HeaderMap, client_address: &'a ClientAddressSettings },
}

impl Hash for Client<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Self::Address(IpAddr::V4(address)) => {
                state.write_u8(4);
                state.write_u32(address.to_bits());
            }
            Self::Address(IpAddr::V6(address)) => {
                state.write_u8(6);
                state.write(&address.octets()[..8]);
            }
            Self::Values { names, headers, client_address } => {
                state.write_u8(0);
                for name in *names {
                    let value = if *name == client_address.header {
                        client_address.entry(headers)
                    } else {
                        first_value(headers, name)
                    };
                    for byte in value {
                        state.write_u8(byte.to_ascii_lowercase());
                    }
                    // No value has a line break.
                    state.write_u8(b'\n');
                }
            }
        }
    }
}

/// Says when a line is due.
#[derive(Debug)]
struct Lines {
    clock: Clock,
    start: Instant,
    /// Nanoseconds after `start`; 0 before the first line.
    next: AtomicU64,
    /// Turned away since the last line.
    unsaid: AtomicU64,
}

impl Lines {
    fn new(clock: Clock) -> Self {
        Self { start: clock.now(), clock, next: AtomicU64::new(0), unsaid: AtomicU64::new(0) }
    }

    /// Counts one more, and says how many a line must speak of if one is due now. Those that come within the interval
    /// after it are in the next line, whenever it comes; the metric has them at once.
    fn due(&self) -> Option<u64> {
        // Relaxed: the counts stand for nothing but themselves.
        self.unsaid.fetch_add(1, Ordering::Relaxed);
        let now = nanoseconds(self.clock.now() - self.start);
        let next = self.next.load(Ordering::Relaxed);
        let later = now.saturating_add(nanoseconds(LINE_INTERVAL));
        let won = now >= next && self.next.compare_exchange(next, later, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        // None are left if a thread that was slower to get here has its count in another's line.
        won.then(|| self.unsaid.swap(0, Ordering::Relaxed)).filter(|requests| *requests > 0)
    }
}

/// Of 584 years at most.
fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[path = "throttle_tests.rs"]
mod tests;
