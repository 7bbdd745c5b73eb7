//! Who may see the page: whoever shows a password or a token, or, where neither is set, whoever reaches it under this machine's own
//! name or by its number.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{self, SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::uri::Authority;
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

/// What becomes of a request for the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// It is shown.
    Shown,
    /// A password or token is missing or wrong.
    AsksForPassword,
    /// It was asked for under a name that anybody can point here.
    ForeignName,
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

    /// What a request is answered that names this host, if any, and has these headers.
    pub(super) fn decide(&self, host: Option<&str>, headers: &HeaderMap) -> Decision {
        if self.login.is_none() && self.bearer.is_none() {
            // A stranger's page can give its own name this machine's address, and then its script reads what is shown there to
            // that name. A number, and what every resolver keeps for this machine, it cannot have. A password it does not know.
            return if host.is_none_or(is_own) { Decision::Shown } else { Decision::ForeignName };
        }
        if self.allows(headers) { Decision::Shown } else { Decision::AsksForPassword }
    }

    /// Whether these headers hold the password or the token.
    fn allows(&self, headers: &HeaderMap) -> bool {
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

    /// The answer to a name that is not this machine's.
    pub(super) fn foreign_name() -> Answer {
        let text = "without a password the status page is shown under an address such as http://127.0.0.1:9066/status or under \
                    localhost only: open it there, or set [status] password_file or bearer_token_file to have it under any name\n";
        answer::text(StatusCode::MISDIRECTED_REQUEST, text)
    }

    /// The answer to whoever has no password or token, or a wrong one.
    pub(super) fn refusal() -> Answer {
        let mut answer = answer::text(StatusCode::UNAUTHORIZED, "the status page needs a password\n");
        answer.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static(CHALLENGE));
        answer
    }
}

/// Whether a `Host` is a number or `localhost`, with or without a port.
fn is_own(host: &str) -> bool {
    let Ok(host) = host.parse::<Authority>() else { return false };
    let name = host.host();
    let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    address.parse::<IpAddr>().is_ok() || name.eq_ignore_ascii_case("localhost")
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
            let expected = if allowed { Decision::Shown } else { Decision::AsksForPassword };
            assert_eq!(access.decide(Some("evil.example"), &headers), expected, "{settings:?} {header:?}");
            let is_told = !allowed && header.is_some();
            assert_eq!(access.wrong.load(Ordering::Relaxed), u64::from(is_told), "{settings:?} {header:?}");
        }
    }

    #[test]
    fn without_a_password_it_opens_under_no_name_that_a_stranger_can_have() {
        let access = Access::new(&StatusSettings::default());
        for (host, shown) in [
            (None, true),
            (Some("127.0.0.1:9066"), true),
            (Some("10.0.0.7"), true),
            (Some("[::1]:9066"), true),
            (Some("[fd00::7]"), true),
            (Some("localhost:9066"), true),
            (Some("LOCALHOST"), true),
            (Some("evil.example:9066"), false),
            (Some("127.0.0.1.evil.example"), false),
            (Some("localhost.evil.example"), false),
            (Some("relay"), false),
            (Some(""), false),
            (Some("[evil"), false),
        ] {
            let expected = if shown { Decision::Shown } else { Decision::ForeignName };
            assert_eq!(access.decide(host, &HeaderMap::new()), expected, "{host:?}");
        }
    }
}
