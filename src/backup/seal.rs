//! The sealed form of a backup: what can be read, altered, cut or put in another order only with the passphrase.
//!
//! ```text
//! header   8 bytes  "PRSEAL", 0, and the form's number, 1
//!          4        iterations of PBKDF2-HMAC-SHA256, big-endian
//!         16        salt, drawn for each file
//!         16        check: the tag of AES-256-GCM over nothing, with the nonce of 12 times 0xff
//! chunk n  64 KiB of plain text (fewer only in the last one), encrypted with AES-256-GCM, and its tag of 16 bytes
//! ```
//!
//! The key is derived from passphrase and salt, so no two files share one. The nonce of a chunk is its number (8 bytes,
//! big-endian), three zeros, and 1 in the last chunk and 0 in every other: a chunk in another place, a last one that is
//! missing, and anything behind the last one do not open. The first 28 bytes of the header are authenticated with every
//! chunk. The check is there to tell a wrong passphrase from a damaged file.

use std::io::{self, Read, Write};
use std::num::NonZeroU32;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::pbkdf2;

use crate::private::Private;

/// How a sealed file begins.
pub(super) const MAGIC: [u8; 8] = *b"PRSEAL\0\x01";

/// What OWASP recommends for PBKDF2-HMAC-SHA256; about a third of a second for whoever knows the passphrase.
const ITERATIONS: u32 = 600_000;

/// The most that a file may ask for: what stands in a header from a stranger must not keep a processor busy for minutes.
const MAX_ITERATIONS: u32 = 10_000_000;

/// The shortest passphrase, bytes: a file can be tried as often as its finder likes.
pub const MIN_PASSPHRASE: usize = 12;

/// The longest passphrase, bytes.
pub const MAX_PASSPHRASE: usize = 1_024;

/// Plain text of a chunk, bytes: memory of a reader or writer, twice.
const CHUNK: usize = 64 * 1024;

const TAG: usize = 16;
const SALT: usize = 16;

/// What is authenticated with every chunk, bytes.
const FRONT: usize = MAGIC.len() + 4 + SALT;

/// Why a sealed file does not open. Nothing of it is to be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The check of the header.
    #[error("the passphrase is wrong, or the first bytes of the file are damaged")]
    Passphrase,
    /// Less than a header.
    #[error("the file ends within its header: it was cut short")]
    NoHeader,
    /// Iterations beyond the bounds.
    #[error("its header asks for {0} iterations, which no pushrelay writes: it is damaged, or not a backup of ours")]
    Iterations(u32),
    /// A chunk.
    #[error("it is damaged, cut short or put together from parts: chunk {0} does not open")]
    Chunk(u64),
}

impl From<SealError> for io::Error {
    fn from(error: SealError) -> Self {
        Self::new(io::ErrorKind::InvalidData, error)
    }
}

/// The key of one file, with the front of its header.
pub(super) struct Key {
    aead: LessSafeKey,
    front: [u8; FRONT],
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key([private])")
    }
}

impl Key {
    /// For a new file.
    pub(super) fn new(passphrase: &Private) -> Self {
        let mut salt = [0; SALT];
        aws_lc_rs::rand::fill(&mut salt).expect("the system has random numbers: TLS could not start without them");
        Self::derive(passphrase, ITERATIONS, salt)
    }

    /// For a file that begins here; reads its header.
    pub(super) fn of(passphrase: &Private, file: &mut impl Read) -> io::Result<Self> {
        let mut header = [0; FRONT + TAG];
        file.read_exact(&mut header).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => SealError::NoHeader.into(),
            _ => error,
        })?;
        let (front, check) = header.split_at(FRONT);
        let (iterations, salt) = front[MAGIC.len()..].split_at(4);
        let iterations = u32::from_be_bytes(iterations.try_into().expect("it was split there"));
        if !(ITERATIONS..=MAX_ITERATIONS).contains(&iterations) {
            return Err(SealError::Iterations(iterations).into());
        }
        let key = Self::derive(passphrase, iterations, salt.try_into().expect("it was split there"));
        let mut check: [u8; TAG] = check.try_into().expect("it was split there");
        match key.aead.open_in_place(Nonce::assume_unique_for_key([0xff; 12]), Aad::from(&key.front), &mut check) {
            Ok(_) => Ok(key),
            Err(_) => Err(SealError::Passphrase.into()),
        }
    }

    fn derive(passphrase: &Private, iterations: u32, salt: [u8; SALT]) -> Self {
        let rounds = NonZeroU32::new(iterations).expect("the bounds leave zero out");
        let mut key = [0; 32];
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, rounds, &salt, passphrase.expose().as_bytes(), &mut key);
        let mut front = [0; FRONT];
        front[..MAGIC.len()].copy_from_slice(&MAGIC);
        front[MAGIC.len()..MAGIC.len() + 4].copy_from_slice(&iterations.to_be_bytes());
        front[MAGIC.len() + 4..].copy_from_slice(&salt);
        Self::with(&key, front)
    }

    fn with(key: &[u8; 32], front: [u8; FRONT]) -> Self {
        let key = UnboundKey::new(&AES_256_GCM, key).expect("AES-256 takes 32 bytes");
        Self { aead: LessSafeKey::new(key), front }
    }

    /// Of the header, bytes: where the first chunk begins.
    #[allow(clippy::unused_self, reason = "asked only where there is a seal")]
    pub(super) fn length(&self) -> u64 {
        (FRONT + TAG) as u64
    }

    /// As it stands in the file.
    fn header(&self) -> [u8; FRONT + TAG] {
        let mut header = [0; FRONT + TAG];
        header[..FRONT].copy_from_slice(&self.front);
        let nonce = Nonce::assume_unique_for_key([0xff; 12]);
        let check = self.aead.seal_in_place_separate_tag(nonce, Aad::from(&self.front), &mut []);
        header[FRONT..].copy_from_slice(check.expect("nothing is not too long").as_ref());
        header
    }
}

