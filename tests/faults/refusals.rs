//! What providers say when they are in trouble or the relay is: when to come back, with what credentials, how fast.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::future::{FutureExt, join_all};
use pushrelay::simulator::{Action, Fault, Provider, Refuse};

use crate::stand::{Stand, outage};
use crate::support::push::apple_token;
use crate::support::{Answer, Plan, Push};

fn retry_after(status: u16, reason: &str, seconds: u32) -> Fault {
    let retry_after = Some(seconds.to_string());
    Fault::new(Action::Answer(Refuse { status, reason: reason.into(), retry_after, body: None }))
}

async fn post_all(stand: &Stand, pushes: &[Push]) {
    let answers = stand.pass_until(join_all(pushes.iter().map(|push| stand.post(push)))).await;
    answers.iter().for_each(Answer::expect_ok);
}

/// When each phone's push was refused or accepted, milliseconds on the relay's clock, in order.
fn asked(stand: &Stand) -> HashMap<String, Vec<u64>> {
    let ledger = stand.simulator.ledger();
    let refused = ledger.refused().into_iter().map(|one| (one.number, one.device_token.clone(), one.at_ms));
    let accepted = ledger.accepted().into_iter().map(|one| (one.number, one.device_token.clone(), one.at_ms));
    let mut all: Vec<_> = refused.chain(accepted).collect();
    all.sort_unstable();
    let mut asked = HashMap::<_, Vec<_>>::new();
    for (_, phone, at) in all {
        asked.entry(phone).or_default().push(at);
    }
    asked
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_after_is_never_shortened_neither_by_the_first_attempts_nor_from_the_queue() {
    // Without a breaker, so that each push has its own back-off.
    let stand = Stand::with("[breaker]\nfailures = 0").await;
    let pushes: Vec<_> = (0..20).map(|phone| Push::apple(&apple_token(phone))).collect();
    let apns = |seconds| retry_after(503, "ServiceUnavailable", seconds).on(Provider::Apns);
    stand.fault(apns(90).times(20));
    stand.fault(apns(200).times(20));
    post_all(&stand, &pushes).await;
    stand.pass_until_arrived(20).await;
    let asked = asked(&stand);
    assert_eq!(asked.len(), 20);
    for times in asked.values() {
        let [first, second, third] = times[..] else { panic!("asked at {times:?}") };
        assert!(second - first >= 90_000 && third - second >= 200_000, "asked at {times:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_in_trouble_is_left_alone_for_as_long_as_its_provider_asks() {
    let stand = Stand::usual().await;
    stand.fault(retry_after(503, "UNAVAILABLE", 120).on(Provider::Fcm).times(10));
    let pushes: Vec<_> = (0..60).map(|phone| Push::android(&format!("android-{phone}"))).collect();
    for some in pushes.chunks(10) {
        post_all(&stand, some).await;
    }
    stand.pass_until_arrived(60).await;
    let last_refusal = stand.simulator.ledger().refused().iter().map(|one| one.at_ms).max().unwrap();
    let first = stand.simulator.ledger().accepted().iter().map(|one| one.at_ms).min().unwrap();
    assert!(first - last_refusal >= 120_000, "asked {} ms later", first - last_refusal);
    assert_eq!(stand.simulator.ledger().counts().refused, 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_token_that_expires_under_load_is_replaced_once_and_no_push_is_lost() {
    let stand = Stand::planned(Plan {
        // Apple's own rule: who makes tokens faster than every 20 minutes is told so.
        simulator: Some(Box::new(|settings| settings.provider_token_interval = Duration::from_mins(20))),
        ..Plan::default()
    })
    .await;
    post_all(&stand, &[Push::apple(&apple_token(0))]).await;
    stand.clock.advance(Duration::from_mins(30));
    stand.fault(Fault::answer(403, "ExpiredProviderToken").on(Provider::Apns).times(40));
    let pushes: Vec<_> = (1..=200).map(|phone| Push::apple(&apple_token(phone))).collect();
    for some in pushes.chunks(100) {
        post_all(&stand, some).await;
    }
    stand.pass_until_nothing_waits().await;
    let reasons: Vec<_> = stand.simulator.ledger().refused().iter().map(|one| one.reason.clone()).collect();
    assert!(reasons.iter().all(|reason| reason == "ExpiredProviderToken"), "{reasons:?}");
    assert_eq!((stand.arrived().len(), stand.simulator.ledger().counts().repeats), (201, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn while_no_access_token_is_to_be_had_pushes_wait_and_google_is_not_stormed() {
    let stand = Stand::usual().await;
    stand.fault(Fault::answer(503, "unavailable").on(Provider::OAuth));
    let pushes: Vec<_> = (0..100).map(|phone| Push::android(&format!("android-{phone}"))).collect();
    for some in pushes.chunks(10) {
        post_all(&stand, some).await;
        stand.clock.advance(Duration::from_secs(6));
    }
    assert_eq!(stand.simulator.ledger().counts().accepted, 0);
    let requests = stand.simulator.ledger().counts().token_requests;
    assert!(requests < 30, "{requests} requests for a token within some minutes");
    stand.mend();
    stand.pass_until_arrived(100).await;
    stand.pass_until_nothing_waits().await;
    assert_eq!((stand.arrived().len(), stand.simulator.ledger().counts().repeats), (100, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_that_gets_too_much_slows_only_itself() {
    let stand = Stand::usual().await;
    let busy = apple_token(1);
    stand.fault(Fault::answer(429, "TooManyRequests").on(Provider::Apns).for_token(&busy));
    for _ in 0..20 {
        stand.pass_until(stand.post(&Push::apple(&busy))).await.expect_ok();
    }
    let target = stand.target("apple_rn").await;
    assert_eq!((&target["breaker"], &target["rate_limit"], &target["ready"]), (&().into(), &().into(), &true.into()));
    // At once: the clock stands still.
    for phone in 2..12 {
        stand.post(&Push::apple(&apple_token(phone))).await.expect_ok();
        assert_eq!(stand.simulator.ledger().accepted_for(&apple_token(phone)).len(), 1);
    }
    stand.mend();
    stand.pass_until_nothing_waits().await;
    assert_eq!(stand.simulator.ledger().accepted_for(&busy).len(), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_that_is_met_stops_the_target_and_then_slows_it_to_half_of_what_went_through() {
    let stand = Stand::usual().await;
    for fault in outage() {
        stand.fault(fault);
    }
    let pushes: Vec<_> = (0..600).map(|phone| Push::android(&format!("android-{phone}"))).collect();
    for some in pushes.chunks(100) {
        post_all(&stand, some).await;
    }
    // What an outage has held back is what meets a quota.
    stand.mend();
    stand.fault(retry_after(429, "QUOTA_EXCEEDED", 60).on(Provider::Fcm).after(300).times(10));
    let slowed = async {
        while stand.target("android_rn").await["rate_limit"].is_null() {
            tokio::task::yield_now().await;
        }
    };
    stand.pass_until(slowed).await;
    // What was under way when the quota was met still arrives. The clock stands meanwhile.
    stand.wait_until_nothing_is_leased().await;
    let stopped = stand.now_ms();
    let limit = stand.target("android_rn").await["rate_limit"].as_f64().unwrap();
    let ledger = stand.simulator.ledger();
    let last_refusal = ledger.refused().iter().filter(|one| one.status == 429).map(|one| one.at_ms).max().unwrap();
    let went = ledger.accepted().iter().filter(|one| one.at_ms <= last_refusal).count();
    let first = ledger.accepted().iter().map(|one| one.at_ms).min().unwrap();
    let lasted = (last_refusal.saturating_sub(first) as f64 / 1_000.0).clamp(1.0, 60.0);
    assert!(limit > 0.1 * went as f64 / lasted, "{limit} a second, when {went} went through in {lasted} s");

    // A chat server's push waits as well; another target's does not.
    let late = Push::android("android-late");
    stand.post(&late).await.expect_ok();
    assert!(!stand.arrived().contains_key(late.text("ack_id")));
    stand.expect_metric(r#"pushrelay_queue_enqueued_total{target="android_rn",why="quota"}"#, 1.0).await;
    stand.post(&Push::apple(&apple_token(1))).await.expect_ok();
    assert_eq!(stand.simulator.ledger().accepted_for(&apple_token(1)).len(), 1);

    stand.pass_until_arrived(602).await;
    let paused = stand
        .simulator
        .ledger()
        .accepted()
        .iter()
        .filter(|one| one.provider == Provider::Fcm)
        .filter(|one| (stopped + 1..last_refusal + 60_000).contains(&one.at_ms))
        .count();
    assert_eq!(paused, 0, "pushes within the minute that Google asked for");
    assert_eq!(stand.simulator.ledger().counts().repeats, 0);
}

const A_DAY: u32 = 86_400;

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_asks_for_a_day_ends_nothing_that_was_acknowledged() {
    let stand = Stand::usual().await;
    for fault in outage() {
        stand.fault(fault);
    }
    let pushes: Vec<_> = (0..400)
        .flat_map(|phone| [Push::apple(&apple_token(phone)), Push::android(&format!("android-{phone}"))])
        .collect();
    for some in pushes.chunks(100) {
        post_all(&stand, some).await;
    }
    // Both are back, and stumble once more.
    stand.mend();
    stand.fault(retry_after(503, "ServiceUnavailable", A_DAY).on(Provider::Apns).after(50).times(100));
    stand.fault(retry_after(429, "QUOTA_EXCEEDED", A_DAY).on(Provider::Fcm).after(50).times(100));
    let has_said_so = stand.simulator.ledger().wait_until(|counts| counts.accepted >= 100);
    stand.pass_until(has_said_so).await;
    stand.wait_until_nothing_is_leased().await;
    // What is sent now hears it as well: it is kept.
    let late = [Push::apple(&apple_token(1_000)), Push::android("android-1000")];
    post_all(&stand, &late).await;
    // Then they are well. Nothing is held back for longer than an hour, by whatever of the relay's.
    stand.mend();
    stand.clock.advance(Duration::from_mins(61));
    let all = async {
        while stand.arrived().len() < 802 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    stand.pass_by(Duration::from_millis(50), all).await;
    assert_eq!(stand.simulator.ledger().counts().repeats, 0);
    for target in ["apple_rn", "android_rn"] {
        let expired = format!("pushrelay_queue_settled_total{{outcome=\"expired\",target=\"{target}\"}}");
        stand.expect_metric(&expired, 0.0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ends_before_its_target_may_be_asked_again_is_tried_before() {
    let with = async |fault: Fault, times: u64, push: fn(u32) -> Push| {
        let stand = Stand::with("[breaker]\nfailures = 5\n[ttl]\nmessage = \"10m\"").await;
        stand.fault(fault.times(times));
        let pushes: Vec<_> = (0..30).map(push).collect();
        for some in pushes.chunks(5) {
            post_all(&stand, some).await;
        }
        let refused = stand.simulator.ledger().counts().refused;
        stand.mend();
        // Left alone for as long as that makes sense …
        stand.clock.advance(Duration::from_secs(8 * 60));
        let looked = async { tokio::time::sleep(Duration::from_millis(200)).await };
        stand.pass_by(Duration::from_millis(1), looked).await;
        assert_eq!((stand.arrived().len(), stand.simulator.ledger().counts().refused), (0, refused));
        // … and asked before it is too late.
        stand.clock.advance(Duration::from_secs(75));
        let all = stand.simulator.ledger().wait_until(|counts| counts.accepted >= 30);
        stand.pass_by(Duration::from_millis(10), all).await;
        assert_eq!(stand.arrived().len(), 30);
    };
    let hour = 3_600;
    let apple = |phone| Push::apple(&apple_token(phone));
    let android = |phone| Push::android(&format!("android-{phone}"));
    join_all([
        with(retry_after(503, "ServiceUnavailable", hour).on(Provider::Apns), 100, apple).boxed_local(),
        with(retry_after(503, "UNAVAILABLE", hour).on(Provider::Fcm), 100, android).boxed_local(),
        with(retry_after(429, "QUOTA_EXCEEDED", hour).on(Provider::Fcm), 5, android).boxed_local(),
    ])
    .await;
}
