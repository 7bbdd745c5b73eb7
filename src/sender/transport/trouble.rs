//! What can go wrong between the relay and a provider, in fixed words. What a provider *answers* is not trouble.

use std::io;

use crate::outcome::{Reason, TIMEOUT};

/// What went wrong. Becomes a metric label, so there is nothing free in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The name has no address.
    Dns,
    /// Nobody listens there.
    ConnectRefused,
    /// No way to that address.
    ConnectFailed,
    /// DNS, TCP, proxy and TLS together took too long.
    ConnectTimeout,
    /// The two sides could not agree on TLS: an untrusted certificate, or ours was refused.
    Tls,
    /// The peer speaks no HTTP/2.
    NoHttp2,
    /// The forward proxy cannot be reached or does not let us through.
    Proxy,
    /// The forward proxy wants credentials, or others than it got (407).
    ProxyAuth,
    /// Connected, but no stream became free in time.
    NoStream,
    /// Sent, but not answered in time.
    Timeout,
    /// The connection ended before the answer.
    ConnectionLost,
    /// The peer closes the connection and has not looked at this request.
    GoAway,
    /// The peer refused the stream before it looked at this request.
    RefusedStream,
    /// The peer broke the request off.
    StreamReset,
    /// The peer does not keep to HTTP/2.
    Protocol,
    /// The relay itself is closing this target.
    Closed,
}

impl Trouble {
    pub(crate) fn as_str(self) -> Reason {
        match self {
            Self::Dns => "dns",
            Self::ConnectRefused => "connect_refused",
            Self::ConnectFailed => "connect_failed",
            Self::ConnectTimeout => "connect_timeout",
            Self::Tls => "tls",
            Self::NoHttp2 => "no_http2",
            Self::Proxy => "proxy",
            Self::ProxyAuth => "proxy_auth",
            Self::NoStream => "no_stream",
            Self::Timeout => TIMEOUT,
            Self::ConnectionLost => "connection_lost",
            Self::GoAway => "goaway",
            Self::RefusedStream => "refused_stream",
            Self::StreamReset => "stream_reset",
            Self::Protocol => "protocol",
            Self::Closed => "closed",
        }
    }

    /// Whether the peer has promised not to have looked at the request (RFC 9113 §8.7): the stream lies beyond the last
    /// one of its GOAWAY, or was refused. Repeating it at once is safe. Nothing else is promised.
    pub(crate) fn is_unprocessed(self) -> bool {
        matches!(self, Self::GoAway | Self::RefusedStream)
    }

    /// Why a stream, or a whole connection, failed.
    pub(crate) fn of(error: &h2::Error) -> Self {
        if error.is_go_away() && error.is_remote() {
            Self::GoAway
        } else if error.is_reset() && error.is_remote() {
            if error.reason() == Some(h2::Reason::REFUSED_STREAM) { Self::RefusedStream } else { Self::StreamReset }
        } else if error.is_library() {
            Self::Protocol
        } else if error.get_io().is_some_and(|error| error.kind() == io::ErrorKind::InvalidData) {
            // rustls reports everything it refuses, and every alert it is sent, with this kind.
            Self::Tls
        } else {
            Self::ConnectionLost
        }
    }
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", reason.as_str())]
pub(crate) struct TransportError {
    /// What went wrong.
    pub(crate) reason: Trouble,
    /// The peer cannot have acted on the request.
    pub(crate) unprocessed: bool,
}
