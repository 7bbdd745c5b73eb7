//! What a request may cost before anything is known about it: a place among those worked on, the bytes of its body, and
//! the time these take to come. Each limit has an answer of its own, so that an operator can tell them apart.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http_body_util::BodyExt;
use hyper::body::Body;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::HttpSettings;
use super::answer::{self, Answer};
use crate::notification::Compatibility;
use crate::telemetry::metrics::Metrics;

/// Bytes of a body that is too large which are read and thrown away before the answer. A caller that is still writing
/// would see its connection reset and never read why; beyond this it is not a caller that made a mistake.
const DISCARDED_BYTES: usize = 1024 * 1024;

/// Seconds. A place becomes free with the next finished request, within about the time of one delivery.
pub(super) const OVERLOAD_RETRY_AFTER: u32 = 1;

/// Lets requests in as long as there is a place.
#[derive(Debug)]
pub(super) struct Gate {
    places: Semaphore,
    max_in_flight: usize,
    max_body_bytes: usize,
    body_timeout: Duration,
    metrics: Arc<Metrics>,
}

/// Why a request was not looked at.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum TurnedAway {
    #[error("overloaded: {0} requests are being worked on already; try again in a moment")]
    Overloaded(usize),
    #[error("the request body is larger than {0} bytes")]
    TooLarge(usize),
    #[error("the request body did not arrive within {}", humantime::format_duration(*.0))]
    TooSlow(Duration),
    #[error("Failed to read message body")]
    Broken,
}

impl TurnedAway {
    pub(super) fn answer(&self, compatibility: Compatibility) -> Answer {
        let text = self.to_string();
        match self {
            Self::Overloaded(_) => {
                let status = StatusCode::SERVICE_UNAVAILABLE;
                answer::failed_for_now(compatibility, status, text, OVERLOAD_RETRY_AFTER)
            }
            Self::TooLarge(_) => answer::failed(compatibility, StatusCode::PAYLOAD_TOO_LARGE, text),
            Self::TooSlow(_) => answer::failed(compatibility, StatusCode::REQUEST_TIMEOUT, text),
            // The reference answers a body it cannot read with 200.
            Self::Broken => answer::failed(compatibility, StatusCode::OK, text),
        }
    }
}

impl Gate {
    pub(super) fn new(settings: &HttpSettings, metrics: Arc<Metrics>) -> Self {
        Self {
            places: Semaphore::new(settings.max_in_flight),
            max_in_flight: settings.max_in_flight,
            max_body_bytes: settings.max_body_bytes,
            body_timeout: settings.body_timeout,
            metrics,
        }
    }

    /// Whether a body says of itself that it is no larger than every route takes.
    pub(super) fn takes<B>(&self, body: &B) -> bool
    where
        B: Body<Data = Bytes>,
    {
        body.size_hint().upper().is_some_and(|most| most <= self.max_body_bytes as u64)
    }

    /// Takes a place, to be held until the answer is known, and reads the body.
    pub(super) fn enter<B>(&self, body: B) -> impl Future<Output = Result<(SemaphorePermit<'_>, Bytes), TurnedAway>>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        self.enter_with(body, self.max_body_bytes)
    }

    /// The same for a body that may be larger, at most this many bytes. The configured limit holds if it is higher.
    pub(super) fn enter_larger<B>(
        &self,
        body: B,
        max_body_bytes: usize,
    ) -> impl Future<Output = Result<(SemaphorePermit<'_>, Bytes), TurnedAway>>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        self.enter_with(body, max_body_bytes.max(self.max_body_bytes))
    }

    async fn enter_with<B>(&self, body: B, max_body_bytes: usize) -> Result<(SemaphorePermit<'_>, Bytes), TurnedAway>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let Ok(place) = self.places.try_acquire() else {
            self.metrics.overloaded();
            return Err(TurnedAway::Overloaded(self.max_in_flight));
        };
        let read = tokio::time::timeout(self.body_timeout, read(body, max_body_bytes)).await;
        let bytes = read.unwrap_or(Err(TurnedAway::TooSlow(self.body_timeout)))?;
        Ok((place, bytes))
    }

    /// How many places are taken.
    pub(super) fn in_flight(&self) -> usize {
        self.max_in_flight.saturating_sub(self.places.available_permits())
    }
}

/// All of a body, unless it is larger than `max` bytes.
async fn read<B>(mut body: B, max: usize) -> Result<Bytes, TurnedAway>
where
    B: Body<Data = Bytes> + Unpin,
{
    if body.size_hint().lower() > max as u64 {
        discard(&mut body).await;
        return Err(TurnedAway::TooLarge(max));
    }
    let mut whole = Bytes::new();
    let mut gathered = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| TurnedAway::Broken)?.into_data() else { continue };
        if whole.len() + gathered.len() + data.len() > max {
            discard(&mut body).await;
            return Err(TurnedAway::TooLarge(max));
        }
        // A push usually comes in one piece, and then it is not copied.
        if whole.is_empty() && gathered.is_empty() {
            whole = data;
        } else {
            if gathered.is_empty() {
                gathered.extend_from_slice(&std::mem::take(&mut whole));
            }
            gathered.extend_from_slice(&data);
        }
    }
    Ok(if gathered.is_empty() { whole } else { gathered.freeze() })
}

/// Reads what still comes, within [`DISCARDED_BYTES`].
async fn discard<B>(body: &mut B)
where
    B: Body<Data = Bytes> + Unpin,
{
    let mut left = DISCARDED_BYTES;
    if body.size_hint().lower() > left as u64 {
        return;
    }
    while let Some(Ok(frame)) = Pin::new(&mut *body).frame().await {
        match left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}

#[cfg(test)]
#[path = "limits_tests.rs"]
mod tests;
