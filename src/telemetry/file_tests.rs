//! The log file as whoever reads the directory finds it.

use std::sync::Arc;
use std::thread;

use super::super::archive::tests::{Heard, listed, patience, unzipped};
use super::super::sink::{Outputs, Sink};
use super::*;
use tempfile::TempDir;
use tracing_subscriber::fmt::MakeWriter;

/// 2026-11-24T18:43:01Z.
const NOW: u64 = 1_795_545_781;

/// A log file in a directory of its own, on a clock that is turned by hand.
struct Log {
    directory: TempDir,
    clock: Clock,
    file: LogFile,
    archive: Archive,
    heard: Heard,
}

impl Log {
    fn new(max_bytes: u64, keep: u32) -> Self {
        Self::at("a.log", max_bytes, keep, |_| {})
    }

    /// After `prepare` did something to the directory.
    fn at(name: &str, max_bytes: u64, keep: u32, prepare: impl FnOnce(&Path)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        prepare(directory.path());
        let (clock, heard) = (Clock::manual(NOW), Heard::default());
        let settings = LogFileSettings { path: directory.path().join(name), max_bytes, keep };
        let (file, archive) = LogFile::open(&settings, clock.clone(), heard.clone()).unwrap();
        Self { directory, clock, file, archive, heard }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// All files, when nothing is left to be compressed.
    fn files(&self) -> Vec<String> {
        assert!(self.archive.wait(patience()));
        listed(self.directory.path())
    }

    fn complaints(&self) -> String {
        assert!(self.archive.wait(patience()));
        String::from_utf8(self.heard.0.lock().unwrap().clone()).unwrap()
    }
}

/// Every line in these files, the rotated ones first.
fn all_lines(directory: &Path) -> String {
    // Rotated files sort by time, and `-` before `.`.
    let texts = listed(directory).into_iter().map(|name| {
        let path = directory.join(&name);
        if path.extension().is_some_and(|extension| extension == "gz") {
            unzipped(&path)
        } else {
            fs::read_to_string(path).unwrap()
        }
    });
    texts.collect()
}

fn mode_of(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_line_that_just_fits_stays_and_the_next_one_begins_a_new_file() {
    let mut log = Log::new(10, 9);
    assert_eq!(log.file.write(b"aaaa\n"), 0);
    assert_eq!(log.file.write(b"bbbb\n"), 0);
    assert_eq!(log.files(), ["a.log"]);
    assert_eq!(log.file.write(b"c\n"), 0);
    assert_eq!(log.files(), ["a-2026-11-24T18-43-01.000.log.gz", "a.log"]);
    assert_eq!(unzipped(&log.path("a-2026-11-24T18-43-01.000.log.gz")), "aaaa\nbbbb\n");
    assert_eq!(log.read("a.log"), "c\n");
}

#[test]
fn lines_written_together_are_parted_between_lines() {
    let mut log = Log::new(10, 9);
    assert_eq!(log.file.write(b"1234\n1234\n12345678901234\n123\n1\n5678\n12"), 0);
    let files = log.files();
    let texts: Vec<_> = files[..3].iter().map(|name| unzipped(&log.path(name))).collect();
    assert_eq!(texts, ["1234\n1234\n", "12345678901234\n", "123\n1\n"], "the long line has a file for itself");
    assert_eq!(log.read("a.log"), "5678\n12");
}

#[test]
fn rotations_in_one_millisecond_or_on_a_clock_that_stands_still_keep_every_file_in_order() {
    let mut log = Log::at("a.log", 2, 9, |directory| {
        fs::write(directory.join("a-2026-11-24T18-43-01.001.log.gz"), "not ours to overwrite").unwrap();
    });
    for line in [b"1\n", b"2\n", b"3\n", b"4\n"] {
        assert_eq!(log.file.write(line), 0);
    }
    let stamped = |milli| format!("a-2026-11-24T18-43-01.00{milli}.log.gz");
    assert_eq!(log.files(), [stamped(0), stamped(1), stamped(2), stamped(3), "a.log".to_owned()]);
    let texts = [0, 2, 3].map(|milli| unzipped(&log.path(&stamped(milli))));
    assert_eq!(texts, ["1\n", "2\n", "3\n"]);
}

#[test]
fn no_more_rotated_files_are_kept_than_asked_for() {
    for keep in [0, 1, 3] {
        let mut log = Log::new(2, keep);
        for line in 0..9 {
            log.clock.advance(Duration::from_secs(60));
            assert_eq!(log.file.write(format!("{line}\n").as_bytes()), 0);
        }
        let rotated = log.files().len() - 1;
        assert_eq!(rotated, usize::try_from(keep).unwrap());
        let newest = (8 - keep..=8).map(|line| format!("{line}\n")).collect::<Vec<_>>().concat();
        assert_eq!(all_lines(log.directory.path()), newest);
    }
}

#[test]
fn many_writers_lose_and_split_nothing_over_rotations() {
    const WRITERS: usize = 4;
    const LINES: usize = 2_000;
    // All of 18 bytes, 144,000 together: files of 40,000 are three full ones and a rest.
    let line = |writer, n| format!("writer={writer} n={n:06}\n");
    let Log { directory, file, archive, .. } = Log::new(40_000, 9);
    let mut file = file;
    let (sink, guard) = Sink::start("log-file", 1_000_000, move |lines| file.write(lines)).unwrap();
    let outputs = Outputs::new(vec![sink]);
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            let outputs = &outputs;
            scope.spawn(move || {
                for n in 0..LINES {
                    outputs.make_writer().write_all(line(writer, n).as_bytes()).unwrap();
                }
            });
        }
    });
    guard.end();
    assert!(guard.wait(patience()) && archive.wait(patience()));
    assert_eq!(outputs.dropped(), 0);
    let bytes = WRITERS * LINES * line(0, 0).len();
    assert_eq!(listed(directory.path()).len(), 4);
    let text = all_lines(directory.path());
    assert_eq!(text.len(), bytes);
    for writer in 0..WRITERS {
        let mine = text.lines().filter(|line| line.starts_with(&format!("writer={writer} ")));
        assert!(mine.eq((0..LINES).map(|n| line(writer, n).trim_end().to_owned())), "lines of writer {writer}");
    }
}

