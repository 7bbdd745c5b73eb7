//! What was learned outlives the process, and a file that cannot be trusted is not read as something else.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::*;

fn again(directory: &TempDir) -> Learned {
    Learned::load(directory.path(), Limits::default()).unwrap()
}

fn file(directory: &TempDir) -> std::path::PathBuf {
    directory.path().join(FILE_NAME)
}

fn names(directory: &TempDir) -> Vec<String> {
    let entries = fs::read_dir(directory.path()).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Everything of a report, in words that can be compared.
fn words(learned: &Learned) -> String {
    format!("{:#?}", learned.report())
}

/// One of each: an unsigned server, a narrowed one, a learned one with a possible rotation, and two that are not kept.
fn lived(directory: &TempDir) -> Learned {
    let learned = again(directory);
    let mut life = Life::new();
    life.play(&learned, "AAA BBBBBBBBBBB G U T X C");
    learned.observe(&id("unsigned \"quoted\" größe"), Sent::Unsigned, NOW);
    Push::signed(&SigningKey::generate(), 7).observed_by(&learned, "narrowed", NOW + 100);
    learned.observe(&id("control\u{7}"), Sent::Unsigned, NOW);
    learned
}

#[test]
fn what_was_learned_reads_back_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let learned = lived(&directory);
    assert!(learned.save().unwrap());
    let read = again(&directory);
    assert_eq!(words(&read), words(&learned));
    assert_eq!(format!("{:#?}", Learned::read(directory.path()).unwrap()), words(&learned));
    assert_eq!(names(&directory), [FILE_NAME]);
}

#[test]
fn learning_goes_on_after_a_restart_where_it_stopped() {
    let directory = tempfile::tempdir().unwrap();
    let mut life = Life::new();
    let expected = [("A", "new+key_narrowed"), ("A", "key_learned"), ("A", ""), ("B", "possible_spoof")];
    for (step, word) in expected {
        let learned = again(&directory);
        assert_eq!(life.play(&learned, step), [word]);
        assert!(learned.save().unwrap());
    }
    for _ in 0..9 {
        let learned = again(&directory);
        life.play(&learned, "B");
        learned.save().unwrap();
    }
    let report = report_of(&again(&directory));
    assert_eq!(report.rotation.unwrap().key, life.key('B'));
    assert!(matches!(report.key, KeyStanding::Learned { key, signatures: 3, .. } if key == life.key('A')));
}

#[test]
fn only_what_has_changed_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let learned = again(&directory);
    assert!(!learned.save().unwrap(), "nothing yet");
    assert!(names(&directory).is_empty());
    learned.observe(&id(ID), Sent::Unsigned, NOW);
    assert!(learned.save().unwrap());
    assert!(!learned.save().unwrap());
    learned.observe(&id(ID), Sent::Unsigned, NOW);
    assert!(learned.save().unwrap());
    assert_eq!(report_of(&again(&directory)).pushes, 2);
    assert!(learned.forget(&id(ID)));
    assert!(learned.save().unwrap());
    assert!(again(&directory).report().servers.is_empty());
}

#[test]
fn the_file_is_its_owners_alone_and_names_no_device_and_no_push() {
    let directory = tempfile::tempdir().unwrap();
    lived(&directory).save().unwrap();
    assert_eq!(fs::metadata(file(&directory)).unwrap().permissions().mode() & 0o777, 0o600);
    let text = fs::read_to_string(file(&directory)).unwrap();
    assert!(text.contains("narrowed"), "{text}");
    let jws = Push::signed(&SigningKey::generate(), 7).jws;
    let claims = jws.split('.').nth(1).unwrap();
    for secret in ["canary", "ack-7", claims, &STANDARD.encode("canary-device-token")] {
        assert!(!text.contains(secret), "{secret}");
    }
}