fn nonce(number: u64, is_last: bool) -> Nonce {
    let mut nonce = [0; 12];
    nonce[..8].copy_from_slice(&number.to_be_bytes());
    nonce[11] = u8::from(is_last);
    Nonce::assume_unique_for_key(nonce)
}

/// Seals what is written. What was written is whole only after [`Sealer::finish`].
pub(super) struct Sealer<W> {
    key: Key,
    output: W,
    /// Plain text that waits for more, or for the end.
    buffer: Vec<u8>,
    number: u64,
}

impl<W: Write> Sealer<W> {
    pub(super) fn new(key: Key, mut output: W) -> io::Result<Self> {
        output.write_all(&key.header())?;
        Ok(Self { key, output, buffer: Vec::with_capacity(CHUNK + TAG), number: 0 })
    }

    fn seal(&mut self, is_last: bool) -> io::Result<()> {
        self.key
            .aead
            .seal_in_place_append_tag(nonce(self.number, is_last), Aad::from(&self.key.front), &mut self.buffer)
            .map_err(|_| io::Error::other("a chunk could not be encrypted"))?;
        self.output.write_all(&self.buffer)?;
        self.buffer.clear();
        self.number += 1;
        Ok(())
    }

    /// The last chunk, empty or not.
    pub(super) fn finish(mut self) -> io::Result<W> {
        self.seal(true)?;
        self.output.flush()?;
        Ok(self.output)
    }
}

impl<W: Write> Write for Sealer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Only now is it known that the full chunk was not the last one.
        if self.buffer.len() == CHUNK && !bytes.is_empty() {
            self.seal(false)?;
        }
        let taken = bytes.len().min(CHUNK - self.buffer.len());
        self.buffer.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}

/// Opens what was sealed, from behind the header. Gives out nothing that was not authenticated; only after its end is it
/// certain that nothing is missing.
pub(super) struct Opener<'k, R> {
    key: &'k Key,
    input: R,
    /// Sealed text: a chunk, and the first byte of the next one if there is any.
    sealed: Vec<u8>,
    /// Plain text that was not asked for yet.
    plain: Vec<u8>,
    given: usize,
    number: u64,
    is_over: bool,
}

impl<'k, R: Read> Opener<'k, R> {
    pub(super) fn new(key: &'k Key, input: R) -> Self {
        let (sealed, plain) = (Vec::with_capacity(CHUNK + TAG + 1), Vec::with_capacity(CHUNK + TAG));
        Self { key, input, sealed, plain, given: 0, number: 0, is_over: false }
    }

    fn open(&mut self) -> io::Result<()> {
        let wanted = (CHUNK + TAG + 1).saturating_sub(self.sealed.len()) as u64;
        (&mut self.input).take(wanted).read_to_end(&mut self.sealed)?;
        self.is_over = self.sealed.len() <= CHUNK + TAG;
        let length = self.sealed.len().min(CHUNK + TAG);
        self.plain.clear();
        self.plain.extend(self.sealed.drain(..length));
        let (nonce, front) = (nonce(self.number, self.is_over), Aad::from(&self.key.front));
        let opened = self.key.aead.open_in_place(nonce, front, &mut self.plain).map(|plain| plain.len());
        let length = opened.map_err(|_| SealError::Chunk(self.number))?;
        self.plain.truncate(length);
        (self.given, self.number) = (0, self.number + 1);
        Ok(())
    }
}

