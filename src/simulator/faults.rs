//! Faults on demand: what a provider should do instead of accepting, for whom and how often.
//!
//! Owns the rules and the decision which one applies; carrying a decision out is the connection's part. A fault only
//! meets requests that passed every check: a wrong request is still told what is wrong with it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// Rules kept at once; more than anyone writes by hand, few enough to look through per request.
const MAX_RULES: usize = 256;
/// The longest latency, so that a typing slip cannot hang a test for days.
const MAX_LATENCY: Duration = Duration::from_mins(10);

/// Who is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    /// Apple's push service.
    Apns,
    /// Firebase Cloud Messaging.
    Fcm,
    /// Google's token endpoint.
    OAuth,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Which provider misbehaves; `None` is all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<Provider>,
    /// For which device tokens.
    #[serde(default, rename = "match")]
    pub matching: Matching,
    /// How many matching requests pass before the rule begins.
    #[serde(default)]
    pub skip: u64,
    /// How many matching requests it then meets.
    #[serde(default)]
    pub times: Times,
    /// What happens to them.
    pub action: Action,
}

/// For which device tokens a rule holds. JSON: `"all"` or `{"token": "prefix"}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Matching {
    /// Every request.
    #[default]
    All,
    /// Requests to device tokens that begin so.
    Token(String),
}

/// How often a rule applies. JSON: a number or `"forever"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "TimesText", into = "TimesText")]
pub enum Times {
    /// Until it is removed.
    #[default]
    Forever,
    /// This often.
    Only(u64),
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(untagged, expecting = "times: a number or \"forever\"")]
enum TimesText {
    Number(u64),
    Word(String),
}

impl TryFrom<TimesText> for Times {
    type Error = String;

    fn try_from(text: TimesText) -> Result<Self, String> {
        match text {
            TimesText::Number(number) => Ok(Self::Only(number)),
            TimesText::Word(word) if word == "forever" => Ok(Self::Forever),
            TimesText::Word(word) => Err(format!("times: `{word}` is neither a number nor \"forever\"")),
        }
    }
}

impl From<Times> for TimesText {
    fn from(times: Times) -> Self {
        match times {
            Times::Forever => Self::Word("forever".into()),
            Times::Only(number) => Self::Number(number),
        }
    }
}

/// What happens to a request. JSON: an object with the fields of exactly one of these.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "ActionFields", into = "ActionFields")]
pub enum Action {
    /// This answer: `{"status": 503, "reason": "ServiceUnavailable", "retry_after": "30"}`.
    Answer(Refuse),
    /// The rest of the decision, this much later: `{"latency_ms": 250}`. Adds up with other rules.
    Latency(Duration),
    /// The connection or the stream breaks: `{"reset": "stream"}`.
    Reset(Reset),
    /// The connection is given up while others may be in flight: `{"goaway": "before"}`.
    GoAway(GoAway),
    /// Nothing more comes: `{"stall": "stream"}`.
    Stall(Stall),
    /// Nothing until the faults are removed, then what would have happened without this: `{"hold": true}`. Unlike a
    /// latency, it lets a test decide when the wait ends.
    Hold,
    /// At most this many requests a second are let through, the others hear 429: `{"rate_limit": 50}`.
    RateLimit(u32),
}

/// A refusal as the provider would word it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refuse {
    /// HTTP status.
    pub status: u16,
    /// APNs `reason`, FCM `errorCode` (empty: no such detail) or OAuth `error`.
    pub reason: String,
    /// The `Retry-After` header, as it is to be sent: seconds or a date.
    pub retry_after: Option<String>,
    /// A body to send instead of the provider's own form.
    pub body: Option<String>,
}

/// How a request breaks off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reset {
    /// `RST_STREAM` with `INTERNAL_ERROR`, not processed, which the client cannot know.
    Stream,
    /// `RST_STREAM` with `REFUSED_STREAM`, which promises that it was not processed.
    Refused,
    /// The connection is dropped without a word, not processed.
    Connection,
    /// Processed, in the ledger as accepted, but the stream is reset instead of answered.
    AnswerLost,
}

