//! Rotated files, as a directory shows them.

use std::io::Read;

use super::*;

/// Longer than any of this takes on the slowest machine.
pub(in crate::telemetry) fn patience() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

/// The text of a compressed file.
pub(in crate::telemetry) fn unzipped(path: &Path) -> String {
    let mut text = String::new();
    flate2::read::GzDecoder::new(File::open(path).unwrap()).read_to_string(&mut text).unwrap();
    text
}

/// The names of the files in a directory, sorted.
pub(in crate::telemetry) fn listed(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Does all there is to do in this directory.
fn tidied(directory: &Path, keep: u32) -> Vec<String> {
    let archive =
        Archive::start(Names::of(&directory.join("a.log")).unwrap(), keep, Clock::System, io::sink()).unwrap();
    assert!(archive.wait(patience()));
    listed(directory)
}

#[test]
fn a_rotated_file_is_named_as_the_reference_names_it() {
    let at = Duration::from_millis(1_795_545_781_123);
    let name = |log: &str| Names::of(Path::new(log)).map(|names| names.rotated(at).to_str().unwrap().to_owned());
    assert_eq!(name("/l/push_proxy.log").unwrap(), "/l/push_proxy-2026-11-24T18-43-01.123.log");
    assert_eq!(name("push_proxy").unwrap(), "./push_proxy-2026-11-24T18-43-01.123");
    assert_eq!(name("l/a.b.log").unwrap(), "l/a.b-2026-11-24T18-43-01.123.log");
    for no_file in ["", "/", "l/.."] {
        assert_eq!(name(no_file), None);
    }
}

#[test]
fn only_files_with_a_rotated_files_name_are_ours() {
    let names = Names::of(Path::new("/l/a.log")).unwrap();
    let parsed = |name: &str| names.parse(OsStr::new(name)).map(|(_, rest)| String::from_utf8_lossy(rest).into_owned());
    for (name, rest) in [
        ("a-2026-11-24T18-43-01.123.log", Some("")),
        ("a-2026-11-24T18-43-01.123.log.gz", Some(".gz")),
        ("a-2026-11-24T18-43-01.123.log.gz.x1.partial", Some(".gz.x1.partial")),
        ("a.log", None),
        ("a-.log", None),
        ("a-2026-11-24.log", None),
        ("a-2026-11-24T18-43-01.123.txt", None),
        ("a-2026-11-24T18:43:01.123.log", None),
        ("a-2026-11-24T18-43-01.12é.log", None),
        ("ab-2026-11-24T18-43-01.123.log", None),
        ("b-2026-11-24T18-43-01.123.log", None),
    ] {
        assert_eq!(parsed(name).as_deref(), rest, "{name}");
    }
}

#[test]
fn what_an_earlier_run_left_is_finished_at_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap();
    put("a.log", "now\n");
    put("a-2026-01-01T00-00-00.000.log", "rotated\n");
    put("a-2026-01-01T00-00-00.000.log.gz.Xy12ab.partial", "half");
    // Killed between the compression and the removal, or half-way in the reference's own.
    put("a-2026-01-02T00-00-00.000.log", "both\n");
    put("a-2026-01-02T00-00-00.000.log.gz", "half");
    let found = tidied(directory.path(), 10);
    assert_eq!(found, ["a-2026-01-01T00-00-00.000.log.gz", "a-2026-01-02T00-00-00.000.log.gz", "a.log"]);
    assert_eq!(unzipped(&directory.path().join(&found[0])), "rotated\n");
    assert_eq!(unzipped(&directory.path().join(&found[1])), "both\n");
}

#[test]
fn the_oldest_beyond_the_bound_go_and_nobody_elses_files_do() {
    let directory = tempfile::tempdir().unwrap();
    for day in 1..=5 {
        let compressed = if day % 2 == 0 { ".gz" } else { "" };
        fs::write(directory.path().join(format!("a-2026-01-0{day}T00-00-00.000.log{compressed}")), "").unwrap();
    }
    for other in ["a.log", "b-2026-01-01T00-00-00.000.log", "a-2026-01-01.log", "a-2026-01-01T00-00-00.000.log.bak"] {
        fs::write(directory.path().join(other), "").unwrap();
    }
    let others = ["a-2026-01-01.log", "a-2026-01-01T00-00-00.000.log.bak"];
    let kept = ["a-2026-01-04T00-00-00.000.log.gz", "a-2026-01-05T00-00-00.000.log.gz"];
    let rest = ["a.log", "b-2026-01-01T00-00-00.000.log"];
    assert_eq!(tidied(directory.path(), u32::MAX).len(), 9);
    assert_eq!(tidied(directory.path(), 2), [&others[..], &kept, &rest].concat());
    assert_eq!(tidied(directory.path(), 0), [others, rest].concat());
}

#[test]
fn an_archive_is_readable_for_no_more_than_its_log_was() {
    let directory = tempfile::tempdir().unwrap();
    for (day, mode) in [(1, 0o600), (2, 0o640), (3, 0o666)] {
        let path = directory.path().join(format!("a-2026-01-0{day}T00-00-00.000.log"));
        fs::write(&path, "x\n").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    }
    let found = tidied(directory.path(), 3);
    let modes: Vec<_> = found.iter().map(|name| mode_of(&directory.path().join(name))).collect();
    // The umask of whoever runs this may take more away.
    assert!(modes[0] & !0o600 == 0 && modes[1] & !0o640 == 0 && modes[2] & !0o640 == 0, "{modes:?}");
}

fn mode_of(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn of_many_complaints_one_a_minute_is_heard() {
    let clock = Clock::manual(0);
    let directory = tempfile::tempdir().unwrap();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let names = Names::of(&directory.path().join("a.log")).unwrap();
    let archive = Archive::start(names, 1, clock.clone(), Heard(Arc::clone(&heard))).unwrap();
    for n in 1..=100 {
        archive.archivist().complain(format!("number {n}"));
    }
    assert!(archive.wait(patience()));
    clock.advance(COMPLAINTS_EVERY);
    archive.archivist().complain("a minute later".to_owned());
    assert!(archive.wait(patience()));
    assert_eq!(*heard.lock().unwrap(), b"pushrelay: number 1\npushrelay: a minute later\n");
}

#[test]
fn a_file_that_cannot_be_compressed_is_complained_of_and_holds_up_no_other() {
    let directory = tempfile::tempdir().unwrap();
    // It can be opened as a file can, and not be read.
    fs::create_dir(directory.path().join("a-2026-01-01T00-00-00.000.log")).unwrap();
    fs::write(directory.path().join("a-2026-01-02T00-00-00.000.log"), "x\n").unwrap();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let names = Names::of(&directory.path().join("a.log")).unwrap();
    let archive = Archive::start(names, 10, Clock::System, Heard(Arc::clone(&heard))).unwrap();
    assert!(archive.wait(patience()));
    assert_eq!(
        listed(directory.path()),
        ["a-2026-01-01T00-00-00.000.log", "a-2026-01-02T00-00-00.000.log.gz"],
        "the half-made archive is removed"
    );
    let heard = String::from_utf8(heard.lock().unwrap().clone()).unwrap();
    assert!(heard.contains("cannot be compressed or removed") && heard.lines().count() == 1, "{heard}");
}

/// Keeps what is written.
#[derive(Clone, Default)]
pub(in crate::telemetry) struct Heard(pub(in crate::telemetry) Arc<Mutex<Vec<u8>>>);

impl Write for Heard {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
