//! Requests that are signed as a whole (Standard Webhooks): which headers say so. Whether the signature is right, admission
//! decides.

use http::HeaderMap;

use crate::admission::webhook::{SIGNATURE_HEADER, WebhookError, WebhookHeaders};

/// The header that names the sender: the id it is registered by.
pub(super) const SERVER_HEADER: &str = "pushrelay-server";

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

    /// What the signature is made of.
    pub(super) fn webhook(&self) -> Result<Option<WebhookHeaders<'_>>, WebhookError> {
        WebhookHeaders::from_request(&self.0)
    }

    /// What the signature calls the request; empty without one.
    pub(super) fn id(&self) -> String {
        self.webhook().ok().flatten().map(|headers| headers.id.to_owned()).unwrap_or_default()
    }
}