/// Which streams a GOAWAY leaves unprocessed. Those at or below its last stream id are always answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GoAway {
    /// This request and every later one.
    Before,
    /// Every later one; this request is still answered.
    After,
    /// None: two-step, as RFC 9113 § 6.8 advises. What was received is answered.
    Graceful,
}

/// What stops moving.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stall {
    /// This request is never answered; the connection lives on.
    Stream,
    /// The connection neither reads nor writes any more, pings included.
    Connection,
}

#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ActionFields {
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after: Option<RetryAfter>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reset: Option<Reset>,
    #[serde(skip_serializing_if = "Option::is_none")]
    goaway: Option<GoAway>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stall: Option<Stall>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hold: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rate_limit: Option<u32>,
}

/// `Retry-After` as seconds (a number) or as the header's text.
#[derive(Clone, Serialize, Deserialize)]
#[serde(untagged, expecting = "retry_after: seconds or a date")]
enum RetryAfter {
    Seconds(u64),
    Text(String),
}

impl TryFrom<ActionFields> for Action {
    type Error = String;

    fn try_from(fields: ActionFields) -> Result<Self, String> {
        let ActionFields { status, reason, retry_after, body, latency_ms, reset, goaway, stall, hold, rate_limit } =
            fields;
        if status.is_none() && (reason.is_some() || retry_after.is_some() || body.is_some()) {
            return Err("action: `reason`, `retry_after` and `body` need a `status`".into());
        }
        if let Some(bad) = status.filter(|status| !(200..=599).contains(status)) {
            return Err(format!("action.status: {bad} is not between 200 and 599"));
        }
        let retry_after = retry_after.map(|value| match value {
            RetryAfter::Seconds(seconds) => seconds.to_string(),
            RetryAfter::Text(text) => text,
        });
        if retry_after.as_deref().is_some_and(|text| http::HeaderValue::from_str(text).is_err()) {
            return Err("action.retry_after: not a header value".into());
        }
        let latency = latency_ms.map(Duration::from_millis);
        if latency.is_some_and(|latency| latency > MAX_LATENCY) {
            return Err(format!("action.latency_ms: at most {}", MAX_LATENCY.as_millis()));
        }
        let given = [
            status.map(|status| Self::Answer(Refuse { status, reason: reason.unwrap_or_default(), retry_after, body })),
            latency.map(Self::Latency),
            reset.map(Self::Reset),
            goaway.map(Self::GoAway),
            stall.map(Self::Stall),
            hold.filter(|hold| *hold).map(|_| Self::Hold),
            rate_limit.map(Self::RateLimit),
        ];
        let mut given = given.into_iter().flatten();
        match (given.next(), given.next()) {
            (Some(action), None) => Ok(action),
            _ => Err("action: give exactly one of status, latency_ms, reset, goaway, stall, hold, rate_limit".into()),
        }
    }
}

impl From<Action> for ActionFields {
    fn from(action: Action) -> Self {
        let none = Self::default();
        match action {
            Action::Answer(Refuse { status, reason, retry_after, body }) => Self {
                status: Some(status),
                reason: Some(reason),
                retry_after: retry_after.map(RetryAfter::Text),
                body,
                ..none
            },
            Action::Latency(latency) => {
                Self { latency_ms: Some(u64::try_from(latency.as_millis()).unwrap_or(u64::MAX)), ..none }
            }
            Action::Reset(reset) => Self { reset: Some(reset), ..none },
            Action::GoAway(goaway) => Self { goaway: Some(goaway), ..none },
            Action::Stall(stall) => Self { stall: Some(stall), ..none },
            Action::Hold => Self { hold: Some(true), ..none },
            Action::RateLimit(per_second) => Self { rate_limit: Some(per_second), ..none },
        }
    }
}

impl Fault {
    /// This action for every request of every provider, until removed. Narrow it with the methods below.
    pub fn new(action: Action) -> Self {
        Self { provider: None, matching: Matching::All, skip: 0, times: Times::Forever, action }
    }

    /// Refuse with this status and reason.
    pub fn answer(status: u16, reason: &str) -> Self {
        Self::new(Action::Answer(Refuse { status, reason: reason.to_owned(), ..Refuse::default() }))
    }

