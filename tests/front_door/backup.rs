//! `pushrelay backup` and `pushrelay restore` with the real binary.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use pushrelay::admission::signing::SigningKey;
use pushrelay::simulator::{Fault, Provider};
use serde_json::{Value, json};
use tar::{EntryType, Header};

use crate::queue_command::{Ran, run, run_with, stage};
use crate::support::Push;
use crate::support::process::{Process, Stage};
use crate::support::push::apple_token;

/// The longest wait for what should be there at once.
const PATIENCE: Duration = Duration::from_secs(30);

/// The files that a person brings to the new machine.
const KEYS: [&str; 2] = ["AuthKey.p8", "service-account.json"];

fn backup(stage: &Stage, file: &str, arguments: &[&str]) -> Ran {
    run(stage.folder.path(), &[&["backup", file, "--config", "pushrelay.toml"], arguments].concat())
}

fn restore(stage: &Stage, file: &str, arguments: &[&str]) -> Ran {
    run(stage.folder.path(), &[&["restore", file], arguments].concat())
}

fn passphrase(stage: &Stage, name: &str, text: &str) {
    fs::write(stage.folder.path().join(name), text).unwrap();
}

fn apple_is_down(stage: &Stage) {
    stage.simulator.faults().add(Fault::answer(503, "ServiceUnavailable").on(Provider::Apns)).unwrap();
}

/// The relay dies with pushes on its disk.
async fn die_with_pushes(stage: &Stage, count: u32) {
    let mut relay = stage.serve();
    let address = relay.address();
    apple_is_down(stage);
    for number in 1..=count {
        stage.post(address, &Push::apple(&apple_token(number))).await.unwrap().expect_ok();
    }
    relay.signal("KILL");
    relay.wait();
}

/// Nobody has to wait for the pauses that an outage has left.
fn make_due(folder: &Path) {
    run(folder, &["queue", "retry", "--target", "apple_rn", "--data-dir", "data"]).well();
}

