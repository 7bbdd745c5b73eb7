//! Connections that break, stall, or are given up, while pushes are on their way.

use futures_util::future::join_all;
use pushrelay::simulator::{Action, Fault, GoAway, Provider, Reset, Stall};

use crate::stand::Stand;
use crate::support::push::apple_token;
use crate::support::{Answer, Plan, Push};
use crate::tunnel::Tunnel;

/// What cannot be sent is given up after a second of real time.
const IMPATIENT: &str = "[delivery]\nattempt_timeout = \"1s\"\nfirst_pause = \"1ms\"\n[breaker]\nfailures = 0";

fn pushes(count: u32) -> Vec<Push> {
    let push = |number: u32| {
        if number.is_multiple_of(2) {
            Push::apple(&apple_token(number))
        } else {
            Push::android(&format!("android-{number}"))
        }
    };
    (0..count).map(push).collect()
}

/// Posts all at once, and hears OK for each.
async fn post_all(stand: &Stand, pushes: &[Push]) {
    let answers = stand.pass_slowly_until(join_all(pushes.iter().map(|push| stand.post(push)))).await;
    answers.iter().for_each(Answer::expect_ok);
}

/// Each has arrived, at most so many `twice`, and the simulator has nothing to complain of.
async fn expect_all(stand: &Stand, pushes: &[Push], twice: u64) {
    stand.pass_until_nothing_waits().await;
    let arrived = stand.arrived();
    let lost = pushes.iter().filter(|push| !arrived.contains_key(push.text("ack_id"))).count();
    assert_eq!(lost, 0, "of {}", pushes.len());
    let more = stand.simulator.ledger().counts().accepted - pushes.len() as u64;
    assert!(more <= twice, "{more} more arrived than were sent");
    assert!(stand.simulator.ledger().violations().is_empty(), "{:?}", stand.simulator.ledger().violations());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_goaways_costs_nothing_and_repeats_nothing() {
    for goaway in [GoAway::Before, GoAway::After, GoAway::Graceful] {
        let stand = Stand::usual().await;
        for provider in [Provider::Apns, Provider::Fcm] {
            for wave in 0..10 {
                stand.fault(Fault::new(Action::GoAway(goaway)).on(provider).after(wave * 15).times(2));
            }
        }
        let pushes = pushes(400);
        for some in pushes.chunks(100) {
            post_all(&stand, some).await;
        }
        expect_all(&stand, &pushes, 0).await;
        assert_eq!(stand.simulator.ledger().counts().repeats, 0, "{goaway:?}");
    }
}

/// Faults of both providers.
async fn with_resets(resets: &[(Reset, u64)]) -> Stand {
    let stand = Stand::usual().await;
    for provider in [Provider::Apns, Provider::Fcm] {
        for (reset, times) in resets {
            stand.fault(Fault::new(Action::Reset(*reset)).on(provider).after(5).times(*times));
        }
    }
    stand
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_resets_costs_nothing_and_repeats_only_what_was_taken_without_an_answer() {
    let lost_answers = 10;
    let stand = with_resets(&[(Reset::Stream, 20), (Reset::Refused, 20), (Reset::AnswerLost, lost_answers)]).await;
    let pushes = pushes(400);
    for some in pushes.chunks(100) {
        post_all(&stand, some).await;
    }
    expect_all(&stand, &pushes, 2 * lost_answers).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_dropped_cost_nothing() {
    let stand = with_resets(&[(Reset::Connection, 10)]).await;
    let pushes = pushes(400);
    for some in pushes.chunks(100) {
        post_all(&stand, some).await;
    }
    // With a connection go the answers to what was taken on it, at most all of the 50 at a time.
    expect_all(&stand, &pushes, 2 * 10 * 50).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_stall_are_tried_again_and_hold_nothing_else_up() {
    // Callers wait for two seconds of real time, and go on from the queue.
    let tables = IMPATIENT.replace("[breaker]", "deadline = \"2s\"\n[breaker]");
    let stand = Stand::with(&tables).await;
    for provider in [Provider::Apns, Provider::Fcm] {
        stand.fault(Fault::new(Action::Stall(Stall::Stream)).on(provider).times(20));
    }
    let pushes = pushes(100);
    post_all(&stand, &pushes).await;
    expect_all(&stand, &pushes, 100).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_stalls_is_not_used_for_the_next_attempt() {
    let stand = Stand::with(IMPATIENT).await;
    for provider in [Provider::Apns, Provider::Fcm] {
        stand.fault(Fault::new(Action::Stall(Stall::Connection)).on(provider).times(1));
    }
    let pushes = pushes(40);
    post_all(&stand, &pushes).await;
    for target in ["apple_rn", "android_rn"] {
        assert_eq!(stand.waiting(target).await, 0, "the second attempt finds another connection");
    }
    expect_all(&stand, &pushes, 40).await;
}

/// An APNs target behind a tunnel.
async fn behind_a_tunnel(tunnel: &Tunnel, apple: &str) -> Stand {
    Stand::planned(Plan {
        apple: format!("proxy = \"http://{}\"\n{apple}", tunnel.address),
        tables: IMPATIENT.into(),
        ..Plan::default()
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_vanishes_without_a_word_costs_one_attempt() {
    let tunnel = Tunnel::start().await;
    let stand = behind_a_tunnel(&tunnel, "connections = 1").await;
    let first = Push::apple(&apple_token(1));
    post_all(&stand, std::slice::from_ref(&first)).await;
    for round in 1..=3 {
        tunnel.freeze();
        let pushes: Vec<_> = (0..20).map(|phone| Push::apple(&apple_token(round * 100 + phone))).collect();
        post_all(&stand, &pushes).await;
        assert_eq!(stand.waiting("apple_rn").await, 0, "the second attempt finds another connection");
        let arrived = stand.arrived();
        assert!(pushes.iter().all(|push| arrived.contains_key(push.text("ack_id"))));
    }
    assert_eq!(stand.simulator.ledger().counts().repeats, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_way_that_takes_no_connections_is_an_outage_that_loses_nothing() {
    let tunnel = Tunnel::start().await;
    let stand = behind_a_tunnel(&tunnel, "connect_timeout = \"150ms\"").await;
    tunnel.answer(false);
    let pushes: Vec<_> = (0..50).map(|phone| Push::apple(&apple_token(phone))).collect();
    post_all(&stand, &pushes).await;
    assert_eq!(stand.simulator.ledger().counts().accepted, 0);
    assert!(tunnel.tunnels() < 100, "{} tries to connect for 50 pushes", tunnel.tunnels());
    tunnel.answer(true);
    tunnel.wait_for(1).await;
    expect_all(&stand, &pushes, 0).await;
}
