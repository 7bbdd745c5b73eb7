//! Requests that are signed as a whole (Standard Webhooks): which headers say so. Whether the signature is right, admission
//! decides.

use http::HeaderMap;

use crate::admission::webhook::{SIGNATURE_HEADER, WebhookError, WebhookHeaders};

/// The header that names the sender: the id it is registered by.
pub(super) const SERVER_HEADER: &str = "pushrelay-server";

/// What a caller would like (RFC 7240).
const PREFER: &str = "prefer";

/// To be answered as soon as the message is on disk.
pub(super) const RESPOND_ASYNC: &str = "respond-async";

/// The headers of a request that is, or should be, signed as a whole.
pub(super) struct SignedHeaders(pub(super) HeaderMap);

impl SignedHeaders {
    /// Whether a request is signed in this way.
    pub(super) fn are_in(headers: &HeaderMap) -> bool {
        headers.contains_key(SIGNATURE_HEADER)
    }

    /// Who says that it sends; `None` if it does not, or says two things.
    pub(super) fn server(&self) -> Option<&str> {
        let mut names = self.0.get_all(SERVER_HEADER).iter();
        let name = names.next()?.to_str().ok()?;
        names.next().is_none().then_some(name)
    }

    /// Whether the caller would rather hear soon that the relay will deliver than later that it has (RFC 7240, 4.1).
    pub(super) fn prefer_to_hear_soon(&self) -> bool {
        let values = self.0.get_all(PREFER).iter().filter_map(|value| value.to_str().ok());
        // A preference may have parameters behind a semicolon; this one has none that mean anything.
        let mut names = values.flat_map(|value| value.split(',')).map(|one| one.split(';').next().unwrap_or("").trim());
        names.any(|name| name.eq_ignore_ascii_case(RESPOND_ASYNC))
    }

    /// What the signature is made of.
    pub(super) fn webhook(&self) -> Result<Option<WebhookHeaders<'_>>, WebhookError> {
        WebhookHeaders::from_request(&self.0)
    }

    /// What the signature calls the request; empty without one.
    pub(super) fn id(&self) -> String {
        self.webhook().ok().flatten().map(|headers| headers.id.to_owned()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_preference_is_found_among_others_and_however_it_is_written() {
        let cases = [
            (&["respond-async"][..], true),
            (&["Respond-Async"], true),
            (&["wait=10, respond-async"], true),
            (&["wait=10", "respond-async; x=y"], true),
            (&["return=minimal"], false),
            (&["respond-asynchronously"], false),
            (&[], false),
        ];
        for (values, expected) in cases {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(PREFER, value.parse().unwrap());
            }
            assert_eq!(SignedHeaders(headers).prefer_to_hear_soon(), expected, "{values:?}");
        }
    }
}
