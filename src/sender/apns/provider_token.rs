//! The token by which a signing key proves itself to APNs: when to make a new one, and when not to.
//!
//! Apple wants a new one at most every 20 minutes and at least every 60 ("Establishing a token-based connection to
//! APNs"), and answers `TooManyProviderTokenUpdates` to those who make more. That goes for the key and not for the app,
//! so one token serves all connections of all targets with the same key.

use std::fmt;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use http::HeaderValue;
use tokio::time::Instant;

use super::credential::{CredentialError, SigningKey};
use crate::clock::Clock;

/// Apple refuses a token older than an hour. Ten minutes are left for clocks that differ and requests that wait.
const RENEW_AFTER: Duration = Duration::from_mins(50);

/// Apple's bound on new tokens.
const MIN_AGE: Duration = Duration::from_mins(20);

/// The most signing keys that are remembered while no target uses them: 64, some 500 bytes each. One that comes back within
/// [`MIN_AGE`] must not make a second token; whoever changes keys more often than that is told to slow down by Apple.
const UNUSED_KEYS: usize = 64;

/// What to do about the present token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    Keep,
    Renew,
}

/// `age` by whichever clock has moved further: the one that never goes back, or the wall clock that Apple compares with
/// the token's `iat` (a machine that slept may have only the second move).
fn decide(age: Duration, since_minted: Duration, was_refused: bool) -> Decision {
    let due = age >= RENEW_AFTER || was_refused;
    if due && since_minted >= MIN_AGE { Decision::Renew } else { Decision::Keep }
}

/// What follows from `ExpiredProviderToken`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// One more attempt is worth it: there is a newer token by now, or this was the first word against a young one.
    TryAgain,
    /// A token younger than 20 minutes was refused again, by Apple's own rules too young to be replaced. This machine's
    /// clock is wrong, or the key was revoked; it mends itself with the next token, or an operator must act.
    Broken,
}

/// A token, ready to be sent.
pub(super) struct ProviderToken {
    header: HeaderValue,
    minted: Instant,
    /// Wall time of `iat`, since the Unix epoch.
    issued_at: Duration,
    /// When Apple first refused it.
    refused: OnceLock<Instant>,
}

impl ProviderToken {
    /// `bearer …`, marked as sensitive: it is not logged, and HPACK does not index it.
    pub(super) fn header(&self) -> &HeaderValue {
        &self.header
    }
}

impl fmt::Debug for ProviderToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProviderToken").field("issued_at", &self.issued_at).finish_non_exhaustive()
    }
}

/// A signing key's present token.
#[derive(Debug)]
pub(super) struct ProviderTokens {
    key: SigningKey,
    clock: Clock,
    /// Read once per push: about 20 ns, against some 30 µs for the push itself. The lock is written once in 50 minutes,
    /// for as long as one signature takes.
    current: RwLock<Option<Arc<ProviderToken>>>,
}

/// The signing keys of a process, each with its one provider token: whoever sets several targets up hands the same value
/// to all of them.
#[derive(Debug, Default)]
pub struct KeysInUse(Vec<Arc<ProviderTokens>>);

impl KeysInUse {
    /// This key's tokens, with the clock of whoever asked for them first. A handful of keys: looked through in order.
    pub(super) fn tokens(&mut self, key: &SigningKey, clock: &Clock) -> Arc<ProviderTokens> {
        if let Some(tokens) = self.0.iter().find(|tokens| tokens.key.is_same(key)) {
            return Arc::clone(tokens);
        }
        // The order is that of their first use, so the one forgotten is the oldest.
        let unused = |tokens: &Arc<ProviderTokens>| Arc::strong_count(tokens) == 1;
        if self.0.iter().filter(|tokens| unused(tokens)).count() >= UNUSED_KEYS
            && let Some(oldest) = self.0.iter().position(unused)
        {
            self.0.remove(oldest);
        }
        let tokens = Arc::new(ProviderTokens::new(key.clone(), clock.clone()));
        self.0.push(Arc::clone(&tokens));
        tokens
    }
}

impl ProviderTokens {
    /// Makes no token yet.
    pub(super) fn new(key: SigningKey, clock: Clock) -> Self {
        Self { key, clock, current: RwLock::new(None) }
    }

