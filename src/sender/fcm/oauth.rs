//! The access token that every send carries: exchanged for a signed assertion, kept, and renewed ahead of its end.
//!
//! However many sends want one, a single request for it runs at a time, in a task of its own: a caller that gives up
//! takes nothing away from the others. After a failure the endpoint is left alone for a while, and whoever asks in
//! the meantime hears of the failure at once. Knows nothing of FCM's answers but that a token was not taken.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use http::{HeaderValue, header};
use tokio::sync::watch;
use tokio::time::Instant;
use url::form_urlencoded;

use super::account::ServiceAccount;
use super::client::Peer;
use super::grant::{self, Failure, Grant};
use super::verdict;
use crate::clock::Clock;
use crate::outcome::Verdict;
use crate::sender::transport::{NoWay, Patience, Response, Trouble};

/// The grant type of RFC 7523, as a form spells it.
const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// The longest wait for the endpoint's whole answer. It takes about 0.1 s when it is well.
const ASK_TIMEOUT: Duration = Duration::from_secs(10);

/// The first rest after a failure; each further failure in a row doubles it.
const FIRST_REST: Duration = Duration::from_secs(1);

/// The longest rest, unless the endpoint itself asks for more. Also how late a repair is noticed: a push that cannot wait on
/// disk has 25 s in all.
const LONGEST_REST: Duration = Duration::from_secs(4);

/// The longest that the endpoint may ask for: 1 h. A slip in a header must not be the end of all that waits.
const LONGEST_ASKED: Duration = Duration::from_hours(1);

/// How soon a second token may be thrown away because Google did not take it. A new one that is refused as well is
/// not too old: something else is wrong, and asking for one per push would not mend it.
const DISCARD_SPACING: Duration = Duration::from_mins(1);

/// One access token.
#[derive(Debug)]
pub(super) struct AccessToken {
    /// `Bearer …`, marked sensitive.
    pub(super) header: HeaderValue,
    /// Which one, counted from 1.
    generation: u64,
    /// From 80 % of its life on, the next one is fetched while this one is still used.
    renew_from: Instant,
    /// At 95 % of its life; the rest is for a send on its way and for clocks that differ.
    use_until: Instant,
}

type Answer = Result<Arc<AccessToken>, Failure>;

/// Hands out the account's access token.
pub(super) struct AccessTokens {
    account: ServiceAccount,
    endpoint: Peer,
    clock: Clock,
    held: ArcSwapOption<AccessToken>,
    /// Only locked when there is no fresh token, and never while waiting.
    renewal: Mutex<Renewal>,
}

/// What is known about getting the next token.
struct Renewal {
    /// Told when the request that runs has ended; its other end is gone when none runs.
    running: watch::Receiver<Option<Answer>>,
    generation: u64,
    /// Failures in a row.
    failures: u32,
    /// The last failure and until when the endpoint is left alone because of it.
    rest: Option<(Failure, Instant)>,
    /// What the endpoint last refused us for, until it grants a token.
    problem: Option<&'static str>,
    discarded_at: Option<Instant>,
}

/// How old a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Age {
    Fresh,
    Ageing,
    /// Or there is none.
    Dead,
}

/// What a caller does who wants a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Use,
    RenewAndUse,
    RenewAndWait,
    /// Wait for the request that runs.
    Join,
    /// Hear of the last failure.
    Refuse,
}

fn age(token: Option<&AccessToken>, now: Instant) -> Age {
    match token {
        Some(token) if now < token.renew_from => Age::Fresh,
        Some(token) if now < token.use_until => Age::Ageing,
        _ => Age::Dead,
    }
}

fn step(age: Age, running: bool, resting: bool) -> Step {
    match (age, running, resting) {
        (Age::Fresh, _, _) | (Age::Ageing, true, _) | (Age::Ageing, _, true) => Step::Use,
        (Age::Ageing, false, false) => Step::RenewAndUse,
        (Age::Dead, true, _) => Step::Join,
        (Age::Dead, false, true) => Step::Refuse,
        (Age::Dead, false, false) => Step::RenewAndWait,
    }
}

/// How long the endpoint is left alone after this many failures in a row; at least as long as it asked for.
fn rest_after(failures: u32, asked: Option<Duration>) -> Duration {
    let doubled = FIRST_REST.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1)));
    doubled.min(LONGEST_REST).max(asked.unwrap_or_default().min(LONGEST_ASKED))
}

