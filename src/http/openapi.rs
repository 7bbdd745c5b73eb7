//! The description of the HTTP API for people and their tools, written by hand. Tests hold it against the code: its fields in
//! `mattermost/described.rs` and `native/decode/described.rs`, its answers in `tests/front_door/description.rs`.

use axum::Router;
use axum::routing::get;
use http::StatusCode;

use super::answer;

/// The description, `OpenAPI` 3.1.
pub(super) const DESCRIPTION: &str = include_str!("openapi.yaml");

/// RFC 9512.
const YAML: &str = "application/yaml";

/// `/api/openapi.yaml`. It stands beside what it describes: who may post may read how.
pub(super) fn description() -> Router {
    Router::new().route("/api/openapi.yaml", get(|| async { answer::with_body(StatusCode::OK, YAML, DESCRIPTION) }))
}
