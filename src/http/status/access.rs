//! Who may see the page: whoever reaches it, or whoever shows a password or a token.

use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{self, SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::http::answer::{self, Answer};
use crate::private::Private;

/// Who may see the page. With neither, whoever reaches its address.
#[derive(Clone, Debug, Default)]
pub struct StatusSettings {
    /// A name and a password, for people (HTTP Basic, RFC 7617).
    pub login: Option<(String, Private)>,
    /// A token, for programs and proxies (HTTP Bearer, RFC 6750).
    pub bearer_token: Option<Private>,
}

/// The answer to whoever must show a password or token first.
const CHALLENGE: &str = "Basic realm=\"pushrelay status\", charset=\"UTF-8\"";

/// What is compared. Digests, so that not even the length of a secret shows in the time that a comparison takes.
pub(super) struct Access {
    login: Option<[u8; 32]>,
    bearer: Option<[u8; 32]>,
    /// Passwords and tokens that were shown and wrong, since they were last told of.
    wrong: AtomicU64,
}

impl Access {
    pub(super) fn new(settings: &StatusSettings) -> Self {
        let StatusSettings { login, bearer_token } = settings;
        Self {
            login: login.as_ref().map(|(user, password)| digest(format!("{user}:{}", password.expose()).as_bytes())),
            bearer: bearer_token.as_ref().map(|token| digest(token.expose().as_bytes())),
            wrong: AtomicU64::new(0),
        }
    }

    /// Whether these headers of a request say that its caller may see the page.
    pub(super) fn allows(&self, headers: &HeaderMap) -> bool {
        if self.login.is_none() && self.bearer.is_none() {
            return true;
        }
        // A browser asks without one first.
        let Some(value) = headers.get(AUTHORIZATION) else { return false };
        let allowed = value.to_str().is_ok_and(|value| self.opens(value));
        if !allowed {
            self.wrong.fetch_add(1, Ordering::Relaxed);
        }
        allowed
    }

    fn opens(&self, value: &str) -> bool {
        let Some((scheme, shown)) = value.split_once(' ') else { return false };
        let shown = shown.trim();
        if scheme.eq_ignore_ascii_case("basic") {
            STANDARD.decode(shown).is_ok_and(|login| matches(self.login, &login))
        } else {
            scheme.eq_ignore_ascii_case("bearer") && matches(self.bearer, shown.as_bytes())
        }
    }

    /// Tells the log of wrong passwords, in one line however many there were.
    pub(super) fn tell_of_wrong_ones(&self) {
        let count = self.wrong.swap(0, Ordering::Relaxed);
        if count > 0 {
            tracing::warn!(count, "wrong passwords or tokens were shown to the status page");
        }
    }

    /// What to answer otherwise.
    pub(super) fn refusal() -> Answer {
        let mut answer = answer::text(StatusCode::UNAUTHORIZED, "the status page needs a password\n");
        answer.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static(CHALLENGE));
        answer
    }
}

fn matches(expected: Option<[u8; 32]>, shown: &[u8]) -> bool {
    expected.is_some_and(|expected| verify_slices_are_equal(&expected, &digest(shown)).is_ok())
}

fn digest(text: &[u8]) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest::digest(&SHA256, text).as_ref());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_password_or_token_of_a_scheme_that_is_configured_opens_the_page() {
        let login = Some(("ops".to_owned(), Private::new("s3:cret")));
        let token = Some(Private::new("t0ken"));
        let basic = |login: &str| format!("Basic {}", STANDARD.encode(login));
        let both = StatusSettings { login: login.clone(), bearer_token: token.clone() };
        let only_login = StatusSettings { login, bearer_token: None };
        let only_token = StatusSettings { login: None, bearer_token: token };
        for (settings, header, allowed) in [
            (&StatusSettings::default(), None, true),
            (&StatusSettings::default(), Some("Bearer anything".to_owned()), true),
            (&both, None, false),
            (&both, Some(String::new()), false),
            (&both, Some(basic("ops:s3:cret")), true),
            (&both, Some(basic("ops:s3:cret").replace("Basic", "bAsIC")), true),
            (&both, Some(basic("ops:wrong")), false),
            (&both, Some(basic("Ops:s3:cret")), false),
            (&both, Some(basic("")), false),
            (&both, Some("Basic !!!".to_owned()), false),
            (&both, Some("Bearer t0ken".to_owned()), true),
            (&both, Some("Bearer t0ke".to_owned()), false),
            (&both, Some("Bearer".to_owned()), false),
            (&both, Some("Digest t0ken".to_owned()), false),
            (&only_login, Some("Bearer t0ken".to_owned()), false),
            (&only_login, Some("Bearer ".to_owned()), false),
            (&only_token, Some(basic("ops:s3:cret")), false),
            (&only_token, Some("bearer t0ken".to_owned()), true),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(header) = &header {
                headers.insert(AUTHORIZATION, HeaderValue::from_str(header).unwrap());
            }
            let access = Access::new(settings);
            assert_eq!(access.allows(&headers), allowed, "{settings:?} {header:?}");
            let is_told = !allowed && header.is_some();
            assert_eq!(access.wrong.load(Ordering::Relaxed), u64::from(is_told), "{settings:?} {header:?}");
        }
    }
}
