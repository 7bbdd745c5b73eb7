//! What the requests, the opener and the connections of one pool share: the books ([`Slots`]) and the way to change
//! them. The lock around them is held for a few dozen instructions and never across a wait.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::NoWay;
use super::connect::{ConnectError, Target};
use super::connection::{Driver, Ended, ORDERLY, Report, SILENT, handshake};
use super::slots::{Id, Slots, Tuning};
use super::trouble::Trouble;

/// A connection that says nothing for so long while it owes an answer may be half open. Apple answers within some 100 ms; a
/// caller with less time left than this says nothing about the connection.
const SUSPECT_AFTER: Duration = Duration::from_secs(1);

/// A connection that takes requests.
struct Member {
    id: Id,
    handle: SendRequest<Bytes>,
    /// It has answered a request, whatever the answer was. Shared with the connection's task, which must hold no handle:
    /// h2 closes a connection when its last handle is gone.
    answered: Arc<AtomicBool>,
    /// Bytes received so far. Shared likewise.
    heard: Arc<AtomicU64>,
}

/// What a connection had said when a request was put on it.
pub(super) struct Silence {
    id: Id,
    heard: Arc<AtomicU64>,
    heard_then: u64,
    since: Instant,
}

/// Who waits for a stream.
struct Waiter {
    no_way: NoWay,
    answer: oneshot::Sender<Result<Lease, Trouble>>,
}

type Books = Slots<Arc<Member>, Waiter>;

pub(super) struct Shared {
    target: Target,
    tuning: Tuning,
    books: Mutex<Books>,
    closed: CancellationToken,
}

/// The right to one stream on one connection; given back when dropped. Declare it before the stream, so that the stream
/// is gone first.
pub(super) struct Lease {
    /// `None` once given back.
    member: Option<Arc<Member>>,
    shared: Arc<Shared>,
}

