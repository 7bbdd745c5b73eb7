//! Which rule applies to which request, and what the documented tokens mean.

use std::collections::HashSet;
use std::time::Duration;

use serde_json::json;

use super::{Push, Stage, device};
use crate::simulator::faults::Plan;
use crate::simulator::tokens::documented;
use crate::simulator::{
    APNS_TOKENS, Action, FCM_TOKENS, Fault, Faults, Matching, Provider, Refuse, Stall, Times, TokenOutcome,
};

fn action(faults: &Faults, provider: Provider, token: &str) -> Option<Action> {
    faults.decide(provider, token, 0).action
}

#[test]
fn a_rule_meets_only_whom_it_names_and_only_as_often_as_it_says() {
    let faults = Faults::default();
    faults.add(Fault::answer(503, "Shutdown").on(Provider::Apns).for_token("ab").after(1).times(2)).unwrap();
    let refused = Some(Action::Answer(Refuse { status: 503, reason: "Shutdown".into(), ..Refuse::default() }));
    assert_eq!(action(&faults, Provider::Fcm, "abc"), None);
    assert_eq!(action(&faults, Provider::Apns, "b"), None);
    assert_eq!(action(&faults, Provider::Apns, "abc"), None, "the first is let through");
    assert_eq!(action(&faults, Provider::Apns, "abc"), refused);
    assert_eq!(action(&faults, Provider::Apns, "abd"), refused);
    assert_eq!(action(&faults, Provider::Apns, "abc"), None);
    assert!(faults.list().is_empty(), "a rule that is used up goes away");
}

#[test]
fn latencies_add_up_and_the_first_other_action_decides() {
    let faults = Faults::default();
    let latency = |ms| Fault::new(Action::Latency(Duration::from_millis(ms)));
    for fault in [latency(10), latency(20), Fault::new(Action::Stall(Stall::Stream)), Fault::answer(500, "x")] {
        faults.add(fault).unwrap();
    }
    let plan = faults.decide(Provider::Apns, "", 0);
    assert_eq!(plan, Plan { latency: Duration::from_millis(30), action: Some(Action::Stall(Stall::Stream)) });
    faults.clear();
    assert_eq!(faults.decide(Provider::Apns, "", 0), Plan::default());
}

#[test]
fn there_is_an_end_to_the_rules() {
    let faults = Faults::default();
    while faults.add(Fault::answer(500, "x")).is_ok() {}
    assert_eq!(faults.list().len(), 256);
}

#[test]
fn rules_read_and_write_the_documented_json() {
    let cases = [
        json!({"provider": "apns", "match": "all", "skip": 0, "times": 2,
               "action": {"status": 503, "reason": "ServiceUnavailable", "retry_after": "30"}}),
        json!({"match": {"token": "ab"}, "skip": 3, "times": "forever", "action": {"latency_ms": 250}}),
        json!({"match": "all", "skip": 0, "times": "forever", "action": {"reset": "answer_lost"}}),
        json!({"match": "all", "skip": 0, "times": "forever", "action": {"goaway": "before"}}),
        json!({"match": "all", "skip": 0, "times": "forever", "action": {"stall": "connection"}}),
        json!({"provider": "oauth", "match": "all", "skip": 0, "times": 1, "action": {"rate_limit": 5}}),
    ];
    for case in cases {
        let fault: Fault = serde_json::from_value(case.clone()).unwrap();
        assert_eq!(serde_json::to_value(fault).unwrap(), case);
    }
    let least: Fault = serde_json::from_value(json!({"action": {"status": 500, "retry_after": 5}})).unwrap();
    assert_eq!((least.matching, least.times), (Matching::All, Times::Forever));
}

#[test]
fn a_rule_that_makes_no_sense_says_why() {
    let cases = [
        (json!({"action": {}}), "exactly one of"),
        (json!({"action": {"status": 500, "reset": "stream"}}), "exactly one of"),
        (json!({"action": {"reason": "Shutdown"}}), "need a `status`"),
        (json!({"action": {"status": 99}}), "action.status"),
        (json!({"action": {"latency_ms": 600_001}}), "action.latency_ms"),
        (json!({"action": {"status": 503, "retry_after": "a\nb"}}), "action.retry_after"),
        (json!({"action": {"reset": "planet"}}), "planet"),
        (json!({"action": {"stall": "stream"}, "times": "often"}), "often"),
        (json!({"action": {"stall": "stream"}, "time": 1}), "time"),
    ];
    for (case, text) in cases {
        let error = serde_json::from_value::<Fault>(case.clone()).unwrap_err().to_string();
        assert!(error.contains(text), "{case}: {error}");
    }
}

#[test]
fn every_documented_token_is_its_own_and_a_longer_name_wins() {
    for table in [APNS_TOKENS, FCM_TOKENS] {
        let names: HashSet<&str> = table.iter().map(|row| row.prefix).collect();
        assert_eq!(names.len(), table.len());
    }
    let plan = documented(FCM_TOKENS, "fcm-unavailable-retry-after-7");
    let Some(Action::Answer(refuse)) = plan.action else { panic!("{plan:?}") };
    assert_eq!(refuse.retry_after.as_deref(), Some("30"));
    assert_eq!(documented(APNS_TOKENS, &device(1)), Plan::default());
}

#[test]
fn the_documentation_lists_every_documented_token() {
    let page = include_str!("../../../docs/simulator.md");
    for row in APNS_TOKENS.iter().chain(FCM_TOKENS) {
        let name = format!("`{}…`", row.prefix);
        let line = page.lines().find(|line| line.contains(&name));
        let line = line.unwrap_or_else(|| panic!("docs/simulator.md lacks {name}"));
        if let TokenOutcome::Refused(status, reason, retry_after) = row.outcome {
            assert!(line.contains(&status.to_string()) && line.contains(reason), "{line}");
            assert!(retry_after.is_none_or(|seconds| line.contains(&seconds.to_string())), "{line}");
        }
    }
}

#[tokio::test]
async fn every_documented_apns_token_gets_its_answer() {
    let stage = Stage::set().await;
    let mut client = stage.apns().await;
    for row in APNS_TOKENS {
        let TokenOutcome::Refused(status, reason, retry_after) = row.outcome else { continue };
        let reply = client.push(Push::to(&format!("{:0<64}", row.prefix))).await;
        assert_eq!((reply.status, reply.reason()), (status, reason));
        assert_eq!(reply.body["timestamp"].is_u64(), status == 410, "{reason}");
        let header = reply.headers.get("retry-after").map(|value| value.to_str().unwrap().parse().unwrap());
        assert_eq!(header, retry_after);
    }
    assert_eq!(stage.simulator.ledger().counts().accepted, 0);
}

#[tokio::test]
async fn a_wrong_request_is_told_what_is_wrong_even_while_a_fault_is_in_force() {
    let stage = Stage::set().await;
    stage.simulator.faults().add(Fault::answer(503, "ServiceUnavailable").times(1)).unwrap();
    let mut client = stage.apns().await;
    assert_eq!(client.push(Push::to(&device(1)).without("apns-topic")).await.reason(), "MissingTopic");
    assert_eq!(client.push(Push::to(&device(1))).await.reason(), "ServiceUnavailable");
    assert_eq!(client.push(Push::to(&device(1))).await.status, 200);
}
