//! The way to one target: name, connection, TLS, HTTP/2, clock, and whether the provider takes us for who we say we are.
//!
//! What is asked of the provider is the same that the relay asks before it takes over new credentials: a push that no phone
//! can get.

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::remedies::{self, Peer};
use super::{Finding, Standing, Step, failed, warning};
use crate::clock::{Clock, rfc3339};
use crate::notification::{Platform, TargetName};
use crate::sender::{Greeting, Proof, Secured, Sender, TargetSettings, Way};

/// From so many seconds on a difference of the clocks is worth a warning. Apple takes provider tokens of the last hour,
/// Google assertions of a few minutes; a machine that keeps its time is within one second.
const MOST_SKEW: u64 = 60;

/// From so many whole days before the end of our certificate on it is worth a warning, as in the relay's log.
const WARN_BEFORE_DAYS: u64 = 30;

/// Addresses of a name that are shown.
const ADDRESSES_SHOWN: usize = 4;

const APPLE: &[Step] = &[Step::Dns, Step::Tcp, Step::Tls, Step::Http2, Step::Clock, Step::Credentials];
const GOOGLE: &[Step] = &[Step::Dns, Step::Tcp, Step::Tls, Step::Http2, Step::Clock, Step::OAuth, Step::Credentials];

/// Goes the whole way to a target. Each step takes at most `limit`; after one that fails, the others are skipped.
pub async fn examine(settings: &TargetSettings, sender: &Sender, clock: &Clock, limit: Duration) -> Vec<Finding> {
    let mut visit = Visit { target: &settings.name, platform: sender.platform(), limit, findings: Vec::new() };
    if let Some(end) = sender.credential_expires_at() {
        let (standing, what) = own_certificate(end, clock.unix_seconds());
        visit.note(Step::Certificate, standing, what);
    }
    // `None` says that a step has failed, which is in the findings.
    let _ = visit.go(settings, sender, clock).await;
    visit.finish()
}

struct Visit<'a> {
    target: &'a TargetName,
    platform: Platform,
    limit: Duration,
    findings: Vec<Finding>,
}

/// A step's failure: what and remedy.
type Failure = (String, String);

