//! An answer about one push is not one about the target: what Apple, Google or a box between answer to some pushes costs the
//! others nothing, and what is answered to all of them has the target left alone.

use futures_util::future::join_all;
use futures_util::stream::{FuturesUnordered, StreamExt};
use pushrelay::simulator::{Action, Fault, Provider, Refuse, Reset};

use crate::stand::{STEP, Stand};
use crate::support::Push;
use crate::support::push::apple_token;

/// Who answers, the status, the provider's word, and a body that is not in its form.
type Said = (Provider, u16, &'static str, Option<&'static str>);

const PAGE: Option<&str> = Some("<html><body>This page is blocked</body></html>");

#[rustfmt::skip]
const ANSWERS: &[Said] = &[
    (Provider::Apns, 403, "InvalidProviderToken", None),
    (Provider::Apns, 403, "ExpiredProviderToken", None),
    (Provider::Apns, 403, "BadCertificateEnvironment", None),
    (Provider::Apns, 400, "BadTopic", None),
    (Provider::Apns, 400, "TopicDisallowed", None),
    (Provider::Apns, 400, "IdleTimeout", None),
    (Provider::Apns, 429, "TooManyProviderTokenUpdates", None),
    (Provider::Apns, 500, "InternalServerError", None),
    (Provider::Apns, 503, "Shutdown", None),
    (Provider::Apns, 404, "", PAGE),
    (Provider::Apns, 403, "", PAGE),
    (Provider::Apns, 302, "", PAGE),
    (Provider::Apns, 200, "", PAGE),
    (Provider::Fcm, 401, "THIRD_PARTY_AUTH_ERROR", None),
    (Provider::Fcm, 401, "", None),
    (Provider::Fcm, 403, "", None),
    (Provider::Fcm, 404, "", None),
    (Provider::Fcm, 500, "INTERNAL", None),
    (Provider::Fcm, 503, "UNAVAILABLE", None),
    (Provider::Fcm, 404, "", PAGE),
    (Provider::Fcm, 403, "", PAGE),
    (Provider::Fcm, 401, "", PAGE),
    (Provider::Fcm, 407, "", PAGE),
    (Provider::Fcm, 302, "", PAGE),
    (Provider::Fcm, 200, "", PAGE),
    (Provider::Fcm, 200, "", Some("{}")),
];

/// What says something about the phone or the request only, however many hear it.
#[rustfmt::skip]
const ABOUT_THE_PUSH: &[Said] = &[
    (Provider::Apns, 410, "Unregistered", None),
    (Provider::Apns, 413, "PayloadTooLarge", None),
    (Provider::Apns, 400, "BadPriority", None),
    (Provider::Apns, 429, "TooManyRequests", None),
    (Provider::Fcm, 404, "UNREGISTERED", None),
    (Provider::Fcm, 400, "INVALID_ARGUMENT", None),
];

fn fault((provider, status, reason, body): Said) -> Fault {
    let refuse = Refuse { status, reason: reason.into(), retry_after: None, body: body.map(str::to_owned) };
    Fault::new(Action::Answer(refuse)).on(provider).for_token(bad_prefix(provider))
}

fn bad_prefix(provider: Provider) -> &'static str {
    if provider == Provider::Apns { "bad0" } else { "bad-" }
}

fn target(provider: Provider) -> &'static str {
    if provider == Provider::Apns { "apple_rn" } else { "android_rn" }
}

fn bad(provider: Provider, number: u32) -> Push {
    match provider {
        Provider::Apns => Push::apple(&format!("bad0{number:060x}")),
        _ => Push::android(&format!("bad-{number}")),
    }
}

/// A phone that is well, and its token.
fn good(provider: Provider, number: u32) -> (Push, String) {
    let token = if provider == Provider::Apns { apple_token(number) } else { format!("good-{number}") };
    let push = if provider == Provider::Apns { Push::apple(&token) } else { Push::android(&token) };
    (push, token)
}

