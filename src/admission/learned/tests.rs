//! Lives of servers, as the relay sees them.

mod bounds;
mod restarts;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::admission::signature;
use crate::admission::signing::SigningKey;
use crate::notification::DeviceToken;

const NOW: u64 = 1_800_000_000;
const ID: &str = "diagnosticid0000000000000a";

fn id(text: &str) -> ServerId {
    ServerId::new(text).unwrap()
}

fn fresh(limits: Limits) -> (TempDir, Learned) {
    let directory = tempfile::tempdir().unwrap();
    let learned = Learned::load(directory.path(), limits).unwrap();
    (directory, learned)
}

/// A push that was signed, told apart from others by its number.
struct Push {
    ack_id: String,
    device: DeviceToken,
    jws: String,
}

impl Push {
    fn signed(key: &SigningKey, number: u64) -> Self {
        let (ack_id, device) = (format!("ack-{number}"), DeviceToken::new("canary-device-token").unwrap());
        let jws = key.sign_push(&ack_id, &device);
        Self { ack_id, device, jws }
    }

    /// The same push with another signature in place of its own.
    fn with(mut self, signature: &[u8]) -> Self {
        let (input, _) = self.jws.rsplit_once('.').unwrap();
        self.jws = format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature));
        self
    }

    fn parts(&self) -> SignedParts<'_> {
        signature::parse(&self.jws, &self.ack_id, &self.device, NOW).unwrap()
    }

    fn observed_by(&self, learned: &Learned, server: &str, now: u64) -> Observation {
        learned.observe(&id(server), Sent::Signed(self.parts()), now)
    }
}

/// r = 0: no key can have made it.
const GARBAGE: [u8; 64] = [0; 64];

/// Plays a life, one push a second. `A`, `B`, `C`: signed by that key. `a`: A's last push again. `S`: signed by a key never
/// seen. `U`: unsigned. `T`: an unsigned test. `X`: a signature that cannot be used. `G`: one that no key can have made.
struct Life {
    keys: [SigningKey; 3],
    last: Option<Push>,
    number: u64,
}

impl Life {
    fn new() -> Self {
        Self { keys: std::array::from_fn(|_| SigningKey::generate()), last: None, number: 0 }
    }

    fn key(&self, name: char) -> VerifyingKey {
        self.keys["ABC".find(name).unwrap()].verifying_key()
    }

    fn step(&mut self, learned: &Learned, step: char) -> Observation {
        self.number += 1;
        let (number, now) = (self.number, NOW + self.number);
        match step {
            'U' => learned.observe(&id(ID), Sent::Unsigned, now),
            'T' => learned.observe(&id(ID), Sent::UnsignedTest, now),
            'X' => learned.observe(&id(ID), Sent::Unusable, now),
            'G' => Push::signed(&self.keys[0], number).with(&GARBAGE).observed_by(learned, ID, now),
            'S' => Push::signed(&SigningKey::generate(), number).observed_by(learned, ID, now),
            'a' => self.last.as_ref().unwrap().observed_by(learned, ID, now),
            name => {
                let at = "ABC".find(name).unwrap();
                let push = Push::signed(&self.keys[at], number);
                let observation = push.observed_by(learned, ID, now);
                if name == 'A' {
                    self.last = Some(push);
                }
                observation
            }
        }
    }

    /// The words for each step: those about the key, and `new` for a new server.
    fn play(&mut self, learned: &Learned, steps: &str) -> Vec<String> {
        let word = |event: Event| event.label().replace("new_server", "new");
        steps
            .chars()
            .filter(|step| *step != ' ')
            .map(|step| self.step(learned, step).events().map(word).collect::<Vec<_>>().join("+"))
            .collect()
    }
}

fn report_of(learned: &Learned) -> ServerReport {
    let report = learned.report();
    assert_eq!(report.servers.len(), 1);
    report.servers.into_iter().next().unwrap()
}

/// What is known at the end of a life.
enum Known {
    Nothing,
    Narrowed,
    /// This key, from so many signatures.
    Key(char, u64),
}

