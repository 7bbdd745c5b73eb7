//! What the stand-ins do on the wire: stream limits, GOAWAY, resets, silence, and the end.

use std::collections::BTreeSet;
use std::time::Duration;

use h2::Reason;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::{Client, Push, Stage, connect_tls, device, finish, soon};
use crate::simulator::{Action, Credentials, Fault, GoAway, Provider, Simulator, SimulatorSettings, Violation};

#[tokio::test]
async fn a_connection_may_open_one_stream_until_a_valid_token_was_answered() {
    let stage = Stage::set().await;
    let mut client = stage.apns().await;
    let refused = client.push(Push::to(&device(1)).without("authorization")).await;
    assert_eq!(refused.reason(), "MissingProviderToken");
    assert_eq!(client.send.current_max_send_streams(), 1, "a refused token earns nothing");

    assert_eq!(client.push(Push::to(&device(1))).await.status, 200);
    // The new limit follows the answer at once; the next exchange carries it in for certain.
    assert_eq!(client.push(Push::to(&device(1))).await.status, 200);
    assert_eq!(client.send.current_max_send_streams(), 1_000);
    assert_eq!(stage.simulator.ledger().violations(), []);
}

#[tokio::test]
async fn many_streams_at_once_work_after_the_first_was_answered() {
    let stage = Stage::set().await;
    let mut client = stage.apns().await;
    client.push(Push::to(&device(0))).await;
    client.push(Push::to(&device(0))).await;
    let mut running = Vec::new();
    for number in 0..500 {
        let (request, body) = Push::to(&device(number)).build();
        running.push(client.begin(request, body).await.unwrap());
    }
    for response in running {
        assert_eq!(soon(finish(response)).await.unwrap().status, 200);
    }
    let counts = stage.simulator.ledger().counts();
    assert_eq!((counts.accepted, counts.violations), (502, 0));
}

#[tokio::test]
async fn a_certificate_opens_all_streams_at_once() {
    let stage = Stage::set().await;
    let mut client = stage.apns_with_certificate().await;
    client.push(Push::to(&device(1)).without("authorization")).await;
    assert_eq!(client.send.current_max_send_streams(), 1_000);
    client.push(Push::to(&device(1)).without("authorization")).await;
    assert_eq!(stage.simulator.ledger().violations(), []);
}

#[tokio::test]
async fn a_second_stream_before_that_is_refused_and_noted() {
    let stage = Stage::set().await;
    // h2 obeys the limit once it knows it; sent before that, the second stream is over it.
    let mut client = stage.apns().await;
    let mut running = Vec::new();
    for number in 1..=2 {
        let (request, body) = Push::to(&device(number)).build();
        let (response, mut stream) = client.send.send_request(request, false).unwrap();
        stream.send_data(body, true).unwrap();
        running.push(response);
    }
    let second = soon(finish(running.pop().unwrap())).await.unwrap_err();
    assert_eq!((second.reason(), second.is_remote()), (Some(Reason::REFUSED_STREAM), true));
    assert_eq!(soon(finish(running.pop().unwrap())).await.unwrap().status, 200);
    let ledger = stage.simulator.ledger();
    assert_eq!(ledger.violations(), [Violation::TooManyStreams { connection: 1, stream: 3 }]);
    assert_eq!((ledger.counts().accepted, ledger.counts().unprocessed), (1, 1));
}

#[tokio::test]
async fn a_priority_frame_is_noted() {
    let stage = Stage::set().await;
    let mut stream = connect_tls(stage.simulator.apns_address(), None, &[b"h2"]).await;
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
    stream.write_all(&[0, 0, 5, 2, 0, 0, 0, 0, 1, 0, 0, 0, 0, 16]).await.unwrap();
    stream.shutdown().await.unwrap();
    soon(stage.simulator.ledger().wait_until(|counts| counts.violations == 1)).await;
    assert_eq!(stage.simulator.ledger().violations(), [Violation::PriorityFrame { connection: 1, stream: 1 }]);
}

#[tokio::test]
async fn a_client_without_h2_is_noted_and_sent_away() {
    let stage = Stage::set().await;
    let mut stream = connect_tls(stage.simulator.apns_address(), None, &[]).await;
    let mut answer = Vec::new();
    // Whether the end comes with a TLS goodbye does not matter here.
    let _ = soon(stream.read_to_end(&mut answer)).await;
    assert_eq!(answer, b"");
    assert_eq!(stage.simulator.ledger().violations(), [Violation::NotHttp2 { connection: 1 }]);
}

/// Opens the stream limit, then sends to these devices at once on one connection.
async fn burst(client: &mut Client, devices: &[String]) -> Vec<Result<u16, h2::Error>> {
    client.push(Push::to(&device(0xfff))).await;
    client.push(Push::to(&device(0xfff))).await;
    let mut running = Vec::new();
    for device_token in devices {
        let (request, body) = Push::to(device_token).build();
        running.push(client.begin(request, body).await);
    }
    let mut answers = Vec::new();
    for response in running {
        let answer = match response {
            Ok(response) => soon(finish(response)).await.map(|reply| reply.status),
            Err(error) => Err(error),
        };
        answers.push(answer);
    }
    answers
}