impl Shared {
    pub(super) fn new(target: Target, tuning: Tuning) -> Self {
        let books = Mutex::new(Slots::new(tuning.clone()));
        Self { target, tuning, books, closed: CancellationToken::new() }
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        // No caller's code runs under the lock, so a panic there would be a bug in the books; carrying on is still better
        // than a target that never sends again.
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn counts(&self) -> (usize, usize, usize) {
        self.books().counts()
    }

    pub(super) fn why_none(&self) -> Trouble {
        self.books().why_none()
    }

    /// Waits for a stream, behind those who came before; with [`NoWay::GiveUp`] no longer than until the next try at a connection
    /// has failed. Dropping the future leaves the queue.
    pub(super) async fn lease(self: &Arc<Self>, no_way: NoWay) -> Result<Lease, Trouble> {
        let (id, lease) = {
            let mut books = self.books();
            if books.is_closed() {
                return Err(Trouble::Closed);
            }
            if let Some((_, member)) = books.take() {
                return Ok(self.lease_of(member));
            }
            let (answer, receiver) = oneshot::channel();
            let id = books.wait(Waiter { no_way, answer });
            self.open_if_wanted(&mut books);
            (id, receiver)
        };
        let _place = Place { shared: self, id };
        lease.await.unwrap_or(Err(Trouble::Closed))
    }

    fn lease_of(self: &Arc<Self>, member: Arc<Member>) -> Lease {
        Lease { member: Some(member), shared: Arc::clone(self) }
    }

    /// Gives free streams to those who wait.
    fn serve(self: &Arc<Self>, books: &mut Books) {
        while books.has_waiters()
            && let Some((id, member)) = books.take()
            && let Some(waiter) = books.next_waiter()
        {
            if let Err(Ok(mut unwanted)) = waiter.answer.send(Ok(self.lease_of(member))) {
                // Its caller is leaving. Dropping the lease here would ask for the lock that we hold.
                unwanted.member = None;
                books.release(id);
            }
        }
    }

    fn open_if_wanted(self: &Arc<Self>, books: &mut Books) {
        if books.start_opening() {
            tokio::spawn(Arc::clone(self).open());
        }
    }

    /// Opens one connection, as often as it takes, for as long as anybody waits for it.
    async fn open(self: Arc<Self>) {
        // Asks for the next one when it is dropped, if callers still wait.
        let _opening = Opening(Arc::clone(&self));
        loop {
            let not_before = {
                let books = self.books();
                if !books.has_waiters() {
                    return;
                }
                books.not_before()
            };
            let attempt = async {
                if let Some(moment) = not_before {
                    sleep_until(moment).await;
                }
                self.target.connect().await
            };
            let connected = tokio::select! {
                () = self.closed.cancelled() => return,
                connected = attempt => connected,
            };
            let error = match connected {
                Ok(stream) => match handshake(stream, &self.tuning).await {
                    Ok((handle, driver)) => return self.join(handle, driver),
                    Err(error) => ConnectError { trouble: Trouble::of(&error), detail: error.to_string() },
                },
                Err(error) => error,
            };
            tracing::warn!(
                peer = self.target.address(),
                reason = error.trouble.as_str(),
                detail = error.detail,
                "cannot connect"
            );
            let disappointed = {
                let mut books = self.books();
                books.failed(error.trouble, Instant::now(), fastrand::f64());
                // Another try would not find HTTP/2 either.
                let is_hopeless = error.trouble == Trouble::NoHttp2;
                books.disappointed(|waiter| is_hopeless || waiter.no_way == NoWay::GiveUp)
            };
            for waiter in disappointed {
                // Who has left needs no answer.
                let _ = waiter.answer.send(Err(error.trouble));
            }
        }
    }

    fn join<S>(self: &Arc<Self>, handle: SendRequest<Bytes>, driver: Driver<S>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let answered = Arc::new(AtomicBool::new(false));
        let heard = Arc::new(AtomicU64::new(0));
        let member = |id| Arc::new(Member { id, handle, answered: Arc::clone(&answered), heard: Arc::clone(&heard) });
        let id = {
            let mut books = self.books();
            let Some(id) = books.opened(member) else { return };
            self.serve(&mut books);
            id
        };
        // Not under the lock: a runtime that is shutting down drops the task on the spot, and the membership in it then
        // asks for the lock itself.
        tokio::spawn(drive(driver, Membership { id, answered, heard, shared: Arc::clone(self) }));
    }

    /// A request has had no answer in time. If its connection has said nothing at all since, it may be half open: it takes no
    /// more requests, so that the next attempt does not meet the same. Whether its peer is gone, its task finds out.
    pub(super) fn had_no_answer(self: &Arc<Self>, silence: &Silence) {
        let is_silent = silence.heard.load(Ordering::Relaxed) == silence.heard_then;
        if is_silent && silence.since.elapsed() >= SUSPECT_AFTER {
            let mut books = self.books();
            books.retire(silence.id);
            self.open_if_wanted(&mut books);
        }
    }

    /// Takes nothing more and lets go of all connections: h2 says goodbye on each and ends it, and with it its task.
    pub(super) fn close(&self) {
        self.closed.cancel();
        // Both are dropped after the lock.
        let _handles_and_waiters = self.books().close();
    }
}

/// Makes sure that an opener which ends, in whatever way, is followed by another if one is needed.
struct Opening(Arc<Shared>);

impl Drop for Opening {
    fn drop(&mut self) {
        let mut books = self.0.books();
        books.stop_opening();
        if !std::thread::panicking() {
            self.0.open_if_wanted(&mut books);
        }
    }
}

async fn drive<S: AsyncRead + AsyncWrite + Unpin>(mut driver: Driver<S>, membership: Membership) {
    let ended = poll_fn(|cx| driver.poll(cx, &membership)).await;
    // All streams fail now, before their places are taken off the books.
    drop(driver);
    membership.end(&ended);
}

/// A connection's place in the books, kept by its task.
struct Membership {
    id: Id,
    answered: Arc<AtomicBool>,
    heard: Arc<AtomicU64>,
    shared: Arc<Shared>,
}

impl Membership {
    fn end(&self, ended: &Ended) {
        let was_useful = self.answered.load(Ordering::Relaxed);
        let peer = self.shared.target.address();
        let (reason, detail) = (ended.trouble.as_str(), ended.detail.as_str());
        if detail == SILENT {
            self.shared.target.forget();
        }
        let is_failure = {
            let mut books = self.shared.books();
            let is_failure = !was_useful && !books.is_closed();
            if is_failure {
                // Without this, a peer that accepts connections and drops them would be dialled in a tight loop.
                books.failed(ended.trouble, Instant::now(), fastrand::f64());
            }
            is_failure
        };
        // Not under the lock: a line may have to wait for whoever reads the log.
        // One that was closed in an orderly way may have answered a request whose caller has not looked yet.
        if is_failure && detail != ORDERLY {
            tracing::warn!(peer, reason, detail, "connection ended before it answered any request");
        } else {
            tracing::debug!(peer, reason, detail, "connection ended");
        }
    }
}

impl Report for Membership {
    fn limit(&self, streams: usize) {
        let mut books = self.shared.books();
        books.set_limit(self.id, streams);
        self.shared.serve(&mut books);
    }

