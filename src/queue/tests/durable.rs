//! What survives.

use super::*;

#[tokio::test]
async fn what_was_enqueued_is_leased_with_everything_it_had() {
    let case = Case::open();
    assert_eq!(case.put(&message("a")).await, Enqueued::Stored { superseded: Vec::new() });
    assert_eq!(case.waiting(), 1);
    let lease = case.lease().await;
    let [entry] = &lease.entries[..] else { panic!("{lease:?}") };
    assert_eq!((entry.attempts, entry.accepted_at, entry.expires_at), (1, at(0), at(3_600)));
    assert_eq!(entry.notification.content.mattermost().message.expose(), "canary-text");
    assert_eq!(case.queue.settle(entry.id, Settlement::Done).await, Ok(Settled::Written));
    assert_eq!(case.waiting(), 0);
    assert_eq!(case.queue.settle(entry.id, Settlement::Done).await, Ok(Settled::Gone));
}
