//! A disk that is full, and a file that is damaged.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use pushrelay::clock::Clock;
use pushrelay::queue::inspect::Inspector;
use rustix::process::{Pid, Resource, Rlimit, prlimit};

use crate::killed::retry_all;
use crate::operators::copy_the_first;
use crate::stand::{PATIENCE, Stand, outage};
use crate::support::process::Stage;
use crate::support::push::apple_token;
use crate::support::{Plan, Push};

#[tokio::test(flavor = "multi_thread")]
async fn what_finds_no_room_on_disk_is_not_acknowledged_and_there_is_room_again_when_the_outage_is_over() {
    let stand = Stand::planned(Plan {
        tables: "[breaker]\nfailures = 1".into(),
        // As a disk of this size.
        settings: Some(Box::new(|settings| settings.queue.as_mut().unwrap().settings.max_bytes = Some(256 * 1_024))),
        ..Plan::default()
    })
    .await;
    for fault in outage() {
        stand.fault(fault);
    }
    let (mut taken, mut refused) = (Vec::new(), 0);
    for phone in 0..400 {
        let push = Push::apple(&apple_token(phone));
        let answer = stand.pass_until(stand.post(&push)).await;
        if answer.status == "OK" {
            taken.push(push);
        } else {
            answer.expect_fail(200, "APNs");
            refused += 1;
        }
    }
    assert!(taken.len() > 50 && refused > 50, "{} were taken, {refused} were not", taken.len());
    assert_eq!(stand.waiting("apple_rn").await, taken.len() as u64);
    stand.expect_metric(r#"pushrelay_queue_failures_total{operation="enqueue"}"#, f64::from(refused)).await;
    assert_eq!(stand.get("/healthz").await.0, 200);

    stand.mend();
    stand.pass_until_nothing_waits().await;
    let arrived = stand.arrived();
    assert!(taken.iter().all(|push| arrived.get(push.text("ack_id")) == Some(&1)), "what was taken arrives once");
    assert_eq!(arrived.len(), taken.len(), "what was not taken does not");
    // There is room.
    for fault in outage() {
        stand.fault(fault);
    }
    let late = Push::apple(&apple_token(1_000));
    stand.pass_until(stand.post(&late)).await.expect_ok();
    stand.mend();
    stand.pass_until_nothing_waits().await;
    assert!(stand.arrived().contains_key(late.text("ack_id")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_is_full_by_count_refuses_and_names_its_bound() {
    let stage = Stage::set("[queue]\nmax_entries = 1000\n[breaker]\nfailures = 1\nfirst_pause = \"1m\"\n").await;
    let data = with_a_data_dir(&stage);
    for fault in outage() {
        stage.simulator.faults().add(fault).unwrap();
    }
    let mut relay = stage.serve();
    let address = relay.address();
    let post = async |phone| stage.post(address, &Push::apple(&apple_token(phone))).await.unwrap();
    post(1).await.expect_ok();
    // One server alone does not fill it; as many as there are places do.
    copy_the_first(&data, 998, "'other-' || n");
    post(2).await.expect_ok();
    post(3).await.expect_fail(200, "APNs");
    let line = relay.wait_for("could not do its work");
    assert!(line.contains("the queue holds its 1000 entries"), "{line}");
    for phone in 4..30 {
        let answer = post(phone).await;
        answer.expect_fail(200, "APNs");
        answer.expect_fail(200, "queue is full");
    }
    relay.signal("TERM");
    let (status, output) = relay.end();
    assert_eq!(status.code(), Some(0), "{output}");
    assert_eq!(output.matches(r#""reason":"queue_full""#).count(), 27, "{output}");
    assert_eq!(output.matches("could not do its work").count(), 1, "one line a minute: {output}");
}

/// A real process may be told by the system that its files must not grow, and later that they may.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_whose_disk_takes_no_more_stays_up_says_so_and_goes_on_when_there_is_room() {
    let stage = Stage::set(
        "[log]\nfile = \"relay.log\"\n[breaker]\nfailures = 1\nfirst_pause = \"100ms\"\nlongest_pause = \"1s\"\n",
    )
    .await;
    let data = with_a_data_dir(&stage);
    for fault in outage() {
        stage.simulator.faults().add(fault).unwrap();
    }
    // A full disk has no signal; the limit has one (SIGXFSZ), which must not end the process.
    let mut relay = stage.serve();
    let address = relay.address();
    let post = async |phone| stage.post(address, &Push::apple(&apple_token(phone))).await.unwrap();
    post(1).await.expect_ok();
    let limit = |bytes| {
        let pid = Pid::from_raw(i32::try_from(relay.id()).unwrap());
        prlimit(pid, Resource::Fsize, Rlimit { current: bytes, maximum: None }).unwrap();
    };
    limit(Some(1));
    post(2).await.expect_fail(200, "APNs");
    post(3).await.expect_fail(200, "APNs");
    limit(None);
    post(4).await.expect_ok();
    stage.simulator.faults().clear();
    // Those that were probes have back-offs of real time, which an operator can cut short.
    let arrived = async {
        while stage.simulator.ledger().counts().accepted < 2 {
            retry_all(&data);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        stage.simulator.ledger().accepted()
    };
    let arrived = tokio::time::timeout(PATIENCE, arrived).await.unwrap();
    let mut phones: Vec<_> = arrived.iter().map(|push| push.device_token.clone()).collect();
    phones.sort();
    assert_eq!(phones, [apple_token(1), apple_token(4)]);
    let line = relay.wait_for("could not do its work");
    assert!(line.contains(r#""level":"error""#), "{line}");
    relay.signal("TERM");
    let (status, output) = relay.end();
    assert_eq!(status.code(), Some(0), "{output}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_queue_is_an_error_at_start_unless_the_relay_may_run_without_one() {
    let stage = Stage::set("").await;
    with_a_data_dir(&stage);
    let file = stage.folder.path().join("data/queue.sqlite3");
    // Whole, so that what follows is the damage's doing.
    let mut relay = stage.serve();
    relay.address();
    relay.signal("TERM");
    assert!(relay.end().0.success());
    for damage in [damaged_head as fn(&mut [u8]), damaged_middle] {
        let mut bytes = fs::read(&file).unwrap();
        let whole = bytes.clone();
        damage(&mut bytes);
        fs::write(&file, &bytes).unwrap();
        let (status, output) = stage.serve().end();
        assert_eq!(status.code(), Some(78), "{output}");
        assert!(output.contains("queue.sqlite3 is damaged") && output.contains("when_unusable"), "{output}");
        assert!(output.contains(r#""msg":"not started""#), "{output}");
        assert_eq!(fs::read(&file).unwrap(), bytes, "it is left as it was found");
        fs::write(&file, whole).unwrap();
    }

    let mut bytes = fs::read(&file).unwrap();
    damaged_head(&mut bytes);
    fs::write(&file, &bytes).unwrap();
    let config = stage.folder.path().join("pushrelay.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, format!("{text}\n[queue]\nwhen_unusable = \"continue\"\n")).unwrap();
    let mut relay = stage.serve();
    let line = relay.wait_for("the relay runs without it");
    assert!(line.contains(r#""level":"error""#) && line.contains("damaged"), "{line}");
    let address = relay.address();
    stage.post(address, &Push::apple(&apple_token(1))).await.unwrap().expect_ok();
    for fault in outage() {
        stage.simulator.faults().add(fault).unwrap();
    }
    stage.post(address, &Push::apple(&apple_token(2))).await.unwrap().expect_fail(200, "APNs");
}

/// What a full push of such a stage waits as, while the providers are away.
const ONE_TRY: &str = "[breaker]\nfailures = 1\nfirst_pause = \"1m\"\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_relays_files_that_are_not_all_there_are_an_error_at_start_and_the_mark_is_what_accepts_the_loss() {
    let stage = Stage::set(ONE_TRY).await;
    let data = with_a_data_dir(&stage);
    for fault in outage() {
        stage.simulator.faults().add(fault).unwrap();
    }
    let mut relay = stage.serve();
    let address = relay.address();
    for phone in 1..=30 {
        stage.post(address, &Push::apple(&apple_token(phone))).await.unwrap().expect_ok();
    }
    relay.signal("KILL");
    relay.end();
    let names = ["queue.sqlite3", "queue.sqlite3-wal", "queue.mark"];
    let whole = names.map(|name| fs::read(data.join(name)).unwrap());
    let [file, log, mark] = names.map(|name| data.join(name));
    let flip = |path: &PathBuf| {
        let mut bytes = fs::read(path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(path, bytes).unwrap();
    };
    let damages: [(&str, &dyn Fn()); 5] = [
        ("an empty file", &|| fs::write(&file, "").unwrap()),
        ("no file", &|| fs::remove_file(&file).unwrap()),
        ("no log", &|| fs::remove_file(&log).unwrap()),
        ("an empty log", &|| fs::write(&log, "").unwrap()),
        ("a bit of the log", &|| flip(&log)),
    ];
    for (what, damage) in damages {
        damage();
        let (status, output) = stage.serve().end();
        assert_eq!(status.code(), Some(78), "{what}: {output}");
        assert!(output.contains("queue.mark") && output.contains("when_unusable"), "{what}: {output}");
        for (name, bytes) in names.iter().zip(&whole) {
            fs::write(data.join(name), bytes).unwrap();
        }
    }

    // Looked at beside, which must not look like a loss; then whole.
    assert_eq!(waiting_in(&data), 30);
    let mut relay = stage.serve();
    relay.address();
    relay.signal("KILL");
    relay.end();
    assert_eq!(waiting_in(&data), 30);

    fs::remove_file(&log).unwrap();
    fs::remove_file(&mark).unwrap();
    let mut relay = stage.serve();
    relay.address();
    relay.signal("TERM");
    let (status, output) = relay.end();
    assert_eq!(status.code(), Some(0), "{output}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_removed_under_a_running_relay_takes_nothing_more_and_what_it_has_is_still_sent() {
    for names in [&["queue.sqlite3"][..], &["queue.sqlite3-wal"], &["."]] {
        let stage = Stage::set("[breaker]\nfailures = 1\nfirst_pause = \"100ms\"\nlongest_pause = \"1s\"\n").await;
        let data = with_a_data_dir(&stage);
        for fault in outage() {
            stage.simulator.faults().add(fault).unwrap();
        }
        let mut relay = stage.serve();
        let address = relay.address();
        let post = async |phone| stage.post(address, &Push::apple(&apple_token(phone))).await.unwrap();
        post(1).await.expect_ok();
        for name in names {
            if *name == "." { fs::remove_dir_all(&data).unwrap() } else { fs::remove_file(data.join(name)).unwrap() }
        }
        let line = relay.wait_for("the queue on disk is gone");
        assert!(line.contains(r#""level":"error""#) && line.contains("was removed or replaced"), "{line}");
        for phone in 2..20 {
            post(phone).await.expect_fail(200, "APNs");
        }
        stage.simulator.faults().clear();
        let arrives = async {
            while stage.simulator.ledger().counts().accepted < 1 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, arrives).await.expect("what waited is read from the open file");
        relay.signal("TERM");
        relay.end();
    }
}

/// A file system of its own, gone with the test.
struct Tmpfs(PathBuf);

impl Tmpfs {
    fn mount(at: &Path, options: &str) -> Self {
        fs::create_dir_all(at).unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(at).status();
        assert!(
            mounted.is_ok_and(|status| status.success()),
            "this test mounts a small tmpfs: run it as root, with CAP_SYS_ADMIN"
        );
        Self(at.to_owned())
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_full_file_system_nothing_new_is_kept_and_what_waits_is_delivered_once() {
    let stage = Stage::set("[breaker]\nfailures = 1\nfirst_pause = \"100ms\"\nlongest_pause = \"1s\"\n").await;
    let data = with_a_data_dir(&stage);
    let _disk = Tmpfs::mount(&data, "size=24m");
    for fault in outage() {
        stage.simulator.faults().add(fault).unwrap();
    }
    let mut relay = stage.serve();
    let address = relay.address();
    let post = async |phone| stage.post(address, &Push::apple(&apple_token(phone))).await.unwrap();
    for phone in 1..=150 {
        post(phone).await.expect_ok();
    }
    // Something else fills the disk to its last byte.
    let mut filler = fs::File::create(data.join("filler")).unwrap();
    while filler.write_all(&[1; 4_096]).is_ok() {}
    let mut refused = 0;
    for phone in 1_000..3_000 {
        let answer = post(phone).await;
        if answer.status != "OK" {
            answer.expect_fail(200, "no room on its disk");
            refused += 1;
        }
        if refused == 10 {
            break;
        }
    }
    assert_eq!(refused, 10, "a full disk keeps nothing new");
    let waited = waiting_in(&data);
    assert!(waited >= 150, "{waited}");
    stage.simulator.faults().clear();
    let all = async {
        while waiting_in(&data) > 0 {
            retry_all(&data);
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::time::timeout(PATIENCE, all).await.expect("what waits leaves the disk");
    assert_eq!(stage.simulator.ledger().counts().accepted, waited, "each once");
    relay.signal("TERM");
    let (status, output) = relay.end();
    assert_eq!(status.code(), Some(0), "{output}");
}

fn waiting_in(data: &Path) -> u64 {
    let inspector = Inspector::open(data, Clock::System).unwrap();
    inspector.stats().unwrap().iter().map(|own| own.waiting).sum()
}

fn damaged_head(bytes: &mut [u8]) {
    bytes[..100].fill(b'x');
}

fn damaged_middle(bytes: &mut [u8]) {
    let middle = bytes.len() / 2;
    bytes[middle - 3_000..middle + 3_000].fill(0xff);
}

/// Gives the stage's relay a directory to keep things in.
pub fn with_a_data_dir(stage: &Stage) -> PathBuf {
    let config = stage.folder.path().join("pushrelay.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(config, format!("data_dir = \"data\"\n{text}")).unwrap();
    stage.folder.path().join("data")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_sent_is_kept_again_when_its_full_file_system_has_room_and_what_was_kept_before_stays() {
    // A relay that is started again makes a token anew, and Apple takes few in an hour.
    let stage = Stage::set_with("", |settings| settings.provider_token_interval = Duration::ZERO).await;
    let data = with_a_data_dir(&stage);
    let sent = data.join("sent");
    let _disk = Tmpfs::mount(&sent, "size=64k");
    let push = |phone: u32| Push::apple(&apple_token(phone)).with("ack_id", format!("ack-{phone}"));
    let bytes_of_records = || {
        let files = fs::read_dir(&sent).unwrap().map(|file| file.unwrap().path());
        let files = files.filter(|path| path.extension().is_some_and(|ending| ending == "sent"));
        files.filter_map(|path| fs::metadata(path).ok()).map(|file| file.len()).sum::<u64>()
    };
    let fill = || {
        let mut filler = fs::File::create(sent.join("filler")).unwrap();
        while filler.write_all(&[1; 4_096]).is_ok() {}
    };
    // Full from the first record on, then in the middle of a file.
    for full_after in [0_u32, 3] {
        let mut relay = stage.serve();
        let address = relay.address();
        let post = async |phone: u32| stage.post(address, &push(full_after * 100 + phone)).await.unwrap();
        for phone in 1..=full_after {
            post(phone).await.expect_ok();
        }
        wait_until(|| bytes_of_records() >= u64::from(full_after) * 32).await;
        fill();
        // More than fits into what is left of the last page.
        for phone in 10..10 + 150 {
            post(phone).await.expect_ok();
        }
        relay.wait_for("what was sent cannot be written");
        fs::remove_file(sent.join("filler")).unwrap();
        // Tried again within a second; nothing tells when.
        let mut again = 200;
        let before = bytes_of_records();
        let kept_again = async {
            while bytes_of_records() <= before {
                again += 1;
                post(again).await.expect_ok();
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, kept_again).await.expect("what is sent is kept when there is room again");
        relay.signal("TERM");
        relay.end();

        let accepted = stage.simulator.ledger().counts().accepted;
        let mut relay = stage.serve();
        let address = relay.address();
        for phone in (1..=full_after).chain([again]) {
            stage.post(address, &push(full_after * 100 + phone)).await.unwrap().expect_ok();
        }
        assert_eq!(stage.simulator.ledger().counts().accepted, accepted, "what was kept is known");
        relay.signal("TERM");
        let (_, output) = relay.end();
        assert!(!output.contains("damaged"), "nothing half written is left: {output}");
    }
}

async fn wait_until(is_so: impl Fn() -> bool) {
    let waits = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waits).await.expect("it comes about");
}
