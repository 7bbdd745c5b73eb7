//! Server-sent events: whoever watches the page gets it anew each second. The page is made once, however many watch, and
//! only while somebody does.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use http::header::{CACHE_CONTROL, HeaderName};
use http::{HeaderValue, StatusCode};
use tokio::sync::{Semaphore, mpsc, watch};

use crate::http::answer::{self, Answer};
use crate::shutdown::Shutdown;

/// Watchers at once: a team in an incident. Half of the operators' connections, so that probes find a place beside them.
pub(in crate::http) const WATCHERS: usize = 32;

/// How long a watcher may leave an event unread: 10 s. Events that it has not taken are not kept: the next it gets is the
/// newest.
const PATIENCE: Duration = Duration::from_secs(10);

/// Seconds after which whoever found no place may ask again.
const RETRY_AFTER: u32 = 10;

/// How a stream begins: how long a browser waits before it connects again, milliseconds.
const OPENING: &str = "retry: 3000\n\n";

/// Tells proxies of the nginx family to pass events on as they come.
const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// Whoever watches.
#[derive(Debug)]
pub(super) struct Events {
    places: Arc<Semaphore>,
    latest: watch::Sender<Bytes>,
}

impl Events {
    /// Nobody.
    pub(super) fn new() -> Self {
        Self { places: Arc::new(Semaphore::new(WATCHERS)), latest: watch::Sender::new(Bytes::new()) }
    }

    /// Whether anybody watches.
    pub(super) fn has_watchers(&self) -> bool {
        self.latest.receiver_count() > 0
    }

    /// Sends this to everybody.
    pub(super) fn send(&self, event: &str) {
        self.latest.send_replace(framed(event).into());
    }

    /// The stream for one more watcher. It ends when `shutdown` begins.
    pub(super) fn watch(&self, shutdown: Shutdown) -> Answer {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            let mut answer = answer::text(StatusCode::SERVICE_UNAVAILABLE, "all places for watchers are taken\n");
            answer.headers_mut().insert(http::header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER));
            return answer;
        };
        let (sender, mut receiver) = mpsc::channel(1);
        let mut latest = self.latest.subscribe();
        // Apart from the connection, which asks for more only when its caller has read: so a caller that reads nothing loses
        // its place all the same.
        tokio::spawn(async move {
            let _place = place;
            let mut event = Bytes::from_static(OPENING.as_bytes());
            loop {
                tokio::select! {
                    biased;
                    () = shutdown.begun() => return,
                    sent = tokio::time::timeout(PATIENCE, sender.send(event)) => if !matches!(sent, Ok(Ok(()))) { return },
                }
                tokio::select! {
                    biased;
                    () = shutdown.begun() => return,
                    () = sender.closed() => return,
                    changed = latest.changed() => if changed.is_err() { return },
                }
                event = latest.borrow_and_update().clone();
            }
        });
        let events =
            stream::poll_fn(move |context| receiver.poll_recv(context).map(|event| event.map(Ok::<_, Infallible>)));
        let mut answer = answer::with_body(StatusCode::OK, "text/event-stream", Bytes::new());
        *answer.body_mut() = Body::from_stream(events);
        answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        answer.headers_mut().insert(ACCEL_BUFFERING, HeaderValue::from_static("no"));
        answer
    }
}

/// One event named `status`. Whatever ends a line for a reader of events is one here too, so that no text can end the event
/// and begin another.
fn framed(text: &str) -> String {
    let mut framed = String::with_capacity(text.len() + 256);
    framed.push_str("event: status\n");
    for line in text.split(['\n', '\r']) {
        framed.push_str("data: ");
        framed.push_str(line);
        framed.push('\n');
    }
    framed.push('\n');
    framed
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn whoever_does_not_read_loses_the_place_and_whoever_does_keeps_it() {
        let (events, shutdown) = (Events::new(), Shutdown::new());
        let mut all: Vec<_> = (0..WATCHERS).map(|_| events.watch(shutdown.clone())).collect();
        assert_eq!(events.watch(shutdown.clone()).status(), StatusCode::SERVICE_UNAVAILABLE);
        let mut reading = all.pop().unwrap().into_body();
        for number in 0..3 {
            events.send(&format!("event {number}"));
            tokio::time::sleep(PATIENCE / 2).await;
            let read = reading.frame().await.unwrap().unwrap().into_data().unwrap();
            assert!(number > 0 || *read == *OPENING.as_bytes(), "{read:?}");
        }
        assert_eq!(events.places.available_permits(), WATCHERS - 1);
        drop(reading);
        while events.places.available_permits() < WATCHERS {
            tokio::task::yield_now().await;
        }
        assert!(!events.has_watchers());
    }

    #[test]
    fn no_text_ends_its_event_or_begins_another() {
        assert_eq!(
            framed("<p>one\n\ntwo\r\revent: evil\r\ndata: x"),
            "event: status\ndata: <p>one\ndata: \ndata: two\ndata: \ndata: event: evil\ndata: \ndata: data: x\n\n"
        );
    }
}