impl Visit<'_> {
    async fn go(&mut self, settings: &TargetSettings, sender: &Sender, clock: &Clock) -> Option<()> {
        let way = self.note_failure(Step::Dns, settings.way().map_err(remedies::set_up))?;
        self.walk(&way, clock).await?;
        let tokens = self.note_failure(Step::OAuth, settings.way_to_tokens().map_err(remedies::set_up))?;
        if let Some(way) = tokens {
            let walked = within(self.limit, walk_to_tokens(&way, self.limit)).await;
            self.note_failure(Step::OAuth, walked)?;
        }
        // Two steps of ours for Google, an access token and a message, are one question there.
        let limit = if self.platform == Platform::Android { self.limit * 2 } else { self.limit };
        let proof = sender.prove(limit).await;
        self.credentials(proof, sender.credential_problem())
    }

    async fn walk(&mut self, way: &Way, clock: &Clock) -> Option<()> {
        let found = within(self.limit, async { way.look_up().await.map_err(remedies::connect) }).await;
        let addresses = self.note_failure(Step::Dns, found)?;
        let via = via(way);
        self.note(Step::Dns, Standing::Well, looked_up(way, &addresses));

        let (started, deadline) = (Instant::now(), Instant::now() + self.limit);
        let reached =
            within(self.limit, async { way.reach(&addresses, deadline).await.map_err(remedies::connect) }).await;
        let (tcp, address) = self.note_failure(Step::Tcp, reached)?;
        let end = if via.is_empty() { address.to_string() } else { way.address() };
        self.note(Step::Tcp, Standing::Well, format!("{end}{via} in {} ms", started.elapsed().as_millis()));

        let secured =
            within(self.limit, async { way.walk_to_tls(tcp).await.map_err(|error| remedies::tls(&error)) }).await;
        let secured = self.note_failure(Step::Tls, secured)?;
        self.note(Step::Tls, Standing::Well, described(&secured, clock.unix_seconds()));
        if !secured.http2 {
            return self.without_http2();
        }

        // An HTTP/2 connection is large, and there is one at a time.
        let greeted = Box::pin(async { way.walk_to_http2(secured).await.map_err(remedies::http2) });
        let greeted = within(self.limit, greeted).await;
        let Greeting { streams, date } = self.note_failure(Step::Http2, greeted)?;
        self.note(Step::Http2, Standing::Well, format!("HTTP/2; streams at once for a stranger: {streams}"));
        let (standing, what) = clocks(date, clock.unix_seconds());
        self.note(Step::Clock, standing, what);
        Some(())
    }

    /// Apple speaks nothing else; Google is spoken to in HTTP/1.1 as well, which costs a connection per push under way.
    fn without_http2(&mut self) -> Option<()> {
        let (what, remedy) = remedies::no_http2();
        match self.platform {
            Platform::Apple => self.note_failure(Step::Http2, Err::<(), _>((what, remedy))),
            Platform::Android => {
                self.note(Step::Http2, warning(remedy), format!("{what}; the relay falls back to HTTP/1.1"));
                self.note(Step::Clock, Standing::Skipped, "asked over HTTP/2 only");
                Some(())
            }
        }
    }

    fn credentials(&mut self, proof: Proof, problem: Option<String>) -> Option<()> {
        let (reason, refused) = match proof {
            Proof::Accepted => {
                if self.platform == Platform::Android {
                    self.note(Step::OAuth, Standing::Well, "Google grants an access token");
                }
                let what = match self.platform {
                    Platform::Apple => {
                        "Apple takes them: a push to a device token that cannot exist is refused for the token"
                    }
                    Platform::Android => {
                        "Google takes them: a message to nobody, to be checked only, is refused for the token"
                    }
                };
                self.note(Step::Credentials, Standing::Well, what);
                return Some(());
            }
            Proof::Refused { reason } => (reason, true),
            Proof::Unknown { reason } => (reason, false),
        };
        if let Some(reason) = reason.strip_prefix("oauth ") {
            return self.note_failure(Step::OAuth, Err(remedies::no_access_token(reason, refused, problem)));
        }
        if self.platform == Platform::Android {
            self.note(Step::OAuth, Standing::Well, "Google grants an access token");
        }
        if reason == "TooManyProviderTokenUpdates" {
            let (what, remedy) = remedies::token_of_another_process();
            self.note(Step::Credentials, warning(remedy), what);
            return Some(());
        }
        let peer = match self.platform {
            Platform::Apple => Peer::Apple,
            Platform::Android => Peer::Google,
        };
        self.note_failure(Step::Credentials, Err(remedies::credentials(peer, reason, refused)))
    }

    fn note(&mut self, step: Step, standing: Standing, what: impl Into<String>) {
        self.findings.push(Finding::new(step, Some(self.target), standing, what));
    }

    fn note_failure<T>(&mut self, step: Step, result: Result<T, Failure>) -> Option<T> {
        result.map_err(|(what, remedy)| self.note(step, failed(remedy), what)).ok()
    }

    /// What was found, and which steps were not come to.
    fn finish(mut self) -> Vec<Finding> {
        let steps = match self.platform {
            Platform::Apple => APPLE,
            Platform::Android => GOOGLE,
        };
        let broken = self.findings.iter().find(|finding| finding.is_failure()).map(|finding| finding.step);
        for step in steps {
            if !self.findings.iter().any(|finding| finding.step == *step) {
                let why = broken.map_or("", Step::as_str);
                self.note(*step, Standing::Skipped, format!("not come to: {why} failed"));
            }
        }
        self.findings
    }
}

async fn within<T>(limit: Duration, step: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    timeout(limit, step).await.unwrap_or_else(|_| Err(remedies::too_late(limit)))
}

