//! What waits too long, or is made needless, wakes no phone.

use std::time::Duration;

use pushrelay::simulator::{Fault, Provider};

use crate::stand::{LONG_PAUSE, Stand, outage};
use crate::support::Push;
use crate::support::push::apple_token;

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// A stand in an outage, with a breaker that is open: whatever is posted waits.
async fn in_an_outage() -> Stand {
    let stand = Stand::with(LONG_PAUSE).await;
    for fault in outage() {
        stand.fault(fault);
    }
    for push in [Push::apple(&apple_token(0xfff)), Push::android("android-first")] {
        // Of no use to the test: gone with its first lease.
        let push = push.with("type", "message").with("sub_type", "calls");
        stand.pass_until(stand.post(&push)).await.expect_ok();
    }
    stand
}

fn call(token: &str) -> Push {
    Push::apple(token).with("sub_type", "calls").with("transport", "voip")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_waited_for_thirty_seconds_is_not_sent_and_a_message_is() {
    let stand = in_an_outage().await;
    let old = call(&apple_token(2));
    stand.pass_until(stand.post(&old)).await.expect_ok();
    let message = Push::apple(&apple_token(3));
    stand.pass_until(stand.post(&message)).await.expect_ok();
    stand.clock.advance(seconds(30));
    stand.mend();
    stand.pass_until_nothing_waits().await;
    let arrived = stand.arrived();
    assert!(!arrived.contains_key(old.text("ack_id")), "nobody waits for this call any more");
    assert!(arrived.contains_key(message.text("ack_id")));
    // With the one that opened the breaker.
    stand.wait_for_metric(r#"pushrelay_queue_settled_total{outcome="expired",target="apple_rn"}"#, 2.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_tried_in_vain_until_its_time_was_over_says_how_often_and_why() {
    let stand = Stand::with("[breaker]\nfailures = 0\n[delivery]\nmax_attempts = 1\n").await;
    stand.fault(Fault::answer(503, "ServiceUnavailable").on(Provider::Apns));
    let push = Push::apple(&apple_token(1));
    stand.pass_until(stand.post(&push)).await.expect_ok();
    // Or its lease would be over while it is tried, and it would end twice.
    stand.wait_until_nothing_is_leased().await;
    stand.clock.advance(seconds(5 * 60 * 60));
    stand.pass_until_nothing_waits().await;
    let journal = stand.folder.path().join("data/journal");
    let expired = async {
        loop {
            let lines = pushrelay::journal::read(&journal, push.text("ack_id")).unwrap_or_default();
            if let Some(line) = lines.into_iter().find(|line| line.event == "expired") {
                return line;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let line = stand.pass_until(expired).await;
    assert!(line.attempts >= Some(1), "{line:?}");
    assert_eq!(line.reason.as_deref(), Some("ServiceUnavailable"));
    // The same for those that are over while they wait and while they are tried.
    let failed = r#"service_failure_with_reason_total{platform="apple",reason="expired",transport="",type="message"}"#;
    stand.wait_for_metric(failed, 1.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_badge_takes_the_place_of_one_that_waits() {
    let stand = in_an_outage().await;
    let badge =
        |number: u32, phone| Push::apple(&apple_token(phone)).with("type", "update_badge").with("badge", number);
    for push in [badge(4, 1), badge(5, 2), badge(6, 1)] {
        stand.pass_until(stand.post(&push)).await.expect_ok();
    }
    stand.mend();
    stand.pass_until_nothing_waits().await;
    let badges = |phone| -> Vec<_> {
        let pushes = stand.simulator.ledger().accepted_for(&apple_token(phone));
        pushes.iter().map(|push| push.payload()["aps"]["badge"].clone()).collect()
    };
    assert_eq!((badges(1), badges(2)), (vec![6.into()], vec![5.into()]));
    stand.wait_for_metric(r#"pushrelay_queue_settled_total{outcome="superseded",target="apple_rn"}"#, 1.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_read_elsewhere_is_taken_out_of_the_queue_and_its_neighbours_are_not() {
    let stand = in_an_outage().await;
    let message = |channel: &str, thread: &str, phone| {
        let push = Push::apple(&apple_token(phone)).with("channel_id", channel).with("is_crt_enabled", true);
        push.with("root_id", thread).with("message", format!("{channel} {thread}"))
    };
    let waiting = [
        message("c", "", 1),
        message("c", "thread", 1),
        message("c", "other", 1),
        message("d", "", 1),
        message("c", "", 2),
    ];
    for push in &waiting {
        stand.pass_until(stand.post(push)).await.expect_ok();
    }
    let clear = |thread: &str| message("c", thread, 1).with("type", "clear").with("message", "");
    // One while the outage lasts, and one that is sent at once, when it is over and the others still wait for their probe.
    stand.pass_until(stand.post(&clear("thread"))).await.expect_ok();
    stand.pass_until(stand.post(&clear(""))).await.expect_ok();
    stand.mend();
    stand.pass_until_nothing_waits().await;
    let arrived = stand.arrived();
    let came: Vec<_> = waiting.iter().map(|push| arrived.contains_key(push.text("ack_id"))).collect();
    assert_eq!(came, [false, false, true, true, true]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_provider_is_told_how_much_time_is_left_and_not_how_much_there_was() {
    let stand = Stand::with(LONG_PAUSE).await;
    for fault in outage() {
        stand.fault(fault);
    }
    let accepted_at = stand.clock.unix_seconds();
    stand.pass_until(stand.post(&Push::apple(&apple_token(1)))).await.expect_ok();
    stand.pass_until(stand.post(&Push::android("android-1"))).await.expect_ok();
    stand.clock.advance(seconds(3_600));
    stand.mend();
    stand.pass_until_arrived(2).await;
    let late = stand.clock.unix_seconds() - accepted_at;
    for push in stand.simulator.ledger().accepted() {
        match push.provider {
            Provider::Apns => {
                let until: u64 = push.header("apns-expiration").unwrap().parse().unwrap();
                let end = accepted_at + 4 * 3_600;
                assert!((end..=end + 30).contains(&until), "four hours from when the chat server asked, not {until}");
            }
            Provider::Fcm | Provider::OAuth => {
                let payload = push.payload();
                let ttl = payload["message"]["android"]["ttl"].as_str().unwrap().trim_end_matches('s').to_owned();
                let ttl: f64 = ttl.parse().unwrap();
                let left = 4 * 3_600 - late;
                assert!((left as f64..=left as f64 + 60.0).contains(&ttl), "{ttl} s of {left}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_whose_provider_asks_to_wait_longer_than_it_is_worth_is_tried_once_more_before_its_end() {
    let stand = Stand::with("[breaker]\nfailures = 0").await;
    let asked = Fault::new(pushrelay::simulator::Action::Answer(pushrelay::simulator::Refuse {
        status: 503,
        reason: "ServiceUnavailable".into(),
        retry_after: Some("45".into()),
        body: None,
    }));
    stand.fault(asked.on(Provider::Apns).times(1));
    let accepted_at = stand.now_ms();
    stand.post(&call(&apple_token(1))).await.expect_ok();
    assert_eq!(stand.simulator.ledger().counts().refused, 1, "asked once");
    let arrived = stand.simulator.ledger().wait_until(|counts| counts.accepted == 1);
    stand.pass_by(Duration::from_millis(10), arrived).await;
    let late = stand.simulator.ledger().accepted()[0].at_ms - accepted_at;
    assert!((24_000..30_000).contains(&late), "{late} ms");
}