#[test]
fn files_are_for_the_owner_and_the_group_and_tighter_if_the_operator_wants() {
    let mut log = Log::at("logs/of/a.log", 2, 9, |_| {});
    let path = log.path("logs/of/a.log");
    assert_eq!(mode_of(&path) & !0o640, 0);
    assert_eq!(mode_of(&log.path("logs/of")) & !0o750, 0);
    log.file.write(b"1\n2\n");
    assert_eq!(mode_of(&path) & !0o640, 0, "the second file");

    let mut log = Log::at("a.log", 2, 9, |directory| {
        fs::write(directory.join("a.log"), "0\n").unwrap();
        fs::set_permissions(directory.join("a.log"), fs::Permissions::from_mode(0o600)).unwrap();
    });
    log.file.write(b"1\n");
    assert_eq!(mode_of(&log.path("a.log")), 0o600);
    assert_eq!(log.files().len(), 2);
}

#[test]
fn a_log_is_continued_where_an_earlier_run_stopped_even_within_a_line() {
    for (left, then) in [("old\n", "old\nnew\n"), ("ol", "ol\nnew\n"), ("", "new\n")] {
        let mut log = Log::at("a.log", 100, 9, |directory| fs::write(directory.join("a.log"), left).unwrap());
        assert_eq!(log.file.write(b"new\n"), 0);
        assert_eq!(log.read("a.log"), then);
    }
    let mut full = Log::at("a.log", 5, 9, |directory| fs::write(directory.join("a.log"), "1234\n").unwrap());
    assert_eq!(full.file.write(b"5\n"), 0);
    assert_eq!(full.files().len(), 2, "what was there counts");
}

