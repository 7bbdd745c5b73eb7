//! The machine's clock is set while notifications wait.

use std::time::Duration;

use crate::stand::{LONG_PAUSE, Stand, outage};
use crate::support::Push;
use crate::support::push::apple_token;

const HOUR: i64 = 3_600;

/// What waits for its back-off at the most: what waits no longer was not held up by the clock.
const BACK_OFF: Duration = Duration::from_mins(11);

/// A call and a message that wait, and when that was.
struct Waiting {
    stand: Stand,
    call: Push,
    message: Push,
}

impl Waiting {
    /// With the clock this far from the right time.
    async fn in_an_outage(off_by: i64) -> Self {
        let stand = Stand::with_wrong_clock(LONG_PAUSE, off_by).await;
        for fault in outage() {
            stand.fault(fault);
        }
        let call = Push::apple(&apple_token(1)).with("sub_type", "calls").with("transport", "voip");
        // The first one is tried and has a time to be tried again at; those behind it wait for the breaker.
        let message = Push::apple(&apple_token(2));
        stand.pass_until(stand.post(&message)).await.expect_ok();
        stand.pass_until(stand.post(&call)).await.expect_ok();
        Self { stand, call, message }
    }

    /// Ends the outage a minute later. The call is stale by then, whatever the clock says.
    async fn ends(self) {
        let Self { stand, call, message } = self;
        stand.clock.advance(Duration::from_mins(1));
        stand.mend();
        let began = stand.clock.now();
        stand.pass_until_nothing_waits().await;
        assert!(stand.clock.now() - began < BACK_OFF, "held up for {:?}", stand.clock.now() - began);
        let arrived = stand.arrived();
        assert!(!arrived.contains_key(call.text("ack_id")), "a call that is over has woken a phone");
        assert_eq!(arrived.get(message.text("ack_id")), Some(&1), "the message is lost");
        stand.wait_for_metric(r#"pushrelay_queue_settled_total{outcome="expired",target="apple_rn"}"#, 1.0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_set_back_an_hour_holds_nothing_up_and_keeps_no_call_alive() {
    let waiting = Waiting::in_an_outage(0).await;
    waiting.stand.clock.set_wall(-HOUR);
    waiting.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_set_forward_an_hour_costs_no_message() {
    let waiting = Waiting::in_an_outage(0).await;
    waiting.stand.clock.set_wall(HOUR);
    waiting.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_wrong_for_a_while_costs_no_message() {
    let waiting = Waiting::in_an_outage(0).await;
    waiting.stand.clock.set_wall(HOUR);
    let between = Push::apple(&apple_token(3));
    waiting.stand.pass_until(waiting.stand.post(&between)).await.expect_ok();
    waiting.stand.clock.set_wall(-HOUR);
    let stand = &waiting.stand;
    stand.clock.advance(Duration::from_secs(10));
    stand.pass_until(stand.post(&Push::apple(&apple_token(4)))).await.expect_ok();
    assert_eq!(stand.simulator.ledger().counts().accepted, 0);
    waiting.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_set_back_over_a_restart_ends_nothing_that_has_time_left() {
    for set_by in [-2, -HOUR] {
        // Not the call: how much of its half minute is left depends on the machine. The queue's own tests turn the clock by hand.
        let Waiting { mut stand, message, .. } = Waiting::in_an_outage(0).await;
        stand.stop().await;
        stand.clock.set_wall(set_by);
        stand.start_again().await;
        stand.mend();
        stand.pass_until_nothing_waits().await;
        assert_eq!(stand.arrived().get(message.text("ack_id")), Some(&1), "set by {set_by} s");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_was_wrong_before_a_restart_holds_nothing_up_and_keeps_no_call_alive() {
    for off_by in [HOUR, -HOUR] {
        let mut waiting = Waiting::in_an_outage(off_by).await;
        waiting.stand.stop().await;
        waiting.stand.clock.set_wall(-off_by);
        waiting.stand.start_again().await;
        waiting.ends().await;
    }
}