#[test]
fn a_process_killed_while_it_saved_has_lost_no_more_than_that_save() {
    let directory = tempfile::tempdir().unwrap();
    let learned = lived(&directory);
    learned.save().unwrap();
    let complete = fs::read(file(&directory)).unwrap();
    let temporary = directory.path().join("learned.json.tmp");
    for length in [0, 1, complete.len() / 2, complete.len()] {
        // As it is left: written in part, not renamed.
        fs::write(&temporary, &complete[..length]).unwrap();
        fs::set_permissions(&temporary, fs::Permissions::from_mode(0o644)).unwrap();
        let read = again(&directory);
        assert_eq!(words(&read), words(&learned), "{length} bytes");
        read.observe(&id(ID), Sent::Unsigned, NOW + 1_000);
        assert!(read.save().unwrap());
        assert_eq!(names(&directory), [FILE_NAME], "{length} bytes");
        assert_eq!(fs::metadata(file(&directory)).unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(file(&directory), &complete).unwrap();
    }
}

#[test]
fn a_save_that_fails_says_where_and_is_made_up_for() {
    let directory = tempfile::tempdir().unwrap();
    let inner = directory.path().join("data");
    let learned = Learned::load(&inner, Limits::default()).unwrap();
    learned.observe(&id(ID), Sent::Unsigned, NOW);
    let error = learned.save().unwrap_err();
    assert_eq!(error.path, inner.join("learned.json.tmp"));
    assert!(error.to_string().contains("data/learned.json.tmp cannot be written"), "{error}");
    fs::create_dir(&inner).unwrap();
    assert!(learned.save().unwrap(), "still to be saved");
}

/// A file like those that are written, to be spoilt.
fn sound() -> Value {
    let key = || SigningKey::generate().public_base64();
    json!({"version": 1, "beyond_bound": 0, "unusable_ids": 0, "servers": [
        {"id": "a", "first_seen": 1, "last_seen": 2, "pushes": 3, "unsigned": 0, "unsigned_tests": 0, "unusable": 0,
            "mismatches": 1, "last_mismatch": 2, "learned": {"key": key(), "signatures": 2, "last_seen": 2},
            "suspects": [{"candidates": [key(), key()], "signatures": 1, "in_a_row": 1, "first_seen": 2,
                "last_seen": 2}]},
        {"id": "b", "first_seen": 1, "last_seen": 2, "pushes": 3, "unsigned": 3, "unsigned_tests": 0, "unusable": 0,
            "mismatches": 0, "last_mismatch": null, "learned": null, "suspects": []},
    ]})
}

fn spoilt(pointer: &str, value: Value) -> Vec<u8> {
    let mut document = sound();
    *document.pointer_mut(pointer).unwrap() = value;
    document.to_string().into_bytes()
}

#[test]
fn a_damaged_file_is_refused_and_kept_under_another_name() {
    let key = SigningKey::generate().public_base64();
    let whole = sound().to_string().into_bytes();
    let mut unknown = sound();
    unknown["servers"][0]["trusted"] = json!(true);
    let suspect = sound()["servers"][0]["suspects"][0].clone();
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("empty", Vec::new(), "EOF"),
        ("cut off", whole[..whole.len() / 2].to_vec(), "EOF"),
        ("zeros, as after a power cut", vec![0; 100], "expected value"),
        ("more behind it", [&whole[..], b"{}"].concat(), "trailing"),
        ("not an object", b"[]".to_vec(), "invalid length"),
        ("no version", b"{}".to_vec(), "version"),
        ("version 0", spoilt("/version", json!(0)), "its version is 0"),
        ("an unknown field", unknown.to_string().into_bytes(), "trusted"),
        ("a counter below zero", spoilt("/servers/0/pushes", json!(-1)), "-1"),
        ("an empty id", spoilt("/servers/0/id", json!("")), "is no server id"),
        ("an id with a control character", spoilt("/servers/0/id", json!("a\u{1b}")), "is no server id"),
        ("an id twice", spoilt("/servers/0/id", json!("b")), "is there twice"),
        ("a learned key that is none", spoilt("/servers/0/learned/key", json!("AAAA")), "learned key"),
        ("too many suspects", spoilt("/servers/0/suspects", json!(vec![suspect; 4])), "too many suspects"),
        ("no candidates", spoilt("/servers/0/suspects/0/candidates", json!([])), "candidates"),
        ("too many candidates", spoilt("/servers/0/suspects/0/candidates", json!(vec![key; 5])), "candidates"),
        ("a short candidate", spoilt("/servers/0/suspects/0/candidates/0", json!("AAAA")), "candidates"),
    ];
    let directory = tempfile::tempdir().unwrap();
    fs::write(file(&directory), &whole).unwrap();
    assert_eq!(again(&directory).report().servers.len(), 2, "unspoilt, it is read");
    for (number, (name, bytes, expected)) in cases.into_iter().enumerate() {
        fs::write(file(&directory), &bytes).unwrap();
        let error = Learned::read(directory.path()).unwrap_err();
        assert!(matches!(error, LoadError::Damaged { .. }), "{name}: {error}");
        assert!(file(&directory).exists(), "{name}: whoever only looks leaves it");
        let error = Learned::load(directory.path(), Limits::default()).unwrap_err();
        let aside = directory.path().join(format!("learned.json.damaged-{}", number + 1));
        assert!(error.to_string().contains(expected), "{name}: {error}");
        assert!(error.to_string().contains(aside.to_str().unwrap()), "{name}: {error}");
        assert_eq!(fs::read(aside).unwrap(), bytes, "{name}");
        assert!(!file(&directory).exists(), "{name}");
        assert!(again(&directory).report().servers.is_empty(), "{name}: the next start begins anew");
    }
}

#[test]
fn the_file_of_a_later_release_is_refused_and_left_in_its_place() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(file(&directory), json!({"version": 2, "anything": []}).to_string()).unwrap();
    let error = Learned::load(directory.path(), Limits::default()).unwrap_err();
    assert!(matches!(error, LoadError::Newer { version: 2, .. }), "{error}");
    assert_eq!(names(&directory), [FILE_NAME]);
}

#[test]
fn a_file_that_cannot_be_read_is_no_empty_one() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(file(&directory)).unwrap();
    let error = Learned::load(directory.path(), Limits::default()).unwrap_err();
    assert!(matches!(error, LoadError::Unreadable { .. }), "{error}");
}

#[test]
fn more_servers_than_the_bound_are_kept_when_the_bound_was_lowered() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(file(&directory), sound().to_string()).unwrap();
    let learned = Learned::load(directory.path(), Limits { max_servers: 1, ..Limits::default() }).unwrap();
    assert_eq!(learned.report().servers.len(), 2);
    assert_eq!(learned.observe(&id("c"), Sent::Unsigned, NOW).server, Some(Event::ServerBeyondBound));
}

proptest! {
    #[test]
    fn no_bytes_in_the_file_make_it_panic_or_pass(bytes in proptest::collection::vec(any::<u8>(), 0..200), at in 0..500_usize) {
        let directory = tempfile::tempdir().unwrap();
        fs::write(file(&directory), &bytes).unwrap();
        prop_assert!(Learned::load(directory.path(), Limits::default()).is_err());
        // A sound one with a few bytes replaced may still be one; it must not panic.
        let mut document = sound().to_string().into_bytes();
        for (offset, byte) in bytes.iter().take(3).enumerate() {
            document[at + offset] = *byte;
        }
        fs::write(file(&directory), &document).unwrap();
        let _ = Learned::load(directory.path(), Limits::default());
    }
}