impl<R: Read> Read for Opener<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.given == self.plain.len() && !self.is_over {
            if let Err(error) = self.open() {
                // Whoever asks again gets no further.
                (self.given, self.is_over) = (0, true);
                self.plain.clear();
                return Err(error);
            }
        }
        let length = into.len().min(self.plain.len() - self.given);
        into[..length].copy_from_slice(&self.plain[self.given..self.given + length]);
        self.given += length;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As derived, without the third of a second.
    fn key(salt: u8) -> Key {
        let mut front = [0; FRONT];
        front[..MAGIC.len()].copy_from_slice(&MAGIC);
        front[FRONT - 1] = salt;
        Key::with(&[7; 32], front)
    }

    fn sealed(plain: &[u8], step: usize) -> Vec<u8> {
        let mut sealer = Sealer::new(key(1), Vec::new()).unwrap();
        for part in plain.chunks(step) {
            sealer.write_all(part).unwrap();
        }
        sealer.finish().unwrap().split_off(FRONT + TAG)
    }

    fn opened(sealed: &[u8]) -> io::Result<Vec<u8>> {
        let (key, mut plain) = (key(1), Vec::new());
        Opener::new(&key, sealed).read_to_end(&mut plain)?;
        Ok(plain)
    }

    fn plain() -> impl Strategy<Value = Vec<u8>> {
        // Around the bounds of chunks as often as anywhere else.
        let lengths = prop_oneof![0..3 * CHUNK, CHUNK - 1..CHUNK + 2, 2 * CHUNK - 1..2 * CHUNK + 2, 0_usize..3];
        (lengths, any::<u64>()).prop_map(|(length, seed)| {
            let mut random = fastrand::Rng::with_seed(seed);
            std::iter::repeat_with(|| random.u8(..)).take(length).collect()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn what_was_sealed_opens_as_it_was(plain in plain(), step in 1_usize..200_000) {
            prop_assert_eq!(opened(&sealed(&plain, step)).unwrap(), plain);
        }

        #[test]
        fn what_was_altered_or_cut_or_made_longer_does_not_open(plain in plain(), at: prop::sample::Index, bit in 0_u32..8) {
            let good = sealed(&plain, CHUNK);
            let at = at.index(good.len());
            let mut flipped = good.clone();
            flipped[at] ^= 1_u8 << bit;
            prop_assert!(opened(&flipped).is_err());
            prop_assert!(opened(&good[..at]).is_err());
            let longer = [&good[..], &good[..=at]].concat();
            prop_assert!(opened(&longer).is_err());
        }

        #[test]
        fn chunks_in_another_order_do_not_open(plain in plain(), one: prop::sample::Index, other: prop::sample::Index) {
            let good = sealed(&plain, CHUNK);
            let mut chunks: Vec<_> = good.chunks(CHUNK + TAG).collect();
            let (one, other) = (one.index(chunks.len()), other.index(chunks.len()));
            prop_assume!(one != other);
            chunks.swap(one, other);
            prop_assert!(opened(&chunks.concat()).is_err());
            chunks.swap(one, other);
            chunks.remove(one);
            prop_assert!(opened(&chunks.concat()).is_err());
        }
    }

    #[test]
    fn a_chunk_of_another_file_does_not_open() {
        let mut sealer = Sealer::new(key(2), Vec::new()).unwrap();
        sealer.write_all(b"text").unwrap();
        let other = sealer.finish().unwrap().split_off(FRONT + TAG);
        assert_eq!(opened(&other).unwrap_err().to_string(), SealError::Chunk(0).to_string());
    }

    #[test]
    fn a_passphrase_opens_its_file_and_no_other_does_and_a_header_asks_for_no_more_than_it_may() {
        let mut sealer = Sealer::new(Key::new(&Private::new("correct horse")), Vec::new()).unwrap();
        sealer.write_all(b"text").unwrap();
        let file = sealer.finish().unwrap();
        let mut rest = &file[..];
        let key = Key::of(&Private::new("correct horse"), &mut rest).unwrap();
        let mut plain = String::new();
        Opener::new(&key, rest).read_to_string(&mut plain).unwrap();
        assert_eq!(plain, "text");

        let refused = |file: &[u8], passphrase: &str| {
            let error = Key::of(&Private::new(passphrase), &mut &file[..]).unwrap_err();
            *error.get_ref().unwrap().downcast_ref::<SealError>().unwrap()
        };
        assert_eq!(refused(&file, "correct horsf"), SealError::Passphrase);
        assert_eq!(refused(&file[..FRONT], "correct horse"), SealError::NoHeader);
        for iterations in [0, 1, ITERATIONS - 1, MAX_ITERATIONS + 1, u32::MAX] {
            let mut other = file.clone();
            other[8..12].copy_from_slice(&iterations.to_be_bytes());
            assert_eq!(refused(&other, "correct horse"), SealError::Iterations(iterations));
        }
        assert_eq!(format!("{key:?}"), "Key([private])");
    }
}
