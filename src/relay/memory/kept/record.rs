//! The form of what is kept: a file's head, its batches, and the records in them. Bytes in and out; no file is touched here.
//!
//! ```text
//! head    magic 8 · wall 8 · up 8 · boot 48 · CRC-32 4
//! batch   length 4 · CRC-32 4 · records
//! record  tag 1 · what the tag has
//! ```
//!
//! Numbers are little-endian. A batch is what was written at once: one that is cut or altered ends what can be read of its file.

use std::time::Duration;

use crate::clock::Boot;
use crate::notification::Platform;

/// What each file begins with; the last byte is the form's version.
const MAGIC: [u8; 8] = *b"PRSENT\0\x01";

/// Room for the name of a boot, bytes; Linux' have 36.
const BOOT: usize = 48;

/// A head's length, bytes.
pub(super) const HEAD: usize = MAGIC.len() + 8 + 8 + BOOT + 4;

/// What stands before a batch, bytes.
pub(super) const FRAME: usize = 8;

/// The longest batch that is read, bytes: what [`super::MAX_WAITING`] records take, and the texts that go with them.
pub(super) const MAX_BATCH: usize = 16 << 20;

/// A longer text is cut: it is for people, and none of ours is near.
const MAX_TEXT: usize = 4_096;

/// When a file was begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// Since the Unix epoch, to the millisecond.
    pub(super) wall: Duration,
    /// In the life of the machine, where the system says so.
    pub(super) boot: Option<Boot>,
}

/// One thing that is kept. Times are milliseconds since its file was begun, or before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::relay::memory) enum Record {
    /// A request came to its end.
    Settled {
        identity: [u8; 16],
        ack: [u8; 8],
        /// When it was claimed.
        at: i32,
        /// The number of its outcome, if that is the answer to its repeats.
        outcome: Option<u16>,
        /// Whose phone may send a receipt.
        receipt: Option<Platform>,
    },
    /// What waited was delivered, so that a receipt may come.
    Late { ack: [u8; 8], at: i32, platform: Platform },
    /// The first receipt came.
    Received { ack: [u8; 8] },
    /// What a number stands for, in this file.
    Text { number: u16, text: String },
}

impl Head {
    pub(super) fn encode(&self) -> Vec<u8> {
        let (id, up) = self.boot.as_ref().map_or(("", Duration::ZERO), |boot| (&*boot.id, boot.up));
        let id = if id.len() > BOOT { "" } else { id };
        let mut bytes = Vec::with_capacity(HEAD);
        bytes.extend(MAGIC);
        bytes.extend(millis(self.wall).to_le_bytes());
        bytes.extend(millis(up).to_le_bytes());
        bytes.extend(id.as_bytes());
        bytes.resize(HEAD - 4, 0);
        bytes.extend(crc(&bytes).to_le_bytes());
        bytes
    }

    /// `None` for what is no head of ours, or of another version.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (told, sum) = bytes.get(..HEAD)?.split_at(HEAD - 4);
        if !told.starts_with(&MAGIC) || sum != crc(told).to_le_bytes() {
            return None;
        }
        let mut rest = &told[MAGIC.len()..];
        let (wall, up) = (u64::from_le_bytes(take(&mut rest)?), u64::from_le_bytes(take(&mut rest)?));
        let id = std::str::from_utf8(rest).ok()?.trim_end_matches('\0');
        let boot = (!id.is_empty()).then(|| Boot { id: id.into(), up: Duration::from_millis(up) });
        Some(Self { wall: Duration::from_millis(wall), boot })
    }
}

impl Record {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Settled { identity, ack, at, outcome, receipt } => {
                out.push(1);
                out.extend(identity);
                out.extend(ack);
                out.extend(at.to_le_bytes());
                out.extend(outcome.unwrap_or(u16::MAX).to_le_bytes());
                out.push(receipt.map_or(0, platform_byte));
            }
            Self::Late { ack, at, platform } => {
                out.push(2);
                out.extend(ack);
                out.extend(at.to_le_bytes());
                out.push(platform_byte(*platform));
            }
            Self::Received { ack } => {
                out.push(3);
                out.extend(ack);
            }
            Self::Text { number, text } => {
                let text = &text[..text.floor_char_boundary(MAX_TEXT)];
                out.push(4);
                out.extend(number.to_le_bytes());
                #[allow(clippy::cast_possible_truncation, reason = "cut above")]
                out.extend((text.len() as u16).to_le_bytes());
                out.extend(text.as_bytes());
            }
        }
    }

    /// Takes one off the front; `None` if it is none of ours.
    fn decode(bytes: &mut &[u8]) -> Option<Self> {
        let [tag] = take(bytes)?;
        Some(match tag {
            1 => Self::Settled {
                identity: take(bytes)?,
                ack: take(bytes)?,
                at: i32::from_le_bytes(take(bytes)?),
                outcome: Some(u16::from_le_bytes(take(bytes)?)).filter(|number| *number != u16::MAX),
                receipt: match take(bytes)? {
                    [0] => None,
                    [byte] => Some(platform(byte)?),
                },
            },
            2 => {
                let (ack, at, [byte]) = (take(bytes)?, i32::from_le_bytes(take(bytes)?), take(bytes)?);
                Self::Late { ack, at, platform: platform(byte)? }
            }
            3 => Self::Received { ack: take(bytes)? },
            4 => {
                let (number, length) = (u16::from_le_bytes(take(bytes)?), u16::from_le_bytes(take(bytes)?));
                let (text, rest) = bytes.split_at_checked(usize::from(length))?;
                *bytes = rest;
                Self::Text { number, text: std::str::from_utf8(text).ok()?.to_owned() }
            }
            _ => return None,
        })
    }
}