impl AccessTokens {
    pub(super) fn new(account: ServiceAccount, endpoint: Peer, clock: Clock) -> Arc<Self> {
        let renewal = Renewal {
            running: watch::channel(None).1,
            generation: 0,
            failures: 0,
            rest: None,
            problem: None,
            discarded_at: None,
        };
        Arc::new(Self { account, endpoint, clock, held: ArcSwapOption::empty(), renewal: Mutex::new(renewal) })
    }

    /// A token that works, at once if there is one. Waits no longer than [`ASK_TIMEOUT`].
    pub(super) async fn get(self: &Arc<Self>) -> Answer {
        let mut running = match self.without_waiting() {
            Ok(answer) => return answer,
            Err(running) => running,
        };
        match running.wait_for(Option::is_some).await {
            Ok(answer) => answer.clone().expect("waited for an answer to be there"),
            // The task is gone without a word: it panicked, or the runtime is being taken down.
            Err(_) => Err(Failure::passing("oauth interrupted", None)),
        }
    }

    /// Throws a token away that Google did not take, unless a newer one is there already.
    pub(super) fn discard(&self, token: &AccessToken) {
        let now = self.clock.now();
        let mut renewal = self.lock();
        let current = self.held.load().as_ref().is_some_and(|held| held.generation == token.generation);
        if current && renewal.discarded_at.is_none_or(|at| now - at >= DISCARD_SPACING) {
            renewal.discarded_at = Some(now);
            self.held.store(None);
        }
    }

    /// What the endpoint last refused us for, if it has granted nothing since.
    pub(super) fn problem(&self) -> Option<String> {
        let problem = self.lock().problem?;
        Some(format!(
            "{problem} (service account {}, project {})",
            self.account.client_email(),
            self.account.project_id()
        ))
    }

    /// Waits for the request that runs, if one does.
    #[cfg(test)]
    pub(super) async fn settled(&self) {
        let mut running = self.lock().running.clone();
        let _ = running.wait_for(Option::is_some).await;
    }

    /// The answer, or where it will come.
    fn without_waiting(self: &Arc<Self>) -> Result<Answer, watch::Receiver<Option<Answer>>> {
        let now = self.clock.now();
        {
            let held = self.held.load();
            if let Some(held) = held.as_ref().filter(|held| age(Some(held), now) == Age::Fresh) {
                return Ok(Ok(Arc::clone(held)));
            }
        }
        let mut renewal = self.lock();
        // Looked at again: the request that ran may have ended before the lock was ours.
        let held = self.held.load_full();
        let running = renewal.running.has_changed().is_ok();
        let resting = renewal.rest.as_ref().is_some_and(|(_, until)| now < *until);
        match (step(age(held.as_deref(), now), running, resting), held) {
            (Step::Use, Some(held)) => Ok(Ok(held)),
            (Step::RenewAndUse, Some(held)) => {
                self.start(&mut renewal);
                Ok(Ok(held))
            }
            (Step::Refuse, _) if let Some((failure, until)) = &renewal.rest => {
                Ok(Err(failure.clone().until(*until - now)))
            }
            (Step::Join, _) => Err(renewal.running.clone()),
            _ => {
                self.start(&mut renewal);
                Err(renewal.running.clone())
            }
        }
    }

    fn start(self: &Arc<Self>, renewal: &mut Renewal) {
        let (tell, running) = watch::channel(None);
        renewal.running = running;
        let tokens = Arc::clone(self);
        tokio::spawn(async move {
            let asked_at = tokens.clock.now();
            let grant = match tokio::time::timeout(ASK_TIMEOUT, tokens.ask()).await {
                Ok(grant) => grant,
                Err(_) => Err(Trouble::Timeout.into()),
            };
            tell.send_replace(Some(tokens.settle(asked_at, grant)));
        });
    }

    /// Signs an assertion and exchanges it.
    async fn ask(&self) -> Result<Grant, Failure> {
        let now = self.clock.unix_seconds();
        let assertion =
            self.account.assertion(now).ok_or_else(|| Failure::passing("oauth assertion not signed", None))?;
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", GRANT_TYPE)
            .append_pair("assertion", &assertion)
            .finish();
        let (kind, form, patience) =
            ("application/x-www-form-urlencoded", Bytes::from(form), Patience::of(ASK_TIMEOUT));
        let asked = self.endpoint.post(None, kind, &form, patience, NoWay::GiveUp).await;
        let Response { status, headers, body } = asked.map_err(|error| Failure::from(error.reason))?;
        let retry_after = headers.get(header::RETRY_AFTER).and_then(|text| verdict::retry_after(text, now));
        grant::read(status, &body?, retry_after)
    }

