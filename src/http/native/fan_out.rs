//! One message to many devices, a bounded number at a time.
//!
//! Fairness between servers follows from two bounds and one queue. A request has at most [`PER_REQUEST`] deliveries under
//! way and a server at most [`PER_SERVER`], however many requests it makes. All of them together take turns for
//! [`ALL_LANES`] in the order in which they asked, and each delivery asks anew: until four servers send as much as they
//! may, nobody waits, and beyond that a server waits for at most [`PER_SERVER`] deliveries of each other one.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout_at};

use crate::message::Message;
use crate::notification::{DeviceToken, Notification, ServerId, TargetName};
use crate::outcome::{Outcome, Reason, Report};

/// Deliveries of one request at once: enough to hide a provider's 50 ms, so that 500 devices take about a second.
const PER_REQUEST: usize = 32;

/// Deliveries of one server at once.
const PER_SERVER: usize = 256;

/// Deliveries of this route at once. Each holds a payload of at most 5 KiB and about as much for the way there: 10 MiB.
const ALL_LANES: usize = 1_024;

/// A delivery that has less time left than this is not begun: it would hardly arrive, and nobody would know.
const LEAST_TIME: Duration = Duration::from_secs(1);

/// There was no time left.
const DEADLINE: Reason = "deadline";

/// What is sent, who sends it and where to.
pub(super) struct Addressed {
    pub(super) message: Arc<Message>,
    pub(super) server: ServerId,
    pub(super) target: TargetName,
}

/// The places for deliveries.
pub(super) struct Lanes {
    /// First come, first served.
    all: Semaphore,
    /// Of the servers that have a request now, so there are no more of them than requests.
    servers: Mutex<HashMap<ServerId, Arc<Own>>>,
}

/// What one server has.
struct Own {
    deliveries: Semaphore,
    requests: Semaphore,
}

impl Default for Lanes {
    fn default() -> Self {
        Self { all: Semaphore::new(ALL_LANES), servers: Mutex::default() }
    }
}

impl Lanes {
    /// Those of one server, for one of its requests.
    pub(super) fn of(&self, server: &ServerId) -> ServerLanes<'_> {
        let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        let own = servers.entry(server.clone()).or_insert_with(|| {
            Arc::new(Own {
                deliveries: Semaphore::new(PER_SERVER),
                requests: Semaphore::new(super::MAX_REQUESTS_PER_SERVER),
            })
        });
        ServerLanes { lanes: self, server: server.clone(), own: Arc::clone(own) }
    }
}

impl fmt::Debug for Lanes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lanes").field("free", &self.all.available_permits()).finish_non_exhaustive()
    }
}

/// One server's share of the lanes, while it has a request.
pub(super) struct ServerLanes<'a> {
    lanes: &'a Lanes,
    server: ServerId,
    own: Arc<Own>,
}

impl ServerLanes<'_> {
    /// A place for one more request of this server; `None` if it has too many.
    pub(super) fn request(&self) -> Option<SemaphorePermit<'_>> {
        self.own.requests.try_acquire().ok()
    }

    /// Waits for a lane, to be held while a delivery is under way. The server's own bound comes first, so that no more than
    /// that many of its deliveries stand in the common queue.
    async fn take(&self) -> (SemaphorePermit<'_>, SemaphorePermit<'_>) {
        const OPEN: &str = "these semaphores are never closed";
        let own = self.own.deliveries.acquire().await.expect(OPEN);
        (own, self.lanes.all.acquire().await.expect(OPEN))
    }
}

impl Drop for ServerLanes<'_> {
    fn drop(&mut self) {
        let mut servers = self.lanes.servers.lock().unwrap_or_else(PoisonError::into_inner);
        // One in the map, and one here: others are only made under this lock.
        if Arc::strong_count(&self.own) == 2 {
            servers.remove(&self.server);
        }
    }
}

/// Delivers to each device and reports in their order. What is not begun by the deadline has failed; what is begun keeps to the
/// time that it is told, and after that waits for the disk at most. Runs on the request's task and spawns nothing.
pub(super) async fn deliver_all<D, F>(
    addressed: &Addressed,
    devices: Vec<DeviceToken>,
    lanes: &ServerLanes<'_>,
    deadline: Instant,
    deliver: D,
) -> Vec<Report>
where
    D: Fn(Notification, Duration) -> F,
    F: Future<Output = Report>,
{
    let mut reports: Vec<Option<Report>> = devices.iter().map(|_| None).collect();
    let deliver = &deliver;
    let deliveries = devices
        .into_iter()
        .enumerate()
        .map(|(place, device)| async move { (place, deliver_one(addressed, device, lanes, deadline, deliver).await) });
    let mut ended = stream::iter(deliveries).buffer_unordered(PER_REQUEST);
    while let Some((place, report)) = ended.next().await {
        reports[place] = Some(report);
    }
    reports.into_iter().map(|report| report.expect("the stream ends when each device has a report")).collect()
}

async fn deliver_one<D, F>(
    addressed: &Addressed,
    device: DeviceToken,
    lanes: &ServerLanes<'_>,
    deadline: Instant,
    deliver: &D,
) -> Report
where
    D: Fn(Notification, Duration) -> F,
    F: Future<Output = Report>,
{
    let Ok(_lane) = timeout_at(deadline, lanes.take()).await else { return never_begun() };
    let left = deadline.saturating_duration_since(Instant::now());
    if left < LEAST_TIME {
        return never_begun();
    }
    let Addressed { message, server, target } = addressed;
    let delivery = deliver(Notification::of_message(message, server, target, device), left);
    // Not cut off: it may have woken its phone, and must be logged and remembered. Each of its waits has a bound of its own.
    delivery.await
}

fn never_begun() -> Report {
    too_late("the request's time was over before this device's turn came: send it again")
}

fn too_late(text: &'static str) -> Report {
    Report { outcome: Outcome::Failed { text: text.into() }, reason: Some(DEADLINE), may_be_repeated: true }
}

#[cfg(test)]
mod tests;
