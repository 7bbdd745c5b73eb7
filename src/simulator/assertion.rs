//! Service-account assertions as Google's token endpoint checks them (RFC 7523; Google, "Using OAuth 2.0 for server
//! to server applications").

use jsonwebtoken::dangerous::insecure_decode_claims;
use jsonwebtoken::{Algorithm, Validation, decode, decode_header};
use serde::Deserialize;

use super::settings::FcmAccount;

const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const SCOPES: [&str; 2] =
    ["https://www.googleapis.com/auth/firebase.messaging", "https://www.googleapis.com/auth/cloud-platform"];
/// Seconds between `iat` and `exp` at most.
const MAX_LIFE: u64 = 60 * 60;
/// Seconds by which the issuer's clock may differ. Google speaks of "a reasonable timeframe".
const CLOCK_SKEW: u64 = 300;

/// Google's `error` and `error_description`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct AssertionRefused {
    pub(super) error: &'static str,
    pub(super) description: &'static str,
}

#[derive(Deserialize)]
struct Unverified {
    iss: String,
}

#[derive(Deserialize)]
struct Claims {
    aud: String,
    scope: String,
    iat: u64,
    exp: u64,
}

const fn refused(error: &'static str, description: &'static str) -> AssertionRefused {
    AssertionRefused { error, description }
}

/// The account that a token request's form body speaks for.
pub(super) fn check<'a>(
    accounts: &'a [FcmAccount],
    audiences: &[String],
    form: &[u8],
    now: u64,
) -> Result<&'a FcmAccount, AssertionRefused> {
    let field = |name: &str| url::form_urlencoded::parse(form).find(|(key, _)| key == name).map(|(_, value)| value);
    if field("grant_type").as_deref() != Some(GRANT_TYPE) {
        return Err(refused("unsupported_grant_type", "grant_type is not urn:ietf:params:oauth:grant-type:jwt-bearer"));
    }
    let assertion = field("assertion").ok_or(refused("invalid_request", "assertion is missing"))?;
    let header = decode_header(assertion.as_bytes()).map_err(|_| refused("invalid_grant", "Invalid JWT"))?;
    if header.alg != Algorithm::RS256 {
        return Err(refused("invalid_grant", "Invalid JWT: signed with another algorithm than RS256"));
    }
    let unknown = || refused("invalid_grant", "Invalid grant: account not found");
    // Read before it is verified, only to know whose key to verify with.
    let unverified: Unverified = insecure_decode_claims(assertion.as_bytes()).map_err(|_| unknown())?;
    let account = accounts.iter().find(|account| account.client_email == unverified.iss).ok_or_else(unknown)?;
    if header.kid.is_some_and(|kid| kid != account.key_id) {
        return Err(refused("invalid_grant", "Invalid JWT Signature: unknown key id"));
    }
    let mut validation = Validation::new(Algorithm::RS256);
    // Times and audience are checked below, against the simulator's own clock and with Google's words.
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_aud = false;
    let claims = decode::<Claims>(assertion.as_bytes(), &account.public_key, &validation)
        .map_err(|error| match error.kind() {
            jsonwebtoken::errors::ErrorKind::InvalidSignature => refused("invalid_grant", "Invalid JWT Signature."),
            _ => refused("invalid_grant", "Invalid JWT: iss, aud, scope, iat and exp are required"),
        })?
        .claims;
    if !audiences.contains(&claims.aud) {
        return Err(refused("invalid_grant", "Invalid JWT: aud is not the address of this token endpoint"));
    }
    if claims.iat > now.saturating_add(CLOCK_SKEW) || claims.exp.saturating_add(CLOCK_SKEW) <= now {
        let text = "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. Check \
                    your iat and exp values in the JWT claim.";
        return Err(refused("invalid_grant", text));
    }
    if claims.exp <= claims.iat || claims.exp - claims.iat > MAX_LIFE {
        return Err(refused("invalid_grant", "Invalid JWT: exp is not within an hour after iat"));
    }
    if !claims.scope.split(' ').any(|scope| SCOPES.contains(&scope)) {
        return Err(refused("invalid_scope", "scope does not include firebase.messaging"));
    }
    Ok(account)
}