/// Whether the ledger agrees with what the client must conclude: answered means processed, and a stream that a
/// GOAWAY says was not processed was not.
fn assert_ledger_agrees(stage: &Stage, devices: &[String], answers: &[Result<u16, h2::Error>]) {
    let accepted: BTreeSet<String> =
        stage.simulator.ledger().accepted().iter().map(|push| push.device_token.clone()).collect();
    for (device_token, answer) in devices.iter().zip(answers) {
        match answer {
            Ok(status) => {
                assert_eq!(*status, 200);
                assert!(accepted.contains(device_token), "answered, so it is in the ledger");
            }
            Err(error) => {
                assert!(error.is_go_away(), "{error:?}");
                assert!(!accepted.contains(device_token), "not answered, so it is not in the ledger");
            }
        }
    }
}

#[tokio::test]
async fn a_goaway_leaves_the_request_and_all_later_ones_unprocessed_and_finishes_the_earlier() {
    let stage = Stage::set().await;
    // The earlier ones are still running when the GOAWAY comes, so it must wait for them and not take them along.
    let slow = Fault::new(Action::Latency(Duration::from_millis(50))).for_token(&device(1));
    stage.simulator.faults().add(slow).unwrap();
    stage.simulator.faults().add(Fault::new(Action::GoAway(GoAway::Before)).for_token(&device(3)).times(1)).unwrap();
    let devices: Vec<String> = (1..=5).map(device).collect();
    let mut client = stage.apns().await;
    let answers = burst(&mut client, &devices).await;
    assert_ledger_agrees(&stage, &devices, &answers);
    let answered: Vec<bool> = answers.iter().map(Result::is_ok).collect();
    assert!(answered[0] && answered[1] && !answered[2], "{answered:?}");
    soon(client.connection).await.unwrap().unwrap();
    // The connection is gone; the next one is served as if nothing had been.
    assert_eq!(stage.apns().await.push(Push::to(&device(3))).await.status, 200);
    assert_eq!(stage.simulator.ledger().violations(), []);
}

#[tokio::test]
async fn a_goaway_after_the_request_still_answers_it() {
    let stage = Stage::set().await;
    stage.simulator.faults().add(Fault::new(Action::GoAway(GoAway::After)).for_token(&device(1))).unwrap();
    let devices: Vec<String> = (1..=4).map(device).collect();
    let answers = burst(&mut stage.apns().await, &devices).await;
    assert_eq!(answers[0].as_ref().ok(), Some(&200));
    assert_ledger_agrees(&stage, &devices, &answers);
}

#[tokio::test]
async fn a_goaway_amid_many_streams_is_as_true_as_amid_few() {
    let stage = Stage::set().await;
    for (goaway, skip) in [(GoAway::Before, 100), (GoAway::After, 150), (GoAway::Graceful, 60)] {
        stage.simulator.ledger().clear();
        stage.simulator.faults().add(Fault::new(Action::GoAway(goaway)).after(skip).times(1)).unwrap();
        // Some are slow, so that later streams are answered before earlier ones.
        let slow = Fault::new(Action::Latency(Duration::from_millis(5))).for_token(&device(0x10)[..63]);
        stage.simulator.faults().add(slow).unwrap();
        let devices: Vec<String> = (1..=300).map(device).collect();
        let answers = burst(&mut stage.apns().await, &devices).await;
        assert_ledger_agrees(&stage, &devices, &answers);
        assert!(answers.iter().filter(|answer| answer.is_ok()).count() as u64 + 2 >= skip, "{goaway:?}");
        stage.simulator.faults().clear();
    }
}

#[tokio::test]
async fn a_graceful_goaway_answers_everything_received() {
    let stage = Stage::set().await;
    stage.simulator.faults().add(Fault::new(Action::GoAway(GoAway::Graceful)).for_token(&device(1))).unwrap();
    let mut client = stage.apns().await;
    assert_eq!(client.push(Push::to(&device(1))).await.status, 200);
    soon(client.connection).await.unwrap().unwrap();
    assert_eq!(stage.simulator.ledger().counts().accepted, 1);
}