#[test]
fn a_file_that_was_moved_away_or_deleted_is_made_again_within_a_second() {
    for delete in [true, false] {
        let mut log = Log::new(100, 9);
        log.file.write(b"1\n");
        let (path, moved) = (log.path("a.log"), log.path("moved"));
        if delete {
            fs::remove_file(path).unwrap();
        } else {
            fs::rename(path, &moved).unwrap();
        }
        log.file.write(b"2\n");
        assert!(!log.path("a.log").exists(), "it is not looked up for every line");
        log.clock.advance(LOOK_EVERY);
        log.file.write(b"3\n");
        assert_eq!(log.read("a.log"), "3\n");
        assert!(delete || fs::read_to_string(moved).unwrap() == "1\n2\n");
    }
}

#[test]
fn a_file_that_somebody_rotated_is_not_rotated_again() {
    let mut log = Log::new(6, 9);
    log.file.write(b"1\n2\n3\n");
    fs::rename(log.path("a.log"), log.path("moved")).unwrap();
    fs::write(log.path("a.log"), "theirs\n").unwrap();
    fs::rename(log.path("a.log"), log.path("theirs")).unwrap();
    log.file.write(b"4\n");
    assert_eq!(log.files(), ["a.log", "moved", "theirs"]);
    assert_eq!(log.read("a.log"), "4\n");
}

#[test]
fn a_file_that_somebody_emptied_is_written_from_its_beginning_and_its_room_is_seen() {
    let mut log = Log::new(6, 9);
    log.file.write(b"1\n2\n3\n");
    fs::write(log.path("a.log"), "").unwrap();
    log.file.write(b"4\n5\n6\n");
    assert_eq!(log.files(), ["a.log"]);
    assert_eq!(log.read("a.log"), "4\n5\n6\n");
}

#[test]
fn behind_a_link_the_file_is_rotated_and_the_link_stays() {
    let mut log = Log::at("a.log", 2, 9, |directory| {
        fs::create_dir(directory.join("real")).unwrap();
        std::os::unix::fs::symlink(directory.join("real/b.log"), directory.join("a.log")).unwrap();
    });
    log.file.write(b"1\n2\n");
    assert_eq!(log.files(), ["a.log", "real"]);
    assert_eq!(listed(&log.path("real")), ["b-2026-11-24T18-43-01.000.log.gz", "b.log"]);
    assert_eq!(log.read("a.log"), "2\n");
}

#[test]
fn a_rotation_that_fails_loses_no_line_and_is_tried_again() {
    let mut log = Log::new(2, 9);
    log.file.write(b"1\n");
    // The new file cannot be named.
    let names = std::mem::replace(&mut log.file.names, Names::of(Path::new("/no/such/directory/a.log")).unwrap());
    assert_eq!(log.file.write(b"2\n3\n"), 0);
    assert_eq!(log.read("a.log"), "1\n2\n3\n");
    assert!(log.complaints().contains("cannot rotate the log file"), "{}", log.complaints());
    log.file.names = names;
    assert_eq!(log.file.write(b"4\n"), 0);
    assert_eq!(log.read("a.log"), "1\n2\n3\n4\n", "not before a second has passed");
    log.clock.advance(LOOK_EVERY);
    assert_eq!(log.file.write(b"5\n6\n"), 0);
    assert_eq!(log.files().len(), 3);
    assert_eq!(all_lines(log.directory.path()), "1\n2\n3\n4\n5\n6\n");
}

#[test]
fn when_somebody_else_made_room_after_a_rotation_failed_the_bound_holds_again() {
    let mut log = Log::new(4, 9);
    log.file.write(b"1\n2\n");
    let names = std::mem::replace(&mut log.file.names, Names::of(Path::new("/no/such/directory/a.log")).unwrap());
    log.file.write(b"3\n");
    log.file.names = names;
    fs::rename(log.path("a.log"), log.path("moved")).unwrap();
    log.clock.advance(LOOK_EVERY);
    log.file.write(b"4\n5\n6\n");
    assert_eq!(log.files(), ["a-2026-11-24T18-43-02.000.log.gz", "a.log", "moved"]);
    assert_eq!(log.read("a.log"), "6\n");
}