/// A hundred pushes, ten at a time, of which so many are answered so, spread evenly; then the same with the next share. The
/// clock stands still while a good one is under way: that it has arrived when its sender is answered shows that it waited for
/// nothing, neither a pause nor the queue.
async fn costs_others_nothing(what: &str, fault: Fault, provider: Provider, shares: &[u32]) {
    let stand = &Stand::usual().await;
    stand.fault(fault);
    let mut trouble = FuturesUnordered::new();
    let rounds = shares.iter().flat_map(|percent| (0..10).map(move |round| (*percent, round * 10)));
    for (percent, first) in rounds {
        let is_bad = |number: &u32| number * percent / 100 != (number + 1) * percent / 100;
        let (bad_ones, good_ones): (Vec<u32>, Vec<u32>) = (first..first + 10).partition(is_bad);
        // Other phones for each share.
        let phone = |number: u32| percent * 1_000 + number;
        let pushes: Vec<_> = bad_ones.into_iter().map(|number| bad(provider, phone(number))).collect();
        for push in pushes {
            trouble.push(async move { stand.post(&push).await });
        }
        let arrive = join_all(good_ones.into_iter().map(async |number| {
            let (push, token) = good(provider, phone(number));
            stand.post(&push).await.expect_ok();
            let arrived = stand.simulator.ledger().accepted_for(&token).len();
            assert_eq!(arrived, 1, "{what} at {percent} %: phone {number} was answered before its push had arrived");
        }));
        let mut arrive = std::pin::pin!(arrive);
        loop {
            tokio::select! {
                _ = &mut arrive => break,
                Some(_) = trouble.next() => {}
            }
        }
        // Those in trouble are tried again, beside the next.
        stand.clock.advance(STEP * 2);
    }
    let state = stand.target(target(provider)).await;
    assert_eq!(state["breaker"], serde_json::Value::Null, "{what}: {state}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_answered_to_one_push_in_a_hundred_in_fifty_or_in_ten_costs_the_others_nothing() {
    for &said in ANSWERS.iter().chain(ABOUT_THE_PUSH) {
        costs_others_nothing(&format!("{said:?}"), fault(said), said.0, &[1, 2, 10]).await;
    }
    for provider in [Provider::Apns, Provider::Fcm] {
        let reset = Fault::new(Action::Reset(Reset::Stream)).on(provider).for_token(bad_prefix(provider));
        costs_others_nothing("a reset stream", reset, provider, &[10]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_answered_to_every_second_push_loses_none_of_the_others() {
    for &said in ANSWERS {
        let stand = Stand::usual().await;
        stand.fault(fault(said));
        let posts = join_all((0..60).map(async |number| {
            if number % 2 == 0 {
                stand.post(&bad(said.0, number)).await;
            } else {
                stand.post(&good(said.0, number).0).await.expect_ok();
            }
        }));
        stand.pass_until(posts).await;
        let arrived = async {
            while (0..30).any(|half| stand.simulator.ledger().accepted_for(&good(said.0, half * 2 + 1).1).is_empty()) {
                tokio::task::yield_now().await;
            }
        };
        stand.pass_until(arrived).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_answered_to_every_push_has_the_target_left_alone_within_twenty_attempts() {
    for &said in ANSWERS {
        for others_arrived_before in [false, true] {
            let stand = Stand::usual().await;
            stand.fault(fault(said));
            if others_arrived_before {
                stand.post(&good(said.0, 1).0).await.expect_ok();
            }
            let is_open = async || !stand.target(target(said.0)).await["breaker"].is_null();
            let asked = || {
                let counts = stand.simulator.ledger().counts();
                // An odd answer with a status of success is an acceptance to the simulator.
                counts.refused + counts.accepted - u64::from(others_arrived_before)
            };
            let mut number = 0;
            while !is_open().await {
                assert!(asked() <= 20, "{said:?}, {others_arrived_before}: still asked after {} attempts", asked());
                let posts = join_all((0..4).map(async |more| stand.post(&bad(said.0, number + more)).await));
                stand.pass_until(posts).await;
                number += 4;
            }
            assert!(asked() <= 20, "{said:?}, {others_arrived_before}: {} attempts", asked());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_about_a_push_leaves_no_target_alone_however_many_hear_it() {
    for &said in ABOUT_THE_PUSH {
        let stand = Stand::usual().await;
        stand.fault(fault(said));
        let posts = join_all((0..30).map(async |number| stand.post(&bad(said.0, number)).await));
        stand.pass_until(posts).await;
        assert!(stand.target(target(said.0)).await["breaker"].is_null(), "{said:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_200_that_is_not_the_providers_delivers_nothing() {
    for (provider, body) in [
        (Provider::Apns, PAGE.unwrap()),
        (Provider::Fcm, PAGE.unwrap()),
        (Provider::Fcm, "{}"),
        (Provider::Fcm, r#"{"name":"x"}"#),
    ] {
        let stand = Stand::planned(crate::support::Plan { top: "# nothing is kept\n", ..Default::default() }).await;
        stand.fault(fault((provider, 200, "", Some(body))));
        let answer = stand.pass_until(stand.post(&bad(provider, 1))).await;
        let word = if provider == Provider::Apns { "not_apples_answer" } else { "not_googles_answer" };
        answer.expect_fail(200, word);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_of_the_queue_that_fail_for_ever_hold_up_neither_their_target_nor_a_probe() {
    let stand = Stand::usual().await;
    let poison = (Provider::Fcm, 404, "", PAGE);
    stand.fault(fault(poison));
    for number in 0..2 {
        stand.pass_until(stand.post(&bad(Provider::Fcm, number))).await.expect_ok();
    }
    // A night in which nobody else sends.
    for _ in 0..240 {
        stand.clock.advance(STEP * 60);
        tokio::task::yield_now().await;
    }
    stand.wait_until_nothing_is_leased().await;
    assert!(stand.target("android_rn").await["breaker"].is_null());
    let (push, token) = good(Provider::Fcm, 1);
    stand.post(&push).await.expect_ok();
    assert_eq!(stand.simulator.ledger().accepted_for(&token).len(), 1, "at once");

    // An outage ends, and what fails for ever is still there.
    stand.mend();
    stand.fault(Fault::answer(503, "UNAVAILABLE").on(Provider::Fcm));
    for number in 10..30 {
        stand.pass_until(stand.post(&good(Provider::Fcm, number).0)).await.expect_ok();
    }
    stand.mend();
    stand.fault(fault(poison));
    let arrived = async {
        while (10..30).any(|number| stand.simulator.ledger().accepted_for(&good(Provider::Fcm, number).1).is_empty()) {
            tokio::task::yield_now().await;
        }
    };
    stand.pass_until(arrived).await;
}