    /// Only this provider.
    #[must_use]
    pub fn on(self, provider: Provider) -> Self {
        Self { provider: Some(provider), ..self }
    }

    /// Only device tokens that begin so.
    #[must_use]
    pub fn for_token(self, prefix: &str) -> Self {
        Self { matching: Matching::Token(prefix.to_owned()), ..self }
    }

    /// Only this often.
    #[must_use]
    pub fn times(self, times: u64) -> Self {
        Self { times: Times::Only(times), ..self }
    }

    /// Only after this many matching requests went through untouched.
    #[must_use]
    pub fn after(self, skip: u64) -> Self {
        Self { skip, ..self }
    }

    fn matches(&self, provider: Provider, device_token: &str) -> bool {
        self.provider.is_none_or(|only| only == provider)
            && match &self.matching {
                Matching::All => true,
                Matching::Token(prefix) => device_token.starts_with(prefix.as_str()),
            }
    }
}

/// Why a rule was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there are {MAX_RULES} faults already; remove some first (DELETE /control/faults)")]
pub struct TooManyFaults;

#[derive(Debug)]
struct Rule {
    fault: Fault,
    /// The second the rate limit counts in, and the requests let through in it.
    window: (u64, u32),
}

/// The rules in force, oldest first.
#[derive(Debug, Default)]
pub struct Faults {
    rules: Mutex<Vec<Rule>>,
    /// How many rules there are, so that the usual request, with none in force, takes no lock.
    count: AtomicUsize,
    /// How often the rules were removed; wakes whoever is held.
    cleared: watch::Sender<u64>,
}

impl Faults {
    /// Adds a rule after those in force.
    pub fn add(&self, fault: Fault) -> Result<(), TooManyFaults> {
        let mut rules = self.rules();
        if rules.len() >= MAX_RULES {
            return Err(TooManyFaults);
        }
        rules.push(Rule { fault, window: (0, 0) });
        self.count.store(rules.len(), Ordering::Release);
        Ok(())
    }

    /// Removes every rule.
    pub fn clear(&self) {
        let mut rules = self.rules();
        rules.clear();
        self.count.store(0, Ordering::Release);
        self.cleared.send_modify(|times| *times += 1);
    }

    /// What a request that may be held waits on; taken before the rules are asked, so that a removal in between counts.
    pub(super) fn removals(&self) -> watch::Receiver<u64> {
        self.cleared.subscribe()
    }

    /// The rules in force, with what is left of their counts.
    pub fn list(&self) -> Vec<Fault> {
        self.rules().iter().map(|rule| rule.fault.clone()).collect()
    }

    fn rules(&self) -> MutexGuard<'_, Vec<Rule>> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What happens to this request: latencies add up until the first rule that does something else.
    pub(super) fn decide(&self, provider: Provider, device_token: &str, now_seconds: u64) -> Plan {
        let mut plan = Plan::default();
        if self.count.load(Ordering::Acquire) == 0 {
            return plan;
        }
        let mut rules = self.rules();
        for rule in rules.iter_mut().filter(|rule| rule.fault.matches(provider, device_token)) {
            if rule.fault.skip > 0 {
                rule.fault.skip -= 1;
                continue;
            }
            if let Action::RateLimit(per_second) = rule.fault.action {
                if rule.window.0 != now_seconds {
                    rule.window = (now_seconds, 0);
                }
                if rule.window.1 < per_second {
                    rule.window.1 += 1;
                    continue;
                }
            }
            if let Times::Only(left) = &mut rule.fault.times {
                *left = left.saturating_sub(1);
            }
            match &rule.fault.action {
                Action::Latency(latency) => plan.latency = plan.latency.saturating_add(*latency).min(MAX_LATENCY),
                action => {
                    plan.action = Some(action.clone());
                    break;
                }
            }
        }
        rules.retain(|rule| rule.fault.times != Times::Only(0));
        self.count.store(rules.len(), Ordering::Release);
        plan
    }
}

/// What the rules say about one request. [`Action::Latency`] never stands in `action`.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Plan {
    pub(super) latency: Duration,
    pub(super) action: Option<Action>,
}