#[test]
fn on_a_full_disk_lines_are_counted_and_when_there_is_room_the_log_goes_on_and_says_what_is_missing() {
    // Every write to this device fails as on a full disk.
    let mut log = Log::at("a.log", 1_000, 9, |directory| {
        std::os::unix::fs::symlink("/dev/full", directory.join("a.log")).unwrap();
    });
    assert_eq!(log.file.write(b"1\n2\n"), 2);
    assert_eq!(log.file.write(b"3\n"), 1);
    let complaints = log.complaints();
    assert!(complaints.contains("cannot write the log file `") && complaints.contains("No space left"), "{complaints}");
    assert_eq!(complaints.lines().count(), 1, "{complaints}");

    fs::remove_file(log.path("a.log")).unwrap();
    log.clock.advance(LOOK_EVERY);
    let told = Heard::default();
    let (to, told) = (Arc::clone(&told.0), told);
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || Heard(Arc::clone(&to))).finish();
    tracing::subscriber::with_default(subscriber, || {
        assert_eq!(log.file.write(b"4\n"), 0);
        assert_eq!(log.file.write(b"5\n"), 0);
    });
    assert_eq!(log.read("a.log"), "4\n5\n");
    let told = String::from_utf8(told.0.lock().unwrap().clone()).unwrap();
    assert!(told.contains("lines are missing here lines=3") && told.lines().count() == 1, "{told}");
}

#[test]
fn a_write_that_breaks_off_within_a_line_leaves_whole_lines_only() {
    for (taken, then) in [(0, Err(())), (3, Err(())), (4, Ok(4)), (6, Ok(4)), (7, Ok(4)), (8, Ok(8))] {
        let mut log = Log::new(1_000, 9);
        log.file.write(b"before\n");
        let written = log.file.open.append_with(b"one\ntwo\nthree\n", |file, lines| {
            file.write_all(&lines[..taken]).unwrap();
            (taken, Some(ErrorKind::StorageFull.into()))
        });
        assert_eq!(written.map_err(|error| assert_eq!(error.kind(), ErrorKind::StorageFull)), then, "{taken}");
        log.file.write(b"after\n");
        let kept = &"one\ntwo\n"[..then.unwrap_or(0)];
        assert_eq!(log.read("a.log"), format!("before\n{kept}after\n"), "{taken}");
        assert_eq!(log.file.open.bytes, u64::try_from(log.read("a.log").len()).unwrap(), "{taken}");
    }
}

#[test]
fn what_could_not_be_taken_back_is_not_glued_to_the_next_line() {
    let mut log = Log::new(1_000, 9);
    log.file.open.file.write_all(b"half").unwrap();
    log.file.open.is_torn = true;
    log.file.write(b"after\n");
    log.file.write(b"that\n");
    assert_eq!(log.read("a.log"), "half\nafter\nthat\n");
}

#[test]
fn how_far_a_write_came_is_known() {
    let mut room = [0_u8; 8];
    let (taken, failure) = write_until_failure(&mut &mut room[..], b"one\ntwo\nthree\n");
    assert_eq!((taken, failure.unwrap().kind()), (8, ErrorKind::WriteZero));
    assert!(matches!(write_until_failure(&mut Vec::new(), b"one\n"), (4, None)));
    let lines = b"one\ntwo\nthree\n";
    for (room, whole) in [(0, 0), (3, 0), (4, 4), (7, 4), (8, 8), (13, 8), (14, 14), (u64::MAX, 14)] {
        assert_eq!(whole_lines(lines, room), whole, "{room}");
    }
}

#[test]
fn a_path_that_cannot_be_opened_is_named_with_the_problem_and_a_remedy() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("file"), "").unwrap();
    for (path, problem, remedy) in [
        ("", "a directory", "name a file"),
        ("..", "a directory", "name a file"),
        ("file/a.log", "Not a directory", "a part of the path is a file"),
        ("file/b/a.log", "Not a directory", "a part of the path is a file"),
        ("a\0.log", "NUL byte", "choose another path"),
    ] {
        let path = directory.path().join(path);
        let settings = LogFileSettings { path: path.clone(), max_bytes: 1, keep: 1 };
        let error = LogFile::open(&settings, Clock::manual(0), io::sink()).unwrap_err().to_string();
        let begins = format!("cannot write the log file `{}`: ", path.display());
        assert!(error.starts_with(&begins) && error.contains(problem) && error.contains(remedy), "{error}");
    }
}
