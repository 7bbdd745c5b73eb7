//! Every way a Mattermost signature can be wrong, and the odd ways in which it is right, as tables: a relay that requires
//! signatures, and a simulator behind it that nothing refused may reach.
//!
//! `algorithm` varies the header, `form` the compact serialization, `claims` what is claimed and when it counts, `curve`
//! the 64 bytes and whose they are, `leave` what a server may do signed and unsigned. `forge` makes the signatures.

mod algorithm;
mod claims;
mod curve;
mod forge;
mod form;
mod leave;

use std::collections::{BTreeMap, BTreeSet};

use pushrelay::clock::Clock;

use crate::support::{Answer, Plan, Scene};
use forge::{Forge, Keys, NOW};

/// One request and what must come of it.
struct Case {
    name: &'static str,
    sends: Sends,
    expected: Expected,
}

/// What is sent: the usual push with this signature, or a whole body.
enum Sends {
    Signature(Box<dyn Fn(&Forge<'_>) -> String>),
    Body(Box<dyn Fn(&Forge<'_>) -> String>),
}

/// What must come of it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Expected {
    /// The phone gets it, with the signature as it was sent.
    Sent,
    /// Nobody gets it. The status, words of the text, and the reason that is counted.
    Refused(u16, &'static str, &'static str),
    /// It is admitted, and the provider does not take it for a reason of which these are words.
    Undeliverable(&'static str),
}

const MALFORMED: Expected = Expected::Refused(401, "cannot be read", "malformed_signature");
const ALGORITHM: Expected = Expected::Refused(401, "is not ES256", "wrong_algorithm");
const KEY: Expected = Expected::Refused(401, "none of the keys", "wrong_key");
const ACK_ID: Expected = Expected::Refused(401, "another push", "ack_id_mismatch");
const DEVICE_ID: Expected = Expected::Refused(401, "another device", "device_id_mismatch");
const TIME: Expected = Expected::Refused(401, "has expired or is not valid yet", "untimely");
const MISSING: Expected = Expected::Refused(401, "is not signed", "missing_signature");

/// The usual push with a signature made like this.
fn signature(name: &'static str, make: impl Fn(&Forge<'_>) -> String + 'static, expected: Expected) -> Case {
    Case { name, sends: Sends::Signature(Box::new(make)), expected }
}

/// A body of its own.
fn body(name: &'static str, make: impl Fn(&Forge<'_>) -> String + 'static, expected: Expected) -> Case {
    Case { name, sends: Sends::Body(Box::new(make)), expected }
}

/// The usual claims under this header, rightly signed.
fn header(name: &'static str, header: &'static str, expected: Expected) -> Case {
    signature(name, move |forge| forge.signed(header, forge.claims()), expected)
}

/// These claims under the usual header, rightly signed. `ACK` and `DEVICE` stand for the ids of the push.
fn claims(name: &'static str, claims: &'static str, expected: Expected) -> Case {
    signature(name, move |forge| forge.signed(forge::HEADER, forge.filled(claims)), expected)
}

fn all() -> Vec<Case> {
    [algorithm::cases(), form::cases(), claims::cases(), curve::cases(), leave::cases()].into_iter().flatten().collect()
}

async fn stage(keys: &Keys) -> Scene {
    Scene::new(Plan {
        // Neither what is refused nor how often a phone is woken may end the table early.
        auth_keys: "refusals_per_minute = 0\ndevice_per_minute = 0",
        tables: keys.tables(),
        clock: Some(Clock::manual(NOW)),
        ..Plan::default()
    })
    .await
}

/// All counters of refusals, by reason.
async fn refusals(scene: &Scene) -> BTreeMap<String, u64> {
    let (_, metrics) = scene.get("/metrics").await;
    metrics
        .lines()
        .filter_map(|line| line.strip_prefix("pushrelay_refusals_total{reason=\"")?.split_once("\"} "))
        .map(|(reason, count)| (reason.to_owned(), count.parse().unwrap()))
        .filter(|(_, count)| *count > 0)
        .collect()
}

#[test]
fn the_tables_are_long_and_no_two_cases_are_the_same() {
    let cases = all();
    let names: BTreeSet<_> = cases.iter().map(|case| case.name).collect();
    assert_eq!(names.len(), cases.len(), "a name is used twice");
    let refused = cases.iter().filter(|case| matches!(case.expected, Expected::Refused(..))).count();
    assert!(refused >= 40, "{refused} ways to be wrong");
    assert!(cases.iter().any(|case| case.expected == Expected::Sent), "nothing right among them");
}

#[tokio::test]
async fn each_signature_is_judged_as_its_table_says_and_nothing_refused_leaves_the_relay() {
    let keys = Keys::generate();
    let scene = stage(&keys).await;
    let mut failures = Vec::new();
    for (number, case) in all().into_iter().enumerate() {
        let forge = Forge::new(&scene.key, &keys, number);
        if let Err(problem) = play(&scene, &forge, &case).await {
            failures.push(format!("{}: {problem}", case.name));
        }
    }
    assert!(failures.is_empty(), "{} cases differ:\n{}", failures.len(), failures.join("\n"));
    assert_eq!(scene.simulator.ledger().violations(), [], "the relay kept to the protocol all the while");
}

async fn play(scene: &Scene, forge: &Forge<'_>, case: &Case) -> Result<(), String> {
    let (signature, text) = match &case.sends {
        Sends::Signature(make) => {
            let signature = make(forge);
            let text = forge.push().signed_as(signature.as_str()).body(&scene.key).to_string();
            (Some(signature), text)
        }
        Sends::Body(make) => (None, make(forge)),
    };
    let ledger = scene.simulator.ledger();
    let (reached, counted) = (ledger.counts(), refusals(scene).await);
    let answer = scene.post_body(text).await;
    let arrived = ledger.counts().accepted - reached.accepted;

    if answer.error.contains(&forge.device)
        || signature.as_deref().is_some_and(|jws| jws.len() > 20 && answer.error.contains(jws))
    {
        return Err(format!("the answer repeats what is private: {answer:?}"));
    }
    let mut expected_counts = counted;
    if let Expected::Refused(_, _, label) = case.expected
        && !label.is_empty()
    {
        *expected_counts.entry(label.to_owned()).or_default() += 1;
    }
    let counts = refusals(scene).await;
    if counts != expected_counts {
        return Err(format!("counted {counts:?} instead of {expected_counts:?}, answered {answer:?}"));
    }
    let differs = |what: &str| Err(format!("{what}: {answer:?}"));
    match case.expected {
        Expected::Sent if arrived != 1 || answer.code != 200 || answer.status != "OK" => differs("it was not sent"),
        Expected::Sent => arrived_whole(scene, forge, signature.as_deref()),
        _ if arrived != 0 => differs("its phone has got it"),
        Expected::Refused(..) if ledger.counts() != reached => differs("it reached the provider"),
        Expected::Refused(code, words, _) if !is_failure(&answer, code, words) => {
            differs(&format!("not refused with {code} and {words:?}"))
        }
        Expected::Undeliverable(words) if !is_failure(&answer, 200, words) => {
            differs(&format!("not failed with {words:?}"))
        }
        _ => Ok(()),
    }
}

fn is_failure(answer: &Answer, code: u16, words: &str) -> bool {
    answer.code == code && answer.status == "FAIL" && answer.error.contains(words)
}

/// The phone checks the signature once more: it must be what the server has sent.
fn arrived_whole(scene: &Scene, forge: &Forge<'_>, signature: Option<&str>) -> Result<(), String> {
    let pushes = scene.simulator.ledger().accepted_for(&forge.device);
    let [push] = pushes.as_slice() else { return Err(format!("{} pushes to its phone", pushes.len())) };
    let arrived = push.payload();
    if signature.is_some_and(|signature| arrived["signature"] != signature) {
        return Err(format!("its signature was changed: {arrived}"));
    }
    Ok(())
}