#[test]
fn lives_of_a_server() {
    use Known::{Key, Narrowed, Nothing};
    use NotAdoptable::{Contested, NoSignature, OneSignature};
    const FIRST: &str = "new+key_narrowed";
    const NARROWED: &str = "key_narrowed";
    const LEARNED: &str = "key_learned";
    const SPOOF: &str = "possible_spoof";
    type Case = (&'static str, &'static str, &'static [&'static str], Known, u64, Option<NotAdoptable>);
    let cases: &[Case] = &[
        ("it never signs", "UUTX", &["new", "", "", ""], Nothing, 0, Some(NoSignature)),
        ("it signs once", "A", &[FIRST], Narrowed, 0, Some(OneSignature)),
        ("it signs twice", "AA", &[FIRST, LEARNED], Key('A', 2), 0, None),
        ("it signs on", "AUAAAT", &[FIRST, "", LEARNED, "", "", ""], Key('A', 4), 0, None),
        ("its first push is repeated", "Aaa", &[FIRST, "", ""], Narrowed, 0, Some(OneSignature)),
        ("its first push is repeated, then another", "AaA", &[FIRST, "", LEARNED], Key('A', 3), 0, None),
        ("a push is repeated once the key is known", "AAa", &[FIRST, LEARNED, ""], Key('A', 3), 0, None),
        ("two keys in turn", "ABAB", &[FIRST, NARROWED, LEARNED, SPOOF], Key('A', 2), 2, Some(Contested)),
        ("a spoof later", "AAABA", &[FIRST, LEARNED, "", SPOOF, ""], Key('A', 4), 1, Some(Contested)),
        ("a spoof before", "BAAA", &[FIRST, NARROWED, LEARNED, ""], Key('A', 3), 1, Some(Contested)),
        ("a spoof between", "ABA", &[FIRST, NARROWED, LEARNED], Key('A', 2), 1, Some(Contested)),
        ("who sends first teaches", "BBAAA", &[FIRST, LEARNED, SPOOF, SPOOF, SPOOF], Key('B', 2), 3, Some(Contested)),
        ("bytes that nobody signed", "GG", &["new", ""], Nothing, 0, Some(NoSignature)),
        ("bytes that nobody signed, later", "AAG", &[FIRST, LEARNED, SPOOF], Key('A', 2), 1, Some(Contested)),
        (
            "strangers push the first signature out",
            "ASSSAA",
            &[FIRST, NARROWED, NARROWED, NARROWED, NARROWED, LEARNED],
            Key('A', 2),
            2,
            Some(Contested),
        ),
    ];
    for (name, steps, expected, known, mismatches, not_adoptable) in cases {
        let (_directory, learned) = fresh(Limits::default());
        let mut life = Life::new();
        assert_eq!(life.play(&learned, steps), *expected, "{name}");
        let report = report_of(&learned);
        match (known, &report.key) {
            (Nothing, KeyStanding::Unknown) | (Narrowed, KeyStanding::Narrowed { candidates: 2 }) => {}
            (Key(which, count), KeyStanding::Learned { key, signatures, .. }) => {
                assert_eq!((key, signatures), (&life.key(*which), count), "{name}");
            }
            (_, other) => panic!("{name}: {other:?}"),
        }
        assert_eq!(report.mismatches, *mismatches, "{name}");
        assert_eq!(report.adoptable.as_ref().err(), not_adoptable.as_ref(), "{name}");
        assert_eq!(learned.adoptable(&id(ID)), report.adoptable, "{name}");
        assert_eq!(report.rotation, None, "{name}");
    }
}

#[test]
fn a_new_key_beside_a_silent_old_one_is_reported_as_a_rotation_and_never_adopted() {
    let (_directory, learned) = fresh(Limits::default());
    let mut life = Life::new();
    life.play(&learned, "AAA");
    let words = life.play(&learned, "BBBBB BBBBB BB");
    assert!(words[..9].iter().all(|word| word == "possible_spoof"), "{words:?}");
    assert!(words[9..].iter().all(|word| word == "possible_rotation"), "{words:?}");
    let report = report_of(&learned);
    let rotation = report.rotation.unwrap();
    assert_eq!((rotation.key, rotation.signatures), (life.key('B'), 12));
    assert_eq!((rotation.first_seen, rotation.last_seen), (NOW + 4, NOW + 15));
    assert!(matches!(report.key, KeyStanding::Learned { key, signatures: 3, .. } if key == life.key('A')));
    assert_eq!(report.adoptable, Err(NotAdoptable::Contested));
    assert_eq!((report.mismatches, report.last_mismatch), (12, Some(NOW + 15)));
    // The old key was not silent after all.
    assert_eq!(life.play(&learned, "AB"), ["", "possible_spoof"]);
    assert_eq!(report_of(&learned).rotation, None);
}

#[test]
fn keys_that_take_turns_are_no_rotation() {
    for turns in ["BBBBBBBBBA", "BC", "BBBBBBBBBC", "S"] {
        let (_directory, learned) = fresh(Limits::default());
        let mut life = Life::new();
        life.play(&learned, "AA");
        let words = life.play(&learned, &turns.repeat(4));
        assert!(!words.iter().any(|word| word == "possible_rotation"), "{turns}: {words:?}");
        assert_eq!(report_of(&learned).rotation, None, "{turns}");
    }
}

