//! Holds the place of `webhook::WebhookKey` until that module is there; nothing is checked with it.

use std::fmt;

/// A key that signed requests are checked with.
#[derive(Clone)]
pub struct WebhookKey;

/// Why a text is not such a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this starts with neither whsec_ nor whpk_, as a Standard Webhooks key does")]
pub struct WebhookKeyError;

impl WebhookKey {
    /// From `whsec_…` or `whpk_…`.
    pub fn from_text(text: &str) -> Result<Self, WebhookKeyError> {
        let known = ["whsec_", "whpk_"].iter().any(|prefix| text.trim().starts_with(prefix));
        if known { Ok(Self) } else { Err(WebhookKeyError) }
    }
}

impl fmt::Debug for WebhookKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookKey([private])")
    }
}
