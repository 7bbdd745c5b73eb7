//! Order, bounds and time, on paused time: a delivery that takes a second takes no second of the test.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::time::sleep;

use super::*;
use crate::message::tests::alert;

const SECOND: Duration = Duration::from_secs(1);

fn addressed(server: &str) -> Addressed {
    Addressed {
        message: Arc::new(alert()),
        server: ServerId::new(server).unwrap(),
        target: TargetName::new("apple_rn"),
    }
}

fn devices(count: usize) -> Vec<DeviceToken> {
    (0..count).map(|index| DeviceToken::new(index.to_string()).unwrap()).collect()
}

fn number(notification: &Notification) -> u64 {
    notification.device.expose().parse().unwrap()
}

fn delivered() -> Report {
    Report { outcome: Outcome::Delivered, reason: None, may_be_repeated: false }
}

fn removed() -> Report {
    Report { outcome: Outcome::Remove, reason: Some("Unregistered"), may_be_repeated: false }
}

/// How many run at once, and the most that ever did.
#[derive(Default)]
struct Running {
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Running {
    async fn during(&self, work: impl Future<Output = ()>) {
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        work.await;
        self.now.fetch_sub(1, Ordering::SeqCst);
    }

    fn most(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }
}

#[tokio::test(start_paused = true)]
async fn reports_stand_in_the_order_of_the_devices_however_long_each_takes() {
    let lanes = Lanes::default();
    let (addressed, deadline) = (addressed("a"), Instant::now() + 100 * SECOND);
    let reports = deliver_all(&addressed, devices(200), &lanes.of(&addressed.server), deadline, |notification, _| {
        let number = number(&notification);
        async move {
            sleep(Duration::from_millis(number * 37 % 100)).await;
            if number.is_multiple_of(3) { removed() } else { delivered() }
        }
    })
    .await;
    for (number, report) in reports.iter().enumerate() {
        assert_eq!(*report, if number.is_multiple_of(3) { removed() } else { delivered() }, "{number}");
    }
    assert_eq!(reports.len(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_request_has_so_many_deliveries_under_way_and_no_more() {
    let (lanes, running, began) = (Lanes::default(), Running::default(), Instant::now());
    let (addressed, deadline) = (addressed("a"), Instant::now() + 100 * SECOND);
    deliver_all(&addressed, devices(PER_REQUEST * 3), &lanes.of(&addressed.server), deadline, |_, _| async {
        running.during(sleep(SECOND)).await;
        delivered()
    })
    .await;
    assert_eq!((running.most(), began.elapsed().as_secs()), (PER_REQUEST, 3));
}

#[tokio::test(start_paused = true)]
async fn a_server_has_so_many_deliveries_under_way_however_many_requests_it_makes() {
    let (lanes, running) = (Lanes::default(), Running::default());
    let (addressed, deadline) = (addressed("a"), Instant::now() + 1_000 * SECOND);
    let requests = (0..PER_SERVER / PER_REQUEST * 2).map(async |_| {
        deliver_all(&addressed, devices(100), &lanes.of(&addressed.server), deadline, |_, _| async {
            running.during(sleep(SECOND)).await;
            delivered()
        })
        .await
    });
    futures_util::future::join_all(requests).await;
    assert_eq!(running.most(), PER_SERVER);
    assert!(lanes.servers.lock().unwrap().is_empty(), "a server without a request is forgotten");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_sends_as_much_as_it_may_does_not_slow_another() {
    let lanes = Lanes::default();
    let deadline = Instant::now() + 1_000 * SECOND;
    let slow = |_: Notification, _: Duration| async {
        sleep(SECOND).await;
        delivered()
    };
    let greedy = addressed("greedy");
    let flood =
        (0..40).map(async |_| deliver_all(&greedy, devices(500), &lanes.of(&greedy.server), deadline, slow).await);
    let flood = futures_util::future::join_all(flood);
    let modest = async {
        sleep(SECOND / 2).await;
        let (began, addressed) = (Instant::now(), addressed("modest"));
        deliver_all(&addressed, devices(PER_REQUEST), &lanes.of(&addressed.server), deadline, slow).await;
        began.elapsed()
    };
    let (_, took) = futures_util::join!(flood, modest);
    assert_eq!(took.as_secs(), 1);
}

#[tokio::test(start_paused = true)]
async fn however_many_servers_send_the_common_bound_holds_and_each_gets_its_turn() {
    let (lanes, running) = (Lanes::default(), Running::default());
    let deadline = Instant::now() + 1_000 * SECOND;
    let servers: Vec<_> = (0..8).map(|number| addressed(&number.to_string())).collect();
    let requests = servers.iter().flat_map(|addressed| std::iter::repeat_n(addressed, 10)).map(async |addressed| {
        deliver_all(addressed, devices(100), &lanes.of(&addressed.server), deadline, |_, _| async {
            running.during(sleep(SECOND)).await;
            delivered()
        })
        .await
    });
    let late = async {
        sleep(SECOND / 2).await;
        let (began, addressed) = (Instant::now(), addressed("late"));
        let quick = |_: Notification, _: Duration| std::future::ready(delivered());
        deliver_all(&addressed, devices(1), &lanes.of(&addressed.server), deadline, quick).await;
        began.elapsed()
    };
    let (_, waited) = futures_util::join!(futures_util::future::join_all(requests), late);
    assert_eq!(running.most(), ALL_LANES);
    // Eight servers with 256 deliveries each are 2,048: half of them run, and the latecomer is next after the other half.
    assert!(waited <= 2 * SECOND, "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_not_begun_by_the_deadline_has_failed_and_what_is_begun_is_never_cut_off() {
    let (lanes, began) = (Lanes::default(), Instant::now());
    let (addressed, deadline) = (addressed("a"), Instant::now() + 10 * SECOND);
    // The first 32 are answered after 6 s, the next after 12 s, since the disk holds them up, and the last have no turn.
    let reports = deliver_all(&addressed, devices(100), &lanes.of(&addressed.server), deadline, |_, _| async {
        sleep(6 * SECOND).await;
        delivered()
    })
    .await;
    assert_eq!(began.elapsed(), 12 * SECOND);
    let count = |wanted: &Report| reports.iter().filter(|report| *report == wanted).count();
    assert_eq!((count(&delivered()), count(&never_begun())), (64, 36));
    assert_eq!((never_begun().reason, never_begun().may_be_repeated), (Some("deadline"), true));
}

#[tokio::test(start_paused = true)]
async fn each_delivery_is_told_how_much_time_is_left_and_what_it_says_within_it_counts() {
    let lanes = Lanes::default();
    let (addressed, deadline) = (addressed("a"), Instant::now() + 10 * SECOND);
    let timed_out = || Report { reason: Some("timeout"), ..never_begun() };
    let reports =
        deliver_all(&addressed, devices(PER_REQUEST * 2), &lanes.of(&addressed.server), deadline, |n, left| {
            let is_first = number(&n) < PER_REQUEST as u64;
            assert_eq!(left, if is_first { 10 * SECOND } else { 6 * SECOND });
            async move {
                sleep(if is_first { 4 * SECOND } else { left }).await;
                if is_first { delivered() } else { timed_out() }
            }
        })
        .await;
    assert_eq!(reports[0], delivered());
    assert_eq!(reports[PER_REQUEST], timed_out());
}

#[tokio::test(start_paused = true)]
async fn nothing_is_begun_that_has_hardly_any_time() {
    let lanes = Lanes::default();
    let (addressed, deadline) = (addressed("a"), Instant::now() + SECOND / 2);
    let reports = deliver_all(&addressed, devices(3), &lanes.of(&addressed.server), deadline, |_, _| async {
        panic!("there is no time for it")
    })
    .await;
    assert_eq!(reports, [never_begun(), never_begun(), never_begun()]);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_dropped_gives_its_lanes_back() {
    let lanes = Lanes::default();
    let (addressed, deadline) = (addressed("a"), Instant::now() + 10 * SECOND);
    {
        let own = lanes.of(&addressed.server);
        let all = deliver_all(&addressed, devices(100), &own, deadline, |_, _| std::future::pending());
        assert!(futures_util::poll!(Box::pin(all)).is_pending());
    }
    assert_eq!(lanes.all.available_permits(), ALL_LANES);
    assert!(lanes.servers.lock().unwrap().is_empty());
}
