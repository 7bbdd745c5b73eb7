//! What a chat server says about itself, from bytes to a checked value. Pure.

use serde_json::{Map, Value};

use super::FetchError;
use crate::admission::key::VerifyingKey;
use crate::notification::ServerId;

/// The longest id, bytes: what is learned about servers has the same bound. Mattermost's have 26.
const MAX_ID_BYTES: usize = 128;

/// The longest version that is shown, characters. Mattermost's have up to ten.
const MAX_VERSION: usize = 40;

/// Who a chat server says it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// What it calls itself in pushes.
    pub id: ServerId,
    /// What it signs them with.
    pub key: VerifyingKey,
    /// What it runs; fit to be printed.
    pub version: Option<String>,
}

/// Reads the answer to `GET /api/v4/config/client?format=old`: one flat object of texts.
pub(super) fn parse(body: &[u8]) -> Result<Publication, FetchError> {
    let values: Map<String, Value> = serde_json::from_slice(body).map_err(|_| FetchError::NotJson)?;
    let text = |name: &str| values.get(name).and_then(Value::as_str).map(str::trim).filter(|text| !text.is_empty());
    let id = match (text("DiagnosticId"), text("TelemetryId")) {
        (Some(one), Some(other)) if one != other => return Err(FetchError::TwoIds),
        (Some(id), _) | (None, Some(id)) => id,
        (None, None) => return Err(FetchError::NoId),
    };
    if id.len() > MAX_ID_BYTES || id.chars().any(char::is_control) {
        return Err(FetchError::UnusableId);
    }
    let id = ServerId::new(id).ok_or(FetchError::NoId)?;
    let key = text("AsymmetricSigningPublicKey").ok_or(FetchError::NoKey)?;
    let key = VerifyingKey::from_text(key).map_err(FetchError::Key)?;
    let version = text("Version").map(|text| text.chars().filter(|c| !c.is_control()).take(MAX_VERSION).collect());
    Ok(Publication { id, key, version })
}
