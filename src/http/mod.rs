//! The edge.

pub mod mattermost;

use std::net::SocketAddr;
use std::time::Duration;

/// Addresses and limits of the HTTP side.
#[derive(Clone, Debug)]
pub struct HttpSettings {
    /// Where chat servers post to.
    pub listen: SocketAddr,
    /// A separate address for health and metrics; without one they are on `listen`.
    pub ops_listen: Option<SocketAddr>,
    /// The largest body, bytes.
    pub max_body_bytes: usize,
    /// The longest wait for a request's headers.
    pub header_timeout: Duration,
    /// The longest wait for a request's body.
    pub body_timeout: Duration,
    /// The most requests worked on at once.
    pub max_in_flight: usize,
    /// The most open connections.
    pub max_connections: usize,
}