#[tokio::test]
async fn documented_tokens_break_streams_and_connections() {
    let stage = Stage::set().await;
    let token = |prefix: &str| format!("{prefix:0<64}");
    let attempt = async |prefix: &str| {
        let (request, body) = Push::to(&token(prefix)).build();
        stage.apns().await.exchange(request, body).await.map(|reply| reply.status)
    };
    let error = attempt("dead0001").await.unwrap_err();
    assert_eq!((error.reason(), error.is_reset()), (Some(Reason::INTERNAL_ERROR), true));
    let error = attempt("dead0002").await.unwrap_err();
    assert_eq!((error.reason(), error.is_reset()), (Some(Reason::REFUSED_STREAM), true));
    let error = attempt("dead0003").await.unwrap_err();
    assert!(error.is_io() || error.is_go_away(), "{error:?}");
    let error = attempt("dead0005").await.unwrap_err();
    assert!(error.is_go_away() && error.is_remote(), "{error:?}");
    assert_eq!(stage.simulator.ledger().counts().accepted, 0);
    assert_eq!(stage.simulator.ledger().counts().unprocessed, 4);

    let error = attempt("dead0004").await.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::INTERNAL_ERROR));
    assert_eq!(stage.simulator.ledger().accepted()[0].device_token, token("dead0004"), "taken, but the answer is lost");

    for (prefix, status) in [("dead0006", 200), ("dead0007", 200)] {
        assert_eq!(attempt(prefix).await.unwrap(), status);
    }
}

#[tokio::test]
async fn a_stalled_stream_gets_no_answer_while_its_neighbours_do() {
    let stage = Stage::set().await;
    let mut client = stage.apns().await;
    client.push(Push::to(&device(1))).await;
    client.push(Push::to(&device(1))).await;
    let (request, body) = Push::to(&format!("{:0<64}", "dead0008")).build();
    let stalled = client.begin(request, body).await.unwrap();
    soon(stage.simulator.ledger().wait_until(|counts| counts.unprocessed == 1)).await;
    assert_eq!(client.push(Push::to(&device(2))).await.status, 200);
    tokio::select! {
        biased;
        answer = stalled => panic!("an answer came: {answer:?}"),
        () = std::future::ready(()) => {}
    }
}

#[tokio::test]
async fn a_stalled_connection_answers_nothing_any_more() {
    let stage = Stage::set().await;
    let stream = connect_tls(stage.simulator.apns_address(), None, &[b"h2"]).await;
    let (mut send, mut connection) = h2::client::handshake(stream).await.unwrap();
    let mut pings = connection.ping_pong().unwrap();
    tokio::spawn(connection);
    let (request, body) = Push::to(&format!("{:0<64}", "dead0009")).build();
    let (_response, mut stream) = send.send_request(request, false).unwrap();
    stream.send_data(body, true).unwrap();
    soon(stage.simulator.ledger().wait_until(|counts| counts.unprocessed == 1)).await;
    // Not a sleep for luck: a pong within this time would fail the test, and none can come.
    let pong = tokio::time::timeout(Duration::from_millis(200), pings.ping(h2::Ping::opaque())).await;
    assert!(pong.is_err(), "{pong:?}");
}

#[tokio::test]
async fn stopping_drops_connections_and_frees_the_ports() {
    let stage = Stage::set().await;
    let mut client = stage.apns().await;
    client.push(Push::to(&device(1))).await;
    let simulator = stage.simulator;
    let addresses = [simulator.apns_address(), simulator.fcm_address(), simulator.inbox_address()];
    soon(simulator.stop()).await;
    // However the end is seen, it is seen.
    let _ = soon(client.connection).await.unwrap();
    for address in addresses {
        TcpListener::bind(address).await.expect("the port is free");
    }
}

#[tokio::test]
async fn addresses_others_can_reach_are_refused_unless_asked_for() {
    let mut settings = SimulatorSettings::new(&super::CREDENTIALS);
    settings.inbox_listen = "0.0.0.0:0".parse().unwrap();
    let error = Simulator::start(settings.clone()).await.unwrap_err();
    assert!(error.to_string().contains("allow_remote"), "{error}");
    settings.allow_remote = true;
    Simulator::start(settings).await.unwrap().stop().await;
}

#[tokio::test]
async fn a_stranger_s_client_certificate_is_not_let_in() {
    let stage = Stage::set().await;
    let stranger = Credentials::generate().unwrap();
    let stream = connect_tls(stage.simulator.apns_address(), Some(&stranger.client_certificate_pem), &[b"h2"]).await;
    // TLS 1.3 says so only after the client believes to be done.
    let (mut send, connection) = h2::client::handshake(stream).await.unwrap();
    let connection = tokio::spawn(connection);
    let (request, _) = Push::to(&device(1)).build();
    if let Ok((response, _)) = send.send_request(request, true) {
        soon(response).await.unwrap_err();
    }
    soon(connection).await.unwrap().unwrap_err();
    assert_eq!(stage.simulator.ledger().counts().apns_connections, 0);
}

#[tokio::test]
async fn a_rate_limit_counts_in_the_simulators_own_seconds() {
    let stage = Stage::set().await;
    stage.simulator.faults().add(Fault::new(Action::RateLimit(2)).on(Provider::Apns)).unwrap();
    let mut client = stage.apns().await;
    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(client.push(Push::to(&device(1))).await.status);
    }
    stage.advance(1);
    statuses.push(client.push(Push::to(&device(1))).await.status);
    assert_eq!(statuses, [200, 200, 429, 200]);
}
