//! The write-ahead log as `SQLite` has it ("The WAL file format" in its documentation), read for one question: was something lost
//! that had been synced? `SQLite` itself takes the first frame that does not fit for the log's end and says nothing.
//!
//! A power cut may leave the last transaction in pieces: nobody was told of that one. A transaction is written only when the
//! one before it is synced: so a frame that does not fit, with a whole transaction's end after it and more of the same log
//! after that, was synced and is damaged. Damage in the last transaction alone cannot be told from a power cut.

use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read};
use std::path::Path;

/// The log's head.
pub(super) const HEADER_BYTES: u64 = 32;

const HEADER: usize = 32;
const FRAME_HEADER: usize = 24;

/// The magic number; its last bit says that words are summed with the high byte first.
const MAGIC: u32 = 0x377f_0682;

/// `SQLite`'s page sizes, bytes.
const PAGE_BYTES: std::ops::RangeInclusive<u32> = 512..=65_536;

/// What is damaged in a log, in words; `None` if everything that was synced can be read. `is_open`: it was synced before.
pub(super) fn damage(log: &Path, is_open: bool) -> io::Result<Option<&'static str>> {
    let mut reader = BufReader::with_capacity(1 << 20, File::open(log)?);
    scan(&mut reader, is_open)
}

fn scan(log: &mut impl Read, is_open: bool) -> io::Result<Option<&'static str>> {
    let mut header = [0; HEADER];
    if !fill(log, &mut header)? {
        return Ok(None);
    }
    let Some((page_bytes, mut sum)) = read_header(&header) else {
        // Made and not written when the power was cut.
        let is_blank = header.iter().all(|byte| *byte == 0);
        return Ok((is_open || !is_blank).then_some("its head is damaged"));
    };
    let salts = &header[16..24];
    let mut frame = vec![0; FRAME_HEADER + page_bytes];
    let mut seen = Seen::Whole;
    while fill(log, &mut frame)? {
        let (head, page) = frame.split_at(FRAME_HEADER);
        let is_same_log = head[8..16] == *salts;
        let ends = is_same_log && word(head, 4, true) != 0;
        if seen == Seen::Whole {
            sum.add(&head[..8]);
            sum.add(page);
            let fits = (word(head, 16, true), word(head, 20, true)) == (sum.first, sum.second);
            if !is_same_log || !fits || word(head, 0, true) == 0 {
                seen = Seen::Broken;
            }
        } else if is_same_log && seen == Seen::EndedSince {
            return Ok(Some("a part of it that was synced is damaged"));
        }
        if seen == Seen::Broken && ends {
            seen = Seen::EndedSince;
        }
    }
    Ok(None)
}

/// How far the frames fit.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    /// Up to here.
    Whole,
    /// Not up to here.
    Broken,
    /// Not up to here, and a transaction has ended since.
    EndedSince,
}

/// The page size and the sum that the frames go on with; `None` for a head that is not whole.
fn read_header(header: &[u8; HEADER]) -> Option<(usize, Sum)> {
    let (magic, page) = (word(header, 0, true), word(header, 8, true));
    let is_ours = magic & !1 == MAGIC && PAGE_BYTES.contains(&page) && page.is_power_of_two();
    let mut sum = Sum { first: 0, second: 0, is_high_first: magic & 1 == 1 };
    sum.add(&header[..24]);
    let is_whole = is_ours && (word(header, 24, true), word(header, 28, true)) == (sum.first, sum.second);
    is_whole.then(|| (usize::try_from(page).unwrap_or(usize::MAX), sum))
}

/// `SQLite`'s sum over pairs of words.
#[derive(Clone, Copy, Debug)]
struct Sum {
    first: u32,
    second: u32,
    is_high_first: bool,
}

impl Sum {
    fn add(&mut self, bytes: &[u8]) {
        for pair in bytes.chunks_exact(8) {
            self.first = self.first.wrapping_add(word(pair, 0, self.is_high_first)).wrapping_add(self.second);
            self.second = self.second.wrapping_add(word(pair, 4, self.is_high_first)).wrapping_add(self.first);
        }
    }
}

fn word(bytes: &[u8], at: usize, is_high_first: bool) -> u32 {
    let word = [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
    if is_high_first { u32::from_be_bytes(word) } else { u32::from_le_bytes(word) }
}

/// Whether there was so much left.
fn fill(log: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match log.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rusqlite::Connection;

    use super::*;

    /// A log of so many transactions of `SQLite`'s own, and where each frame begins.
    fn log(transactions: u32) -> (Vec<u8>, Vec<usize>) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let connection = Connection::open(&path).unwrap();
        connection.pragma_update(None, "journal_mode", "WAL").unwrap();
        connection.execute("CREATE TABLE texts (text TEXT)", []).unwrap();
        for _ in 1..transactions {
            connection.execute("INSERT INTO texts VALUES (hex(randomblob(3000)))", []).unwrap();
        }
        let bytes = std::fs::read(directory.path().join("file-wal")).unwrap();
        let frames = (HEADER..bytes.len()).step_by(FRAME_HEADER + 4_096).collect();
        (bytes, frames)
    }

    fn damage_of(bytes: &[u8]) -> Option<&'static str> {
        scan(&mut &bytes[..], true).unwrap()
    }

    #[test]
    fn a_log_of_sqlite_is_whole_and_so_is_one_that_was_cut_off_anywhere_after_its_head() {
        let (bytes, frames) = log(5);
        assert!(frames.len() > 8, "{}", frames.len());
        for end in (HEADER..=bytes.len()).step_by(500) {
            assert_eq!(damage_of(&bytes[..end]), None, "{end}");
        }
    }

    #[test]
    fn a_flipped_bit_is_found_wherever_it_is_but_for_the_last_transaction() {
        let (bytes, frames) = log(6);
        let ends = |at: usize| word(&bytes, at + 4, true) != 0;
        // The frame after the end of the last but one.
        let last = frames.iter().rposition(|at| ends(*at)).unwrap();
        let last = frames[..last].iter().rposition(|at| ends(*at)).unwrap() + 1;
        for (number, at) in frames.iter().enumerate() {
            for offset in [0, 9, 17, FRAME_HEADER + 100, FRAME_HEADER + 4_095] {
                let mut bytes = bytes.clone();
                bytes[at + offset] ^= 0x10;
                // One whose end was what was damaged may seem to go on; it takes one more frame to tell.
                if number + 1 < last {
                    assert!(damage_of(&bytes).is_some(), "frame {number} of {}, {offset}", frames.len());
                }
                if number >= last {
                    assert_eq!(damage_of(&bytes), None, "frame {number} of {}, {offset}", frames.len());
                }
            }
        }
        for offset in 0..HEADER {
            let mut bytes = bytes.clone();
            bytes[offset] ^= 0x10;
            assert!(damage_of(&bytes).is_some(), "{offset}");
        }
    }

    #[test]
    fn frames_of_an_earlier_round_after_the_end_are_no_damage() {
        let (first, _) = log(6);
        let (second, _) = log(2);
        let bytes = [&second[..], &first[second.len()..]].concat();
        assert_eq!(damage_of(&bytes), None);
        assert_eq!(scan(&mut &[0; 9_000][..], false).unwrap(), None, "a log that was made and never synced");
        assert!(damage_of(&[0; 9_000]).is_some(), "one that was");
    }

    proptest! {
        #[test]
        fn whatever_the_bytes_it_is_read(bytes in proptest::collection::vec(any::<u8>(), 0..2_000)) {
            let _ = scan(&mut &bytes[..], true).unwrap();
        }
    }
}