#[test]
fn one_push_repeated_is_no_rotation() {
    let (_directory, learned) = fresh(Limits::default());
    let mut life = Life::new();
    life.play(&learned, "BB A");
    let words = life.play(&learned, &"a".repeat(20));
    assert!(words.iter().all(|word| word == "possible_spoof"), "{words:?}");
}

/// The signature of a low and of a high s are one: nothing is learned from both.
#[test]
fn a_signature_in_its_other_form_is_not_a_second_one() {
    use p256::elliptic_curve::ops::Reduce;
    let (_directory, learned) = fresh(Limits::default());
    let push = Push::signed(&SigningKey::generate(), 1);
    assert_eq!(push.observed_by(&learned, ID, NOW).key, Some(Event::KeyNarrowed));
    let signature = *push.parts().signature();
    let s = -p256::Scalar::reduce(&p256::FieldBytes::try_from(&signature[32..]).unwrap());
    let other = push.with(&[&signature[..32], &s.to_bytes()].concat());
    assert_eq!(other.observed_by(&learned, ID, NOW + 1).key, None);
    assert_eq!(learned.adoptable(&id(ID)), Err(NotAdoptable::OneSignature));
}

/// A signature made so that only one key is left: its repetition would pass for a second one.
#[test]
fn nothing_is_learned_from_a_signature_that_leaves_one_key_alone() {
    use p256::elliptic_curve::ops::Reduce;
    let (_directory, learned) = fresh(Limits::default());
    let push = Push::signed(&SigningKey::generate(), 1);
    // R = G and s = z, so that sR − zG is no key.
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, push.parts().signed());
    let z = p256::Scalar::reduce(&p256::FieldBytes::try_from(hash.as_ref()).unwrap());
    let generator = p256::Sec1Point::from(p256::AffinePoint::GENERATOR);
    let signature = [generator.x().unwrap().as_slice(), &z.to_bytes()].concat();
    let push = push.with(&signature);
    assert_eq!(super::super::recovery::candidates(push.parts().signed(), push.parts().signature()).len(), 1);
    for second in 1..4 {
        assert_eq!(push.observed_by(&learned, ID, NOW + second).key, None);
    }
    assert_eq!(report_of(&learned).unusable, 3);
    assert_eq!(learned.adoptable(&id(ID)), Err(NotAdoptable::NoSignature));
}

#[test]
fn every_push_is_in_one_counter() {
    let (_directory, learned) = fresh(Limits::default());
    Life::new().play(&learned, "UUU TT XXXX G AAAAA B");
    let report = report_of(&learned);
    assert_eq!(report.pushes, 16);
    assert_eq!((report.unsigned, report.unsigned_tests, report.unusable, report.signed), (3, 2, 5, 6));
    assert_eq!((report.first_seen, report.last_seen), (NOW + 1, NOW + 16));
}

#[test]
fn a_key_under_two_server_ids_is_proposed_for_neither() {
    let (_directory, learned) = fresh(Limits::default());
    let key = SigningKey::generate();
    for (number, server) in ["one", "one", "two", "two", "three", "three"].into_iter().enumerate() {
        let number = number as u64;
        let third = SigningKey::generate();
        let key = if server == "three" && number == 4 { &third } else { &key };
        Push::signed(key, number).observed_by(&learned, server, NOW + number);
    }
    assert_eq!(learned.adoptable(&id("one")), Err(NotAdoptable::Shared));
    assert_eq!(learned.adoptable(&id("two")), Err(NotAdoptable::Shared));
    assert_eq!(learned.adoptable(&id("three")), Err(NotAdoptable::OneSignature));
    assert_eq!(learned.adoptable(&id("four")), Err(NotAdoptable::UnknownServer));
    assert!(learned.forget(&id("two")));
    assert_eq!(learned.adoptable(&id("one")), Ok(key.verifying_key()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn only_a_key_that_signed_twice_is_learned_and_it_stays(steps in "[ABCUGS]{1,24}") {
        let (_directory, learned) = fresh(Limits::default());
        let mut life = Life::new();
        let mut first: Option<VerifyingKey> = None;
        let mut played = String::new();
        for step in steps.chars() {
            life.step(&learned, step);
            played.push(step);
            if let KeyStanding::Learned { key, .. } = report_of(&learned).key {
                let name = "ABC".chars().find(|name| life.key(*name) == key).expect("a stranger signs only once");
                prop_assert!(played.matches(name).count() >= 2);
                prop_assert_eq!(first.get_or_insert_with(|| key.clone()), &key);
            }
        }
        let report = report_of(&learned);
        if let (Some(key), Ok(adoptable)) = (&first, &report.adoptable) {
            prop_assert_eq!(key, adoptable);
            let others = "ABCS".chars().filter(|name| *name == 'S' || life.key(*name) != *key);
            prop_assert_eq!(others.map(|name| played.matches(name).count()).sum::<usize>(), 0);
        }
    }
}