    fn in_use(&self) -> usize {
        self.shared.books().in_use(self.id)
    }

    fn heard(&self, bytes: u64) {
        self.heard.store(bytes, Ordering::Relaxed);
    }

    fn suspect(&self, suspect: bool) {
        let mut books = self.shared.books();
        books.suspect(self.id, suspect);
        if suspect {
            self.shared.open_if_wanted(&mut books);
        } else {
            self.shared.serve(&mut books);
        }
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        let mut books = self.shared.books();
        books.ended(self.id);
        if !std::thread::panicking() {
            self.shared.open_if_wanted(&mut books);
        }
    }
}

/// A place in the queue of callers; given up when dropped.
struct Place<'a> {
    shared: &'a Shared,
    id: Id,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.shared.books().give_up(self.id);
    }
}

impl Lease {
    fn member(&self) -> &Member {
        self.member.as_ref().expect("a lease has its member until it is dropped")
    }

    /// A handle of one's own.
    pub(super) fn handle(&self) -> SendRequest<Bytes> {
        self.member().handle.clone()
    }

    /// The connection has answered a request.
    pub(super) fn answered(&self) {
        let answered = &self.member().answered;
        if !answered.load(Ordering::Relaxed) && !answered.swap(true, Ordering::Relaxed) {
            self.shared.books().succeeded();
        }
    }

    /// Now, to be compared with later.
    pub(super) fn silence(&self) -> Silence {
        let Member { id, heard, .. } = self.member();
        Silence { id: *id, heard: Arc::clone(heard), heard_then: heard.load(Ordering::Relaxed), since: Instant::now() }
    }

    /// The connection takes no more requests; those that run on it go on.
    pub(super) fn retire(&self) {
        let mut books = self.shared.books();
        books.retire(self.member().id);
        self.shared.open_if_wanted(&mut books);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(member) = self.member.take() {
            let mut books = self.shared.books();
            books.release(member.id);
            self.shared.serve(&mut books);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::sender::network::{NetworkSettings, ProxySettings};

    /// Far beyond what this takes; reaching it is a failure.
    const LONG: Duration = Duration::from_secs(30);

    fn target() -> Target {
        let network = NetworkSettings {
            endpoint: None,
            extra_authorities: vec![rcgen::generate_simple_self_signed(["x".to_owned()]).unwrap().cert.der().clone()],
            proxy: ProxySettings::Direct,
            connections: 1,
            connect_timeout: LONG,
        };
        let endpoint = "https://127.0.0.1:1".parse().unwrap();
        Target::new(&endpoint, None, network.tls_config(None).unwrap(), LONG).unwrap()
    }

    #[test]
    fn a_connection_that_comes_while_the_runtime_shuts_down_does_not_block_it() {
        struct Late(Arc<Shared>, Option<(SendRequest<Bytes>, Driver<tokio::io::DuplexStream>)>);
        impl Drop for Late {
            fn drop(&mut self) {
                let (handle, driver) = self.1.take().unwrap();
                self.0.join(handle, driver);
            }
        }
        let (tell, ended) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let tuning = Tuning::with_connections(1);
                let shared = Arc::new(Shared::new(target(), tuning.clone()));
                let (near, _far) = tokio::io::duplex(1_024);
                let late = Late(shared, Some(handshake(near, &tuning).await.unwrap()));
                tokio::spawn(async move {
                    let _late = late;
                    std::future::pending::<()>().await;
                });
            });
            drop(runtime);
            tell.send(()).unwrap();
        });
        ended.recv_timeout(LONG).expect("the runtime has shut down");
    }
}