    /// The token to send now. Renews it when it is due.
    pub(super) fn current(&self) -> Result<Arc<ProviderToken>, CredentialError> {
        let read = || self.current.read().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(token) = read().filter(|token| self.decide(token) == Decision::Keep) {
            return Ok(token);
        }
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        // Another request may have been faster.
        if let Some(token) = current.as_ref().filter(|token| self.decide(token) == Decision::Keep) {
            return Ok(Arc::clone(token));
        }
        let token = Arc::new(self.mint()?);
        *current = Some(Arc::clone(&token));
        Ok(token)
    }

    fn decide(&self, token: &ProviderToken) -> Decision {
        let since_minted = self.clock.now().saturating_duration_since(token.minted);
        let age = since_minted.max(self.clock.unix().saturating_sub(token.issued_at));
        decide(age, since_minted, token.refused.get().is_some())
    }

    fn mint(&self) -> Result<ProviderToken, CredentialError> {
        let (minted, issued_at) = (self.clock.now(), self.clock.unix());
        let mut header = HeaderValue::from_str(&format!("bearer {}", self.key.sign(issued_at.as_secs())?))
            .map_err(|_| CredentialError("the provider token does not fit into a header".to_owned()))?;
        header.set_sensitive(true);
        Ok(ProviderToken { header, minted, issued_at, refused: OnceLock::new() })
    }

