//! Provider tokens as Apple checks them: signature, team, age, and how often a new one comes ("Establishing a
//! token-based connection to APNs").

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jsonwebtoken::{Algorithm, Validation, decode, decode_header};
use serde::Deserialize;

use super::settings::ProviderKey;

/// Seconds a token is good for after its `iat`.
const MAX_AGE: u64 = 60 * 60;
/// Seconds by which the issuer's clock may be ahead. Apple names no figure.
const CLOCK_SKEW: u64 = 60;
/// Accepted tokens remembered per key. At one every 20 minutes four are alive.
const REMEMBERED: usize = 16;

/// Why a provider token is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum TokenError {
    #[error("the provider token is {0}")]
    Invalid(&'static str),
    #[error("the provider token is older than an hour")]
    Expired,
    #[error("a different token of this key was issued too short a time before or after")]
    TooManyUpdates,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    iat: u64,
}

struct Accepted {
    token: String,
    issued_at: u64,
}

struct Key {
    key: ProviderKey,
    /// What was accepted lately, so that the signature of a token is checked once, and a new token is noticed.
    accepted: Mutex<VecDeque<Accepted>>,
}

/// The keys Apple knows, and the tokens it has seen of each.
pub(super) struct ProviderTokens {
    keys: Vec<Key>,
    interval: Duration,
}

impl ProviderTokens {
    pub(super) fn new(keys: Vec<ProviderKey>, interval: Duration) -> Self {
        Self { keys: keys.into_iter().map(|key| Key { key, accepted: Mutex::default() }).collect(), interval }
    }

    /// The team that the value of an `authorization` header speaks for.
    pub(super) fn check(&self, authorization: &str, now: u64) -> Result<&str, TokenError> {
        let token = match authorization.split_once(' ') {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token,
            _ => return Err(TokenError::Invalid("not a bearer token")),
        };
        let header = decode_header(token).map_err(|_| TokenError::Invalid("not a JWT"))?;
        if header.alg != Algorithm::ES256 {
            return Err(TokenError::Invalid("not signed with ES256"));
        }
        let kid = header.kid.ok_or(TokenError::Invalid("without a kid"))?;
        let key = self.keys.iter().find(|key| key.key.key_id == kid).ok_or(TokenError::Invalid("of an unknown key"))?;

        let mut accepted = key.accepted.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = accepted.iter().find(|known| known.token == token) {
            in_time(known.issued_at, now)?;
            return Ok(&key.key.team_id);
        }
        let claims = verify(token, &key.key)?;
        in_time(claims.iat, now)?;
        let too_close = |known: &Accepted| known.issued_at.abs_diff(claims.iat) < self.interval.as_secs();
        if accepted.iter().any(too_close) {
            return Err(TokenError::TooManyUpdates);
        }
        if accepted.len() >= REMEMBERED {
            accepted.pop_front();
        }
        accepted.push_back(Accepted { token: token.to_owned(), issued_at: claims.iat });
        Ok(&key.key.team_id)
    }
}

fn in_time(issued_at: u64, now: u64) -> Result<(), TokenError> {
    if issued_at > now.saturating_add(CLOCK_SKEW) {
        Err(TokenError::Invalid("issued in the future"))
    } else if now.saturating_sub(issued_at) > MAX_AGE {
        Err(TokenError::Expired)
    } else {
        Ok(())
    }
}

fn verify(token: &str, key: &ProviderKey) -> Result<Claims, TokenError> {
    let mut validation = Validation::new(Algorithm::ES256);
    // Apple's tokens carry no exp; the age is checked against the simulator's own clock.
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_aud = false;
    let claims = decode::<Claims>(token, &key.public_key, &validation)
        .map_err(|error| match error.kind() {
            jsonwebtoken::errors::ErrorKind::InvalidSignature => TokenError::Invalid("not signed by this key"),
            _ => TokenError::Invalid("without a readable iss (text) and iat (whole seconds)"),
        })?
        .claims;
    if claims.iss == key.team_id { Ok(claims) } else { Err(TokenError::Invalid("of another team (iss)")) }
}