async fn delivered(stage: &Stage, count: u64) -> BTreeSet<String> {
    tokio::time::timeout(PATIENCE, stage.simulator.ledger().wait_for(count)).await.unwrap();
    let accepted = stage.simulator.ledger().accepted();
    let tokens: BTreeSet<_> = accepted.iter().map(|push| push.device_token.clone()).collect();
    assert_eq!((accepted.len() as u64, tokens.len() as u64), (count, count), "each is delivered once");
    tokens
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_queued_when_a_backup_was_made_under_load_is_delivered_by_a_relay_that_was_restored_elsewhere() {
    const BEFORE: u32 = 12;
    let stage = stage().await;
    let folder = stage.folder.path();
    let mut relay = stage.serve();
    let address = relay.address();
    apple_is_down(&stage);
    for number in 1..=BEFORE {
        stage.post(address, &Push::apple(&apple_token(number))).await.unwrap().expect_ok();
    }
    // Pushes come in all the while.
    let next = AtomicU32::new(BEFORE);
    let (done, mut is_done) = tokio::sync::watch::channel(false);
    let load = async {
        while !*is_done.borrow_and_update() {
            let number = next.fetch_add(1, Ordering::Relaxed) + 1;
            stage.post(address, &Push::apple(&apple_token(number))).await.unwrap().expect_ok();
        }
    };
    let config = folder.to_owned();
    let made = async {
        // A process of its own, waited for on a thread of its own.
        let thread = std::thread::spawn(move || {
            let made = run(&config, &["backup", "relay.backup", "--config", "pushrelay.toml"]);
            let _ = done.send(true);
            made
        });
        while !thread.is_finished() {
            tokio::task::yield_now().await;
        }
        thread.join().unwrap()
    };
    let ((), made) = tokio::join!(load, made);
    let printed = made.well();
    assert!(printed.contains("Not in it, and needed to serve again:") && printed.contains("AuthKey.p8"), "{printed}");
    relay.signal("KILL");
    relay.wait();

    let about = restore(&stage, "relay.backup", &["--check", "--json"]).json();
    let waiting = about["queue"]["waiting"].as_u64().unwrap();
    let posted = u64::from(next.load(Ordering::Relaxed));
    assert!((u64::from(BEFORE)..=posted).contains(&waiting), "{waiting} of {posted}");

    let printed = restore(&stage, "relay.backup", &["--to", "new/machine"]).well();
    for words in ["put back new/machine/AuthKey.p8", "put back new/machine/service-account.json", "SHA-256 "] {
        assert!(printed.contains(words), "{words:?} is not in {printed}");
    }
    assert!(!printed.contains("ca.pem"), "it is in the backup: {printed}");
    assert!(
        printed.contains(&format!("What waited ({waiting} in the queue) is delivered when the relay starts")),
        "{printed}"
    );
    let new = folder.join("new/machine");
    for key in KEYS {
        fs::copy(folder.join(key), new.join(key)).unwrap();
    }
    stage.simulator.faults().clear();
    make_due(&new);
    let mut relay = Process::start(&["serve", "--config", "pushrelay.toml"], &new);
    let address = relay.address();
    let tokens = delivered(&stage, waiting).await;
    for number in 1..=BEFORE {
        assert!(tokens.contains(&apple_token(number)), "the {number}. was on the disk before the backup began");
    }
    // And it serves.
    stage.post(address, &Push::android("android-1")).await.unwrap().expect_ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sealed_backup_with_keys_needs_nothing_else_to_deliver_and_shows_nothing_to_who_has_no_passphrase() {
    let stage = stage().await;
    let folder = stage.folder.path();
    die_with_pushes(&stage, 2).await;
    passphrase(&stage, "passphrase", "correct horse battery\n");
    passphrase(&stage, "wrong", "correct horse batterz\n");
    passphrase(&stage, "short", "horse\n");

    backup(&stage, "relay.sealed", &["--seal-keys"]).badly(1, "--seal-keys needs a passphrase");
    backup(&stage, "relay.sealed", &["--passphrase-file", "short"]).badly(1, "12 to 1024 bytes");
    let printed = backup(&stage, "relay.sealed", &["--seal-keys", "--passphrase-file", "passphrase"]).well();
    assert!(printed.contains("sealed") && !printed.contains("Not in it"), "{printed}");
    let sealed = fs::read(folder.join("relay.sealed")).unwrap();
    for secret in [&apple_token(1)[..], "canary", "PRIVATE KEY", "manifest", "[[target]]"] {
        assert!(!sealed.windows(secret.len()).any(|window| window == secret.as_bytes()), "{secret:?} can be read");
    }
    let mode = |name: &str| folder.join(name).metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("relay.sealed"), 0o600);

    restore(&stage, "relay.sealed", &["--to", "new"]).badly(1, "is sealed: name its passphrase");
    restore(&stage, "relay.sealed", &["--to", "new", "--passphrase-file", "wrong"]).badly(1, "the passphrase is wrong");
    let mut damaged = sealed.clone();
    for what in ["flipped", "cut", "longer"] {
        damaged.clone_from(&sealed);
        match what {
            "flipped" => damaged[sealed.len() / 2] ^= 1,
            "cut" => damaged.truncate(sealed.len() - 1),
            _ => damaged.push(0),
        }
        fs::write(folder.join(what), &damaged).unwrap();
        let words = "it is damaged, cut short or put together from parts";
        restore(&stage, what, &["--to", "new", "--passphrase-file", "passphrase"]).badly(1, words);
    }
    assert!(!folder.join("new").exists(), "nothing was written");

    let arguments = ["restore", "relay.sealed", "--to", "new"];
    let variables = [("PUSHRELAY_BACKUP_PASSPHRASE", "correct horse battery")];
    let printed = run_with(folder, &arguments, &variables).well();
    assert!(!printed.contains("put back"), "{printed}");
    for file in ["new/AuthKey.p8", "new/data/queue.sqlite3"] {
        assert_eq!(mode(file) & 0o077 & !0o044, 0, "{file}");
    }
    assert_eq!(mode("new/data/queue.sqlite3"), 0o600);
    stage.simulator.faults().clear();
    make_due(&folder.join("new"));
    let mut relay = Process::start(&["serve", "--config", "pushrelay.toml"], &folder.join("new"));
    relay.address();
    delivered(&stage, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_there_is_replaced_only_by_force_and_never_under_a_relay_that_runs() {
    let stage = stage().await;
    let folder = stage.folder.path();
    die_with_pushes(&stage, 3).await;
    fs::create_dir(folder.join("servers.d")).unwrap();
    let key = SigningKey::generate().public_base64();
    fs::write(folder.join("servers.d/other.toml"), format!("id = \"other\"\nkeys = [\"{key}\"]\n")).unwrap();
    backup(&stage, "relay.backup", &["--with-journal"]).well();
    // A slip does not cost the configuration, and an earlier backup is replaced.
    backup(&stage, "pushrelay.toml", &[]).badly(1, "is there already and no backup");
    backup(&stage, "relay.backup", &["--with-journal"]).well();
    assert!(!folder.join("relay.backup.partial").exists() && !folder.join("data/backup.tmp").exists());

    restore(&stage, "relay.backup", &["--to", "."]).badly(1, "pushrelay.toml");
    restore(&stage, "relay.backup", &["--to", "new"]).well();
    restore(&stage, "relay.backup", &["--to", "new"]).badly(1, "--force replaces");
    let there = fs::read_to_string(folder.join("new/servers.d/other.toml")).unwrap();
    assert!(there.contains("other"));
    for key in KEYS {
        fs::copy(folder.join(key), folder.join("new").join(key)).unwrap();
    }
    // It would come back if anything were written.
    fs::remove_file(folder.join("new/servers.d/other.toml")).unwrap();
    let mut relay = Process::start(&["serve", "--config", "pushrelay.toml"], &folder.join("new"));
    relay.address();
    restore(&stage, "relay.backup", &["--to", "new", "--force"]).badly(1, "stop the relay first");
    assert!(!folder.join("new/servers.d/other.toml").exists(), "nothing was written");
    relay.signal("KILL");
    relay.wait();
    // The killed relay has left a write-ahead log, which is not read into the old queue.
    restore(&stage, "relay.backup", &["--to", "new", "--force"]).well();
    let arguments = ["queue", "list", "--json", "--data-dir", "new/data"];
    assert_eq!(run(folder, &arguments).json().as_array().unwrap().len(), 3);

    // One that is left where it is keeps its write-ahead log.
    let mut relay = Process::start(&["serve", "--config", "pushrelay.toml"], &folder.join("new"));
    let address = relay.address();
    stage.post(address, &Push::apple(&apple_token(4))).await.unwrap().expect_ok();
    relay.signal("KILL");
    relay.wait();
    restore(&stage, "relay.backup", &["--to", "new", "--force", "--without-queue"]).well();
    assert_eq!(run(folder, &arguments).json().as_array().unwrap().len(), 4);

    let printed = restore(&stage, "relay.backup", &["--to", "empty", "--without-queue"]).well();
    assert!(!printed.contains("What waited"), "{printed}");
    assert!(!folder.join("empty/data/queue.sqlite3").exists() && folder.join("empty/data/journal").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn state_that_was_elsewhere_is_restored_where_the_operator_says_and_nowhere_else() {
    let stage = stage().await;
    let folder = stage.folder.path();
    let elsewhere = tempfile::tempdir().unwrap();
    let file = folder.join("pushrelay.toml");
    let authority = elsewhere.path().join("ca.pem");
    fs::rename(folder.join("ca.pem"), &authority).unwrap();
    let text = fs::read_to_string(&file).unwrap();
    let text = text.replace("data_dir = \"data\"", &format!("data_dir = \"{}\"", elsewhere.path().display()));
    let text = text.replace("\"ca.pem\"", &format!("\"{}\"", authority.display()));
    fs::write(&file, text).unwrap();
    die_with_pushes(&stage, 1).await;
    backup(&stage, "relay.backup", &[]).well();
    let has_queue = |directory: &Path| directory.join("queue.sqlite3").exists();
    fs::remove_file(elsewhere.path().join("queue.sqlite3")).unwrap();

    restore(&stage, "relay.backup", &["--to", "new"]).badly(1, "say --data-dir");
    assert!(!folder.join("new").exists());
    let printed = restore(&stage, "relay.backup", &["--to", "new", "--data-dir", "new/state"]).well();
    assert!(printed.contains("it was restored into new/state: set data_dir"), "{printed}");
    assert!(has_queue(&folder.join("new/state")) && !has_queue(elsewhere.path()));
    let outside = folder.join("new/outside").join(authority.strip_prefix("/").unwrap());
    assert!(outside.exists() && printed.contains(&format!("to {}, where it was", authority.display())), "{printed}");

    // A link in the way is not followed, not even by state that belongs beside the configuration.
    fs::create_dir(folder.join("trap")).unwrap();
    symlink(elsewhere.path(), folder.join("trap/outside")).unwrap();
    restore(&stage, "relay.backup", &["--to", "trap", "--data-dir", "state"]).badly(1, "is a link or no directory");
    assert!(!folder.join("trap/pushrelay.toml").exists() && !folder.join("state").exists());
}

/// A tar archive of these entries: name, type, what a link leads to, content.
fn archive(entries: &[(&str, EntryType, &str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, kind, link, content) in entries {
        let mut header = Header::new_ustar();
        // As no tar of good will writes it.
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_size(content.len() as u64);
        header.set_entry_type(*kind);
        header.set_mode(0o777);
        header.set_cksum();
        builder.append(&header, *content).unwrap();
    }
    builder.into_inner().unwrap()
}

/// A backup whose manifest lists these names, and whose archive has these entries behind it.
fn forged(names: &[&str], entries: &[(&str, EntryType, &str, &[u8])], change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let member = |name: &&str| {
        let sha256 = pushrelay::backup::hash(b"evil");
        json!({ "name": name, "bytes": 4, "sha256": sha256, "mode": 0o777 })
    };
    let mut manifest = json!({
        "format": 1, "pushrelay": "0.1.0", "made_at": "2027-01-15T08:00:00Z", "configuration": null, "data_dir": null,
        "queue": null, "files": names.iter().map(member).collect::<Vec<_>>(), "named": [], "variables": [],
    });
    change(&mut manifest);
    let text = manifest.to_string();
    let checksum = format!("{}  manifest.json\n", pushrelay::backup::hash(text.as_bytes()));
    let mut all = vec![
        ("manifest.json", EntryType::Regular, "", text.as_bytes()),
        ("manifest.json.sha256", EntryType::Regular, "", checksum.as_bytes()),
    ];
    all.extend_from_slice(entries);
    archive(&all)
}

#[test]
fn a_backup_from_a_stranger_writes_nothing_where_it_should_not() {
    const FILE: EntryType = EntryType::Regular;
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let good = ("config/a", FILE, "", &b"evil"[..]);
    let as_is = |_: &mut Value| {};
    let mut cases: Vec<(&str, Vec<u8>, &str)> = Vec::new();
    for name in
        ["config/../../evil", "/evil", "config//evil", "../evil", "data/../evil", "data/cron", "evil", "outside/../x"]
    {
        cases.push((
            name,
            forged(&[name], &[(name, FILE, "", b"evil")], as_is),
            "is not a name that a backup may hold",
        ));
        cases.push((
            name,
            forged(&["config/a"], &[(name, FILE, "", b"evil")], as_is),
            "stands where \"config/a\" should",
        ));
    }
    for (what, kind) in [
        ("a symbolic link", EntryType::Symlink),
        ("a hard link", EntryType::Link),
        ("a directory", EntryType::Directory),
        ("a device", EntryType::Char),
        ("a pipe", EntryType::Fifo),
        ("a long name", EntryType::GNULongName),
        ("an extension", EntryType::XHeader),
    ] {
        let link = ("config/a", kind, "/etc", &b"evil"[..]);
        cases.push((what, forged(&["config/a"], &[link], as_is), "is not a regular file"));
    }
    cases.extend([
        ("other content", forged(&["config/a"], &[("config/a", FILE, "", b"good")], as_is), "is not what was written"),
        ("a longer file", forged(&["config/a"], &[("config/a", FILE, "", b"evil!")], as_is), "larger than it may be"),
        ("a missing file", forged(&["config/a"], &[], as_is), "it ends before config/a"),
        ("one file more", forged(&["config/a"], &[good, ("config/b", FILE, "", b"evil")], as_is), "more than it says"),
        ("a file twice", forged(&["config/a", "config/a"], &[good, good], as_is), "is in it twice"),
        (
            "a file in a file",
            forged(&["config/a", "config/a/b"], &[good, ("config/a/b", FILE, "", b"evil")], as_is),
            "belong to",
        ),
        (
            "one place for two",
            forged(
                &["outside/a", "config/outside/a"],
                &[("outside/a", FILE, "", b"evil"), ("config/outside/a", FILE, "", b"evil")],
                as_is,
            ),
            "two files of the backup belong to",
        ),
        ("a state elsewhere", forged(&[], &[], |m| m["data_dir"] = json!({ "beside": "../x" })), "is not a name"),
        ("a later format", forged(&[], &[], |m| m["format"] = 2.into()), "a later release"),
        ("no configuration", forged(&[], &[], |m| m["configuration"] = "config/b".into()), "is not in it"),
        (
            "an unproven manifest",
            archive(&[("manifest.json", FILE, "", b"{}"), ("manifest.json.sha256", FILE, "", b"00")]),
            "not what was written",
        ),
        ("another tar", archive(&[("config/a", FILE, "", b"evil")]), "is not a backup of pushrelay"),
        ("nothing", Vec::new(), "is not a backup of pushrelay"),
    ]);
    fs::create_dir(folder.join("in")).unwrap();
    for (what, content, words) in cases {
        fs::write(folder.join("in/relay.backup"), content).unwrap();
        for arguments in [&["--to", "to"][..], &["--to", "to", "--force"]] {
            let ran = run(&folder.join("in"), &[&["restore", "relay.backup"], arguments].concat());
            assert!(ran.code == Some(1) && ran.err.contains(words), "{what}: {}{}", ran.out, ran.err);
        }
        let left: Vec<_> = fs::read_dir(folder.join("in")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["relay.backup"], "{what}: something was written");
        assert_eq!(fs::read_dir(folder).unwrap().count(), 1, "{what}: something was written outside");
    }
    // The same, without a fault.
    fs::write(folder.join("in/relay.backup"), forged(&["config/a"], &[good], as_is)).unwrap();
    run(&folder.join("in"), &["restore", "relay.backup", "--to", "to"]).well();
    let a = folder.join("in/to/a");
    assert_eq!((fs::read(&a).unwrap(), a.metadata().unwrap().permissions().mode() & 0o777), (b"evil".to_vec(), 0o644));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clear_backup_with_a_flipped_bit_or_an_early_end_is_refused_or_means_the_same() {
    let stage = stage().await;
    let folder = stage.folder.path();
    die_with_pushes(&stage, 1).await;
    backup(&stage, "relay.backup", &[]).well();
    let good = fs::read(folder.join("relay.backup")).unwrap();
    let everything = |directory: &str| {
        let read = |name: &str| fs::read(folder.join(directory).join(name)).unwrap();
        ["pushrelay.toml", "ca.pem", "data/queue.sqlite3"].map(read)
    };
    restore(&stage, "relay.backup", &["--to", "good"]).well();
    let wanted = everything("good");
    let mut refused = 0;
    for number in 0..24 {
        let mut bad = good.clone();
        bad[number * good.len() / 24 + 100] ^= 0x10;
        fs::write(folder.join("bad"), bad).unwrap();
        let to = format!("bad-{number}");
        match restore(&stage, "bad", &["--to", &to]).code {
            Some(0) => assert_eq!(everything(&to), wanted, "{number}"),
            code => {
                assert_eq!((code, folder.join(&to).exists()), (Some(1), false), "{number}");
                refused += 1;
            }
        }
    }
    assert!(refused > 16, "{refused}");
    for length in [0, 1, 511, 512, good.len() / 2, good.len() - 1_024 - 512] {
        fs::write(folder.join("bad"), &good[..length]).unwrap();
        let ran = restore(&stage, "bad", &["--to", "cut"]);
        assert!(ran.code == Some(1) && !folder.join("cut").exists(), "{length}: {}{}", ran.out, ran.err);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_goes_through_a_pipe_and_a_configuration_that_is_wrong_is_exit_code_78() {
    let stage = stage().await;
    let folder = stage.folder.path();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_pushrelay"))
        .args(["backup", "-", "--config", "pushrelay.toml"])
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(output.status.success() && String::from_utf8(output.stderr).unwrap().contains("There is no queue."));
    fs::write(folder.join("piped"), output.stdout).unwrap();
    let told = restore(&stage, "piped", &["--check"]).well();
    assert!(told.contains("piped is whole") && told.contains("no queue"), "{told}");

    fs::write(folder.join("wrong.toml"), "listen = [").unwrap();
    run(folder, &["backup", "other", "--config", "wrong.toml"]).badly(78, "wrong.toml");
    run(folder, &["backup", "other"]).badly(1, "it is not known what to back up");
    run(folder, &["restore", "piped"]).badly(2, "--to");
    fs::remove_file(folder.join("ca.pem")).unwrap();
    backup(&stage, "other", &[]).badly(1, "ca.pem cannot be read");
    assert!(!folder.join("other").exists() && !folder.join("other.partial").exists());
}