/// What stands before these records in a file.
pub(super) fn frame(records: &[u8]) -> [u8; FRAME] {
    let mut frame = [0; FRAME];
    #[allow(clippy::cast_possible_truncation, reason = "bounded by what waits, far below 4 GiB")]
    frame[..4].copy_from_slice(&(records.len() as u32).to_le_bytes());
    frame[4..].copy_from_slice(&crc(records).to_le_bytes());
    frame
}

/// The records of the next batch, which is taken off the front; `None` where it is cut or altered, and at the end.
pub(super) fn batch(bytes: &mut &[u8]) -> Option<Vec<Record>> {
    let mut rest = *bytes;
    let length = usize::try_from(u32::from_le_bytes(take(&mut rest)?)).ok().filter(|length| *length <= MAX_BATCH)?;
    let sum = u32::from_le_bytes(take(&mut rest)?);
    let (mut batch, rest) = rest.split_at_checked(length)?;
    if crc(batch) != sum {
        return None;
    }
    let mut records = Vec::new();
    while !batch.is_empty() {
        records.push(Record::decode(&mut batch)?);
    }
    *bytes = rest;
    Some(records)
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*taken)
}

fn crc(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn platform_byte(platform: Platform) -> u8 {
    match platform {
        Platform::Apple => 1,
        Platform::Android => 2,
    }
}

fn platform(byte: u8) -> Option<Platform> {
    match byte {
        1 => Some(Platform::Apple),
        2 => Some(Platform::Android),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn platforms() -> impl Strategy<Value = Platform> {
        prop_oneof![Just(Platform::Apple), Just(Platform::Android)]
    }

    fn records() -> impl Strategy<Value = Record> {
        prop_oneof![
            (
                any::<[u8; 16]>(),
                any::<[u8; 8]>(),
                any::<i32>(),
                prop::option::of(0..u16::MAX),
                prop::option::of(platforms())
            )
                .prop_map(|(identity, ack, at, outcome, receipt)| Record::Settled {
                    identity,
                    ack,
                    at,
                    outcome,
                    receipt
                }),
            (any::<[u8; 8]>(), any::<i32>(), platforms()).prop_map(|(ack, at, platform)| Record::Late {
                ack,
                at,
                platform
            }),
            any::<[u8; 8]>().prop_map(|ack| Record::Received { ack }),
            (any::<u16>(), ".{0,40}").prop_map(|(number, text)| Record::Text { number, text }),
        ]
    }

    fn written(batches: &[Vec<Record>]) -> Vec<u8> {
        let mut file = Vec::new();
        for batch in batches {
            let mut bytes = Vec::new();
            for record in batch {
                record.encode(&mut bytes);
            }
            file.extend(frame(&bytes));
            file.extend(bytes);
        }
        file
    }

    fn read(mut bytes: &[u8]) -> (Vec<Record>, usize) {
        let mut all = Vec::new();
        while let Some(records) = batch(&mut bytes) {
            all.extend(records);
        }
        (all, bytes.len())
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_and_what_is_cut_or_altered_ends_it(
            batches in prop::collection::vec(prop::collection::vec(records(), 1..5), 1..5),
            at in any::<prop::sample::Index>(),
            bit in 0..8_u8,
        ) {
            let mut file = written(&batches);
            let all = batches.concat();
            prop_assert_eq!(read(&file), (all.clone(), 0));
            let at = at.index(file.len());
            let (cut, left) = read(&file[..at]);
            prop_assert!(all.starts_with(&cut) && left <= at);
            file[at] ^= 1 << bit;
            let (altered, left) = read(&file);
            prop_assert!(all.starts_with(&altered) && left > 0, "a batch with a wrong bit was believed");
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            read(&bytes);
            let _ = Head::decode(&bytes);
        }

        #[test]
        fn a_head_comes_back_as_it_was(wall in 0..1_u64 << 50, up in 0..1_u64 << 40, id in "[a-f0-9-]{0,48}", at in 0..HEAD) {
            let boot = (!id.is_empty()).then(|| Boot { id: id.as_str().into(), up: Duration::from_millis(up) });
            let head = Head { wall: Duration::from_millis(wall), boot };
            let mut bytes = head.encode();
            prop_assert_eq!(bytes.len(), HEAD);
            prop_assert_eq!(Head::decode(&bytes), Some(head));
            bytes[at] ^= 1;
            prop_assert_eq!(Head::decode(&bytes), None);
        }
    }
}