    /// Apple answered `ExpiredProviderToken` to a request that was sent with this token at this moment.
    pub(super) fn refused(&self, token: &Arc<ProviderToken>, sent: Instant) -> Refusal {
        let first_refusal = *token.refused.get_or_init(|| self.clock.now());
        let is_current = self
            .current
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .as_ref()
            .is_some_and(|current| Arc::ptr_eq(current, token));
        // Requests that were under way when the first of them was refused say nothing new.
        if !is_current || self.decide(token) == Decision::Renew || sent <= first_refusal {
            Refusal::TryAgain
        } else {
            Refusal::Broken
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::credential::test_keys;
    use super::*;

    fn minutes(count: u64) -> Duration {
        Duration::from_secs(count * 60)
    }

    fn tokens() -> (ProviderTokens, Clock) {
        let clock = Clock::manual(1_700_000_000);
        let key = SigningKey::from_p8(test_keys::p8().as_bytes(), "KEYID12345", "TEAMID1234").unwrap();
        (ProviderTokens::new(key, clock.clone()), clock)
    }

    #[test]
    fn a_key_that_comes_back_has_its_token_still_and_only_so_many_unused_ones_are_remembered() {
        let clock = Clock::manual(1_700_000_000);
        let key = |id: usize| SigningKey::from_p8(test_keys::p8().as_bytes(), &format!("KEY{id}"), "TEAM").unwrap();
        let mut keys = KeysInUse::default();
        let in_use = keys.tokens(&key(0), &clock);
        let before = Arc::as_ptr(&keys.tokens(&key(1), &clock));
        assert_eq!(before, Arc::as_ptr(&keys.tokens(&key(1), &clock)), "of a key that no target uses at the moment");
        for id in 2..200 {
            keys.tokens(&key(id), &clock);
        }
        assert_eq!(keys.0.len(), UNUSED_KEYS + 1);
        assert!(Arc::ptr_eq(&in_use, &keys.tokens(&key(0), &clock)), "one in use is not forgotten");
    }

    #[test]
    fn a_token_is_renewed_at_fifty_minutes_or_when_refused_but_never_within_twenty() {
        use Decision::{Keep, Renew};
        // Age, minutes since it was made, refused.
        let cases = [
            (0, 0, false, Keep),
            (49, 49, false, Keep),
            (50, 50, false, Renew),
            (600, 600, false, Renew),
            (0, 0, true, Keep),
            (19, 19, true, Keep),
            (20, 20, true, Renew),
            (50, 50, true, Renew),
            // The wall clock jumped ahead: the token looks old to Apple, but it was made just now.
            (600, 5, false, Keep),
            (600, 20, false, Renew),
        ];
        for (age, since_minted, refused, expected) in cases {
            assert_eq!(
                decide(minutes(age), minutes(since_minted), refused),
                expected,
                "age {age}, made {since_minted} min ago, refused: {refused}"
            );
        }
    }

    #[test]
    fn all_requests_share_one_token_until_it_is_due() {
        let (tokens, clock) = tokens();
        let first = tokens.current().unwrap();
        clock.advance(Duration::from_secs(50 * 60 - 1));
        assert!(Arc::ptr_eq(&first, &tokens.current().unwrap()));
        clock.advance(Duration::from_secs(1));
        let second = tokens.current().unwrap();
        assert!(!Arc::ptr_eq(&first, &second));
        assert_ne!(first.header(), second.header());
    }

    #[test]
    fn targets_with_the_same_key_share_its_token_and_others_do_not() {
        let clock = Clock::manual(1_700_000_000);
        let key = |pem: &str, id| SigningKey::from_p8(pem.as_bytes(), id, "TEAMID1234").unwrap();
        let other = rcgen::KeyPair::generate().unwrap().serialize_pem();
        let mut keys = KeysInUse::default();
        let first = keys.tokens(&key(&test_keys::p8(), "KEYID12345"), &clock).current().unwrap();
        // Read from its file once more, as each target does.
        let again = keys.tokens(&key(&test_keys::p8(), "KEYID12345"), &clock).current().unwrap();
        assert!(Arc::ptr_eq(&first, &again));
        for (pem, id) in [(test_keys::p8(), "KEYID67890"), (other, "KEYID12345")] {
            let token = keys.tokens(&key(&pem, id), &clock).current().unwrap();
            assert!(!Arc::ptr_eq(&first, &token), "{id}");
        }
    }

    #[test]
    fn a_token_refused_again_and_again_is_replaced_only_every_twenty_minutes() {
        let (tokens, clock) = tokens();
        let mut made = vec![tokens.current().unwrap()];
        for _ in 0..120 {
            clock.advance(minutes(1));
            let token = tokens.current().unwrap();
            if !Arc::ptr_eq(made.last().unwrap(), &token) {
                made.push(Arc::clone(&token));
            }
            tokens.refused(&token, clock.now());
        }
        assert_eq!(made.len(), 1 + 120 / 20);
    }

    #[test]
    fn an_old_token_that_is_refused_is_replaced_and_the_request_may_be_repeated() {
        let (tokens, clock) = tokens();
        let old = tokens.current().unwrap();
        clock.advance(minutes(20));
        assert_eq!(tokens.refused(&old, clock.now()), Refusal::TryAgain);
        let renewed = tokens.current().unwrap();
        assert!(!Arc::ptr_eq(&old, &renewed));
        assert_eq!(tokens.refused(&old, clock.now()), Refusal::TryAgain, "late words about the old one mean nothing");
        assert!(Arc::ptr_eq(&renewed, &tokens.current().unwrap()));
    }

    #[test]
    fn a_young_token_refused_twice_means_that_the_target_is_broken_until_a_new_one_may_be_made() {
        let (tokens, clock) = tokens();
        let token = tokens.current().unwrap();
        let under_way = clock.now();
        clock.advance(minutes(1));
        assert_eq!(tokens.refused(&token, under_way), Refusal::TryAgain);
        assert_eq!(tokens.refused(&token, under_way), Refusal::TryAgain, "it was sent before the first refusal");
        clock.advance(minutes(1));
        assert_eq!(tokens.refused(&token, clock.now()), Refusal::Broken);
        assert!(Arc::ptr_eq(&token, &tokens.current().unwrap()));
        clock.advance(minutes(18));
        assert!(!Arc::ptr_eq(&token, &tokens.current().unwrap()));
    }

    #[test]
    fn the_token_is_what_apple_wants_and_a_debug_print_hides_it() {
        let (tokens, _) = tokens();
        let token = tokens.current().unwrap();
        assert!(token.header().is_sensitive());
        let text = token.header().to_str().unwrap().strip_prefix("bearer ").unwrap();
        let mut validation = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::ES256);
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        let key = jsonwebtoken::DecodingKey::from_ec_pem(test_keys::public_pem().as_bytes()).unwrap();
        let decoded = jsonwebtoken::decode::<serde_json::Value>(text, &key, &validation).unwrap();
        assert_eq!(
            serde_json::to_value(&decoded.header).unwrap(),
            serde_json::json!({"alg": "ES256", "kid": "KEYID12345"})
        );
        assert_eq!(decoded.claims, serde_json::json!({"iss": "TEAMID1234", "iat": 1_700_000_000}));
        let printed = format!("{tokens:?} {token:?}");
        assert!(!printed.contains(text) && !printed.contains("bearer"), "{printed}");
    }
}