/// The stations to Google's token endpoint, all in one step.
async fn walk_to_tokens(way: &Way, limit: Duration) -> Result<(), Failure> {
    let at = |(what, remedy): Failure| (format!("{}: {what}", way.address()), remedy);
    let addresses = way.look_up().await.map_err(|error| at(remedies::connect(error)))?;
    let (tcp, _) = way.reach(&addresses, Instant::now() + limit).await.map_err(|error| at(remedies::connect(error)))?;
    way.walk_to_tls(tcp).await.map_err(|error| at(remedies::tls(&error)))?;
    Ok(())
}

fn via(way: &Way) -> String {
    way.proxy().map(|proxy| format!(" through the proxy {proxy}")).unwrap_or_default()
}

fn looked_up(way: &Way, addresses: &[SocketAddr]) -> String {
    let shown: Vec<_> = addresses.iter().take(ADDRESSES_SHOWN).map(|address| address.ip().to_string()).collect();
    let more = match addresses.len().saturating_sub(ADDRESSES_SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    match way.proxy() {
        None => format!("{}: {}{more}", way.address(), shown.join(", ")),
        Some(proxy) => {
            format!("the proxy {proxy}: {}{more} (it looks {} up itself)", shown.join(", "), way.address())
        }
    }
}

fn described(secured: &Secured, now: u64) -> String {
    let days = secured.ends_at.saturating_sub(now) / (24 * 60 * 60);
    format!(
        "{}; the provider's certificate is by {}, ends {} (in {days} days), {} in the chain",
        secured.protocol,
        secured.issuer,
        rfc3339(secured.ends_at),
        secured.chain
    )
}

/// A target's certificate that ends at `end`, both in seconds after the Unix epoch. One that has ended already is a problem
/// of the configuration.
fn own_certificate(end: u64, now: u64) -> (Standing, String) {
    let days = end.saturating_sub(now) / (24 * 60 * 60);
    let what = format!("the target's certificate ends {} (in {days} days)", rfc3339(end));
    let standing = if days > WARN_BEFORE_DAYS {
        Standing::Well
    } else {
        warning(
            "create a new certificate in Apple's developer account, or better a signing key, which does not end, and put it in \
             the old one's place; no restart is needed",
        )
    };
    (standing, what)
}

/// Our clock beside the one of the provider, both in seconds after the Unix epoch.
fn clocks(theirs: Option<u64>, ours: u64) -> (Standing, String) {
    let Some(theirs) = theirs else {
        return (Standing::Skipped, "the provider's answer has no date".to_owned());
    };
    let skew = ours.abs_diff(theirs);
    if skew <= MOST_SKEW {
        return (Standing::Well, format!("{skew} s beside the provider's"));
    }
    let direction = if ours > theirs { "ahead of" } else { "behind" };
    let what = format!(
        "this machine's clock is {skew} s {direction} the provider's: {} here, {} there",
        rfc3339(ours),
        rfc3339(theirs)
    );
    (warning(remedies::CLOCK), what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_may_differ_by_a_minute() {
        let cases = [
            (None, "skipped"),
            (Some(10_000), "ok"),
            (Some(10_060), "ok"),
            (Some(9_940), "ok"),
            (Some(10_061), "warn"),
            (Some(9_939), "warn"),
        ];
        for (theirs, word) in cases {
            assert_eq!(clocks(theirs, 10_000).0.as_str(), word, "{theirs:?}");
        }
        assert!(clocks(Some(1), 100).1.contains("99 s ahead of"));
        assert!(clocks(Some(100), 1).1.contains("99 s behind"));
    }

    #[test]
    fn a_certificate_is_spoken_of_30_days_before_it_ends() {
        const DAY: u64 = 24 * 60 * 60;
        for (days, word) in [(400, "ok"), (31, "ok"), (30, "warn"), (0, "warn")] {
            let (standing, what) = own_certificate(10_000 + days * DAY, 10_000);
            assert_eq!(standing.as_str(), word, "{what}");
            assert!(what.contains(&format!("in {days} days")), "{what}");
        }
    }
}
