//! Late verdicts: remembered, told once, bounded.

use super::*;

impl Case {
    async fn find_dead(&self, notification: &Notification) {
        self.put(notification).await;
        let id = self.lease().await.entries[0].id;
        self.queue.settle(id, Settlement::Dead { reason: "Unregistered", others: false }).await.unwrap();
    }

    fn take(&self, notification: &Notification) -> Option<Reason> {
        self.queue.take_dead(&notification.server_id, &notification.target, &notification.device)
    }
}

fn to(device: &str) -> Notification {
    Notification { device: DeviceToken::new(device).unwrap(), ..message("a") }
}

#[tokio::test]
async fn a_late_verdict_is_told_once_to_its_server_about_its_device() {
    let case = Case::open();
    case.find_dead(&to("dead")).await;
    assert_eq!((case.waiting(), case.queue.stats().late_verdicts), (0, 1));
    assert_eq!(case.take(&to("alive")), None);
    assert_eq!(case.take(&Notification { server_id: ServerId::new("other").unwrap(), ..to("dead") }), None);
    assert_eq!(case.take(&Notification { target: TargetName::new("other"), ..to("dead") }), None);
    assert_eq!(case.take(&to("dead")), Some("Unregistered"));
    assert_eq!(case.take(&to("dead")), None);
    let case = case.reopen().await;
    assert_eq!(case.take(&to("dead")), None);
}

#[tokio::test]
async fn a_late_verdict_outlives_a_restart() {
    let case = Case::open();
    case.find_dead(&to("dead")).await;
    let case = case.reopen().await;
    assert_eq!(case.take(&to("dead")), Some("Unregistered"));
}

#[tokio::test]
async fn beyond_the_bound_the_oldest_late_verdict_is_forgotten() {
    let case = Case::limited(|limits| limits.max_late_verdicts = 2);
    for device in ["1", "2", "3"] {
        case.find_dead(&to(device)).await;
        case.clock.advance(Duration::from_secs(1));
    }
    assert_eq!(case.queue.stats().late_verdicts, 2);
    assert_eq!([case.take(&to("1")), case.take(&to("3"))], [None, Some("Unregistered")]);
}

#[tokio::test]
async fn a_late_verdict_that_nobody_asked_for_is_forgotten_after_thirty_days() {
    let case = Case::open();
    case.find_dead(&to("dead")).await;
    case.clock.advance(Duration::from_secs(30 * 24 * 60 * 60));
    // The sweep is behind a group of commands: the second lease finds that of the first one done.
    case.lease().await;
    case.lease().await;
    assert_eq!(case.take(&to("dead")), None);
    assert_eq!(case.file().query_row("SELECT count(*) FROM late_verdicts", [], |row| row.get::<_, i64>(0)), Ok(0));
}

#[tokio::test]
async fn the_buried_are_kept_for_a_week_and_the_latest_only() {
    let case = Case::limited(|limits| limits.max_buried = 2);
    for id in ["1", "2", "3"] {
        case.put(&message(id)).await;
        let lease = case.lease().await;
        case.queue.settle(lease.entries[0].id, Settlement::Bury { reason: "BadTopic" }).await.unwrap();
        case.clock.advance(Duration::from_secs(1));
    }
    assert_eq!(case.buried(), 2);
    let oldest = case.file().query_row("SELECT min(ack_id) FROM entries", [], |row| row.get::<_, String>(0));
    assert_eq!(oldest.unwrap(), "2");
    case.clock.advance(Duration::from_secs(7 * 24 * 60 * 60 - 2));
    case.lease().await;
    case.lease().await;
    assert_eq!(case.buried(), 1, "the third was buried a second later");
}

#[tokio::test]
async fn a_late_verdict_is_forgotten_when_a_later_notification_to_the_device_arrives() {
    let case = Case::open();
    case.find_dead(&to("alive after all")).await;
    case.put(&Notification { ack_id: "b".into(), ..to("alive after all") }).await;
    let id = case.lease().await.entries[0].id;
    case.queue.settle(id, Settlement::Delivered).await.unwrap();
    assert_eq!(case.take(&to("alive after all")), None);
    assert_eq!(case.reopen().await.take(&to("alive after all")), None);
}

#[tokio::test]
async fn what_else_waits_for_a_dead_token_goes_with_it() {
    let case = Case::open();
    for (ack_id, device) in [("a", "dead"), ("b", "dead"), ("c", "alive")] {
        case.put(&Notification { ack_id: ack_id.into(), ..to(device) }).await;
    }
    let until = case.clock.unix() + Duration::from_secs(60);
    let id = case.queue.lease(&target(), 1, until).await.unwrap().entries[0].id;
    let settled = case.queue.settle(id, Settlement::Dead { reason: "Unregistered", others: true }).await.unwrap();
    let Settled::WithOthers(gone) = settled else { panic!("{settled:?}") };
    assert_eq!(gone.iter().map(|one| &one.ack_id[..]).collect::<Vec<_>>(), ["b"]);
    assert_eq!(case.leased().await, ["c"]);
}