    /// Keeps what came of it.
    fn settle(&self, asked_at: Instant, grant: Result<Grant, Failure>) -> Answer {
        let mut renewal = self.lock();
        match grant {
            Ok(Grant { header, life }) => {
                if renewal.failures > 0 {
                    tracing::info!(project = self.account.project_id(), "Google grants access tokens again");
                }
                renewal.generation += 1;
                renewal.failures = 0;
                renewal.rest = None;
                renewal.problem = None;
                let token = Arc::new(AccessToken {
                    header,
                    generation: renewal.generation,
                    renew_from: asked_at + life * 4 / 5,
                    use_until: asked_at + life * 19 / 20,
                });
                self.held.store(Some(Arc::clone(&token)));
                Ok(token)
            }
            Err(failure) => {
                renewal.failures = renewal.failures.saturating_add(1);
                let rest = rest_after(renewal.failures, failure.asked_pause());
                // Once per streak: the metrics count the rest.
                if renewal.failures == 1 || renewal.problem != failure.problem.or(renewal.problem) {
                    tracing::warn!(
                        project = self.account.project_id(),
                        reason = failure.verdict.reason(),
                        problem = failure.problem,
                        "no access token from Google"
                    );
                }
                renewal.problem = failure.problem.or(renewal.problem);
                renewal.rest = Some((failure.clone(), self.clock.now() + rest));
                Err(failure.until(rest))
            }
        }
    }

    /// A panic while it was locked left at worst an outdated figure: whoever comes next goes on.
    fn lock(&self) -> MutexGuard<'_, Renewal> {
        self.renewal.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Failure {
    fn asked_pause(&self) -> Option<Duration> {
        if let Verdict::Retry { after, .. } = &self.verdict { *after } else { None }
    }

    /// The same, saying that trying sooner than in `rest` would only hear it again.
    fn until(mut self, rest: Duration) -> Self {
        if let Verdict::Retry { after, .. } = &mut self.verdict {
            *after = Some(rest);
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_fresh_for_four_fifths_of_its_life_and_used_for_nineteen_twentieths() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let token = AccessToken {
            header: HeaderValue::from_static("Bearer t"),
            generation: 1,
            renew_from: at(80),
            use_until: at(95),
        };
        let cases = [
            (0, Age::Fresh),
            (79, Age::Fresh),
            (80, Age::Ageing),
            (94, Age::Ageing),
            (95, Age::Dead),
            (200, Age::Dead),
        ];
        for (seconds, expected) in cases {
            assert_eq!(age(Some(&token), at(seconds)), expected, "after {seconds} s");
        }
        assert_eq!(age(None, start), Age::Dead);
    }

    #[test]
    fn every_state_has_its_step() {
        let table = [
            (Age::Fresh, false, false, Step::Use),
            (Age::Fresh, false, true, Step::Use),
            (Age::Fresh, true, false, Step::Use),
            (Age::Fresh, true, true, Step::Use),
            (Age::Ageing, false, false, Step::RenewAndUse),
            (Age::Ageing, false, true, Step::Use),
            (Age::Ageing, true, false, Step::Use),
            (Age::Ageing, true, true, Step::Use),
            (Age::Dead, false, false, Step::RenewAndWait),
            (Age::Dead, false, true, Step::Refuse),
            (Age::Dead, true, false, Step::Join),
            (Age::Dead, true, true, Step::Join),
        ];
        for (age, running, resting, expected) in table {
            assert_eq!(step(age, running, resting), expected, "{age:?}, running {running}, resting {resting}");
        }
    }

    #[test]
    fn rests_double_up_to_four_seconds_and_never_undercut_what_was_asked_for() {
        let seconds = |failures, asked: Option<u64>| rest_after(failures, asked.map(Duration::from_secs)).as_secs();
        assert_eq!([1, 2, 3, 6, 7, 8, u32::MAX].map(|failures| seconds(failures, None)), [1, 2, 4, 4, 4, 4, 4]);
        assert_eq!(seconds(1, Some(30)), 30);
        assert_eq!(seconds(1, Some(600)), 600);
        assert_eq!(seconds(1, Some(86_400)), 3_600);
        assert_eq!(seconds(7, Some(3)), 4);
    }
}
