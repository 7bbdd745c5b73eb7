//! HTTP/2 frames as they pass by (RFC 9113 § 4.1), and what the simulator does to them: promise fewer streams at
//! first, raise the promise later, say GOAWAY, and notice what a client should not have done.
//!
//! Pure: bytes in, bytes out. The h2 crate speaks the protocol; this only looks over its shoulder, because h2 decides
//! its stream limit before the first request and finishes every stream after a GOAWAY.

use std::collections::HashSet;

const DATA: u8 = 0x0;
const HEADERS: u8 = 0x1;
const PRIORITY: u8 = 0x2;
const RST_STREAM: u8 = 0x3;
const SETTINGS: u8 = 0x4;
const GOAWAY: u8 = 0x7;
const CONTINUATION: u8 = 0x9;

const ACK: u8 = 0x1;
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;

/// Bytes of a frame's header (RFC 9113 § 4.1).
const HEADER: usize = 9;
/// Bytes of the client's connection preface (RFC 9113 § 3.4), before its first frame.
const PREFACE: usize = 24;
/// `SETTINGS_MAX_CONCURRENT_STREAMS` (RFC 9113 § 6.5.2).
const MAX_CONCURRENT_STREAMS: u16 = 0x3;
/// Bytes of one setting: identifier and value.
const SETTING: usize = 6;

/// Something a client did that the provider's documentation forbids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Misstep {
    /// Opened this stream while as many as allowed were open.
    TooManyStreams(u32),
    /// Sent a PRIORITY frame for this stream.
    Priority(u32),
}

#[derive(Clone, Copy, Debug, Default)]
struct Header {
    length: usize,
    kind: u8,
    flags: u8,
    stream: u32,
}

impl Header {
    fn parse(bytes: [u8; HEADER]) -> Self {
        let [l2, l1, l0, kind, flags, s3, s2, s1, s0] = bytes;
        Self {
            length: usize::from(l2) << 16 | usize::from(l1) << 8 | usize::from(l0),
            kind,
            flags,
            stream: u32::from_be_bytes([s3, s2, s1, s0]) & 0x7fff_ffff,
        }
    }

    fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// Where one direction stands between bytes.
#[derive(Debug, Default)]
struct Position {
    header: [u8; HEADER],
    /// How much of `header` is filled.
    have: usize,
    /// The frame being passed, once its header is complete.
    frame: Header,
    /// Bytes of its payload still to come.
    remaining: usize,
}

impl Position {
    fn at_boundary(&self) -> bool {
        self.have == 0 && self.remaining == 0
    }

    /// Takes header bytes from the front of `input`; the header when it became complete.
    fn take_header(&mut self, input: &mut &[u8]) -> Option<Header> {
        let take = (HEADER - self.have).min(input.len());
        let (head, rest) = input.split_at(take);
        self.header[self.have..self.have + take].copy_from_slice(head);
        *input = rest;
        self.have += take;
        if self.have < HEADER {
            return None;
        }
        self.have = 0;
        self.frame = Header::parse(self.header);
        self.remaining = self.frame.length;
        Some(self.frame)
    }
}

/// One connection's frames, both ways.
#[derive(Debug)]
pub(super) struct Frames {
    inbound: Position,
    outbound: Position,
    preface_left: usize,
    /// Streams the client may have open now.
    limit: u32,
    /// What `limit` becomes after the stream in `raise_after` was answered.
    full_limit: u32,
    raise_after: Option<u32>,
    /// Whether the SETTINGS frame that raises the limit was written.
    injected: bool,
    /// The payload of the first outbound SETTINGS, while it is rewritten.
    first_settings: Option<Vec<u8>>,
    acks_seen: u8,
    open: HashSet<u32>,
    highest_opened: u32,
    refused: HashSet<u32>,
    /// The stream whose `END_STREAM` waits for the end of its header block.
    ending: Option<u32>,
    goaway: Option<u32>,
    missteps: Vec<Misstep>,
}

impl Frames {
    /// Of a connection that allows `limit` streams until [`Frames::raise_after`], and `full_limit` from then on.
    pub(super) fn new(limit: u32, full_limit: u32) -> Self {
        Self {
            inbound: Position::default(),
            outbound: Position::default(),
            preface_left: PREFACE,
            limit,
            full_limit,
            raise_after: None,
            injected: false,
            first_settings: Some(Vec::new()),
            acks_seen: 0,
            open: HashSet::new(),
            highest_opened: 0,
            refused: HashSet::new(),
            ending: None,
            goaway: None,
            missteps: Vec::new(),
        }
    }

    /// Raises the limit as soon as the answer on this stream has been written.
    pub(super) fn raise_after(&mut self, stream: u32) {
        if self.limit < self.full_limit && self.raise_after.is_none() {
            self.raise_after = Some(stream);
        }
    }

    /// Says GOAWAY with this last stream at the next frame boundary.
    pub(super) fn say_goaway(&mut self, last_stream: u32) {
        self.goaway = Some(last_stream);
    }

    /// Whether this stream was opened beyond the limit.
    pub(super) fn is_refused(&mut self, stream: u32) -> bool {
        self.refused.remove(&stream)
    }

    /// Whether the GOAWAY with this last stream and the end of every stream up to it have been written.
    pub(super) fn is_settled(&self, last_stream: u32) -> bool {
        self.goaway.is_none() && self.open.iter().all(|stream| *stream > last_stream)
    }

    /// What the client did wrong since this was last asked.
    pub(super) fn take_missteps(&mut self) -> Vec<Misstep> {
        std::mem::take(&mut self.missteps)
    }

    /// Passes what the client sent on to h2, less the acknowledgement of a SETTINGS frame h2 never sent.
    pub(super) fn inbound(&mut self, mut input: &[u8], out: &mut Vec<u8>) {
        let preface = self.preface_left.min(input.len());
        out.extend_from_slice(&input[..preface]);
        self.preface_left -= preface;
        input = &input[preface..];
        while !input.is_empty() {
            if self.inbound.remaining > 0 {
                pass_payload(&mut self.inbound, &mut input, out);
            } else if let Some(frame) = self.inbound.take_header(&mut input)
                && self.admits(frame)
            {
                out.extend_from_slice(&self.inbound.header);
            }
        }
    }

    /// Notes an inbound frame; `false` when h2 must not see it.
    fn admits(&mut self, frame: Header) -> bool {
        match frame.kind {
            HEADERS if frame.stream > self.highest_opened => {
                self.highest_opened = frame.stream;
                if self.open.len() >= self.limit as usize {
                    self.refused.insert(frame.stream);
                    self.missteps.push(Misstep::TooManyStreams(frame.stream));
                } else {
                    self.open.insert(frame.stream);
                }
            }
            RST_STREAM => {
                self.open.remove(&frame.stream);
            }
            PRIORITY => self.missteps.push(Misstep::Priority(frame.stream)),
            // Acknowledgements come in the order of the frames they answer: the first is for h2's own SETTINGS, the
            // second for the one injected here. Its payload is empty, so dropping the header drops all of it.
            SETTINGS if frame.has(ACK) && frame.length == 0 => {
                self.acks_seen = self.acks_seen.saturating_add(1);
                return !(self.injected && self.acks_seen == 2);
            }
            _ => {}
        }
        true
    }

    /// Passes what h2 wrote on to the client, with the limit in its first SETTINGS replaced, and adds what is due at
    /// the frame boundaries.
    pub(super) fn outbound(&mut self, mut input: &[u8], out: &mut Vec<u8>) {
        while !input.is_empty() {
            if self.outbound.remaining > 0 {
                self.pass_outbound_payload(&mut input, out);
            } else if let Some(frame) = self.outbound.take_header(&mut input) {
                out.extend_from_slice(&self.outbound.header);
                if frame.length == 0 {
                    self.frame_written(out);
                }
            }
        }
    }

    /// Adds a due GOAWAY if the bytes so far end at a frame boundary.
    pub(super) fn add_goaway(&mut self, out: &mut Vec<u8>) {
        if let Some(last) = self.goaway.filter(|_| self.outbound.at_boundary() && self.ending.is_none()) {
            self.goaway = None;
            write_frame(out, GOAWAY, &[last.to_be_bytes(), [0; 4]].concat());
        }
    }

    fn pass_outbound_payload(&mut self, input: &mut &[u8], out: &mut Vec<u8>) {
        let is_settings = self.outbound.frame.kind == SETTINGS && !self.outbound.frame.has(ACK);
        match self.first_settings.as_mut().filter(|_| is_settings) {
            None => pass_payload(&mut self.outbound, input, out),
            Some(payload) => {
                pass_payload(&mut self.outbound, input, payload);
                if self.outbound.remaining == 0 {
                    replace_limit(payload, self.limit);
                    out.extend_from_slice(payload);
                    self.first_settings = None;
                }
            }
        }
        if self.outbound.remaining == 0 {
            self.frame_written(out);
        }
    }

    fn frame_written(&mut self, out: &mut Vec<u8>) {
        let frame = self.outbound.frame;
        match frame.kind {
            RST_STREAM => self.stream_ended(frame.stream, out),
            DATA if frame.has(END_STREAM) => self.stream_ended(frame.stream, out),
            HEADERS if frame.has(END_STREAM) && frame.has(END_HEADERS) => self.stream_ended(frame.stream, out),
            HEADERS if frame.has(END_STREAM) => self.ending = Some(frame.stream),
            // Nothing may stand between HEADERS and its CONTINUATION frames (RFC 9113 § 6.10).
            CONTINUATION if frame.has(END_HEADERS) => {
                if let Some(stream) = self.ending.take() {
                    self.stream_ended(stream, out);
                }
            }
            _ => {}
        }
        self.add_goaway(out);
    }

    fn stream_ended(&mut self, stream: u32, out: &mut Vec<u8>) {
        self.open.remove(&stream);
        if self.raise_after == Some(stream) {
            self.raise_after = None;
            self.injected = true;
            self.limit = self.full_limit;
            let mut setting = MAX_CONCURRENT_STREAMS.to_be_bytes().to_vec();
            setting.extend_from_slice(&self.limit.to_be_bytes());
            write_frame(out, SETTINGS, &setting);
        }
    }
}

fn pass_payload(position: &mut Position, input: &mut &[u8], out: &mut Vec<u8>) {
    let (part, rest) = input.split_at(position.remaining.min(input.len()));
    out.extend_from_slice(part);
    *input = rest;
    position.remaining -= part.len();
}

/// Writes a connection-level frame (stream 0, no flags) with a payload of a few bytes.
fn write_frame(out: &mut Vec<u8>, kind: u8, payload: &[u8]) {
    let length = u8::try_from(payload.len()).expect("the frames written here hold at most eight bytes");
    out.extend_from_slice(&[0, 0, length, kind, 0, 0, 0, 0, 0]);
    out.extend_from_slice(payload);
}

fn replace_limit(settings: &mut [u8], limit: u32) {
    for setting in settings.chunks_exact_mut(SETTING) {
        if setting.starts_with(&MAX_CONCURRENT_STREAMS.to_be_bytes()) {
            setting[2..].copy_from_slice(&limit.to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut bytes = length[1..].to_vec();
        bytes.extend([kind, flags]);
        bytes.extend(stream.to_be_bytes());
        bytes.extend(payload);
        bytes
    }

    fn setting(id: u16, value: u32) -> Vec<u8> {
        [&id.to_be_bytes()[..], &value.to_be_bytes()].concat()
    }

    /// What h2 writes on a connection that answers stream 1 with a body and stream 3 without one.
    fn served() -> Vec<u8> {
        [
            frame(SETTINGS, 0, 0, &[setting(4, 65_535), setting(3, 1_000)].concat()),
            frame(SETTINGS, ACK, 0, &[]),
            frame(HEADERS, END_HEADERS, 1, b"head"),
            frame(DATA, END_STREAM, 1, b"body"),
            frame(HEADERS, END_STREAM, 3, b"he"),
            frame(CONTINUATION, END_HEADERS, 3, b"ad"),
        ]
        .concat()
    }

    /// The same as the client shall see it: one stream at first, 1,000 after the answer on `raised`.
    fn seen(raised: u32) -> Vec<u8> {
        let more = |stream| if stream == raised { frame(SETTINGS, 0, 0, &setting(3, 1_000)) } else { Vec::new() };
        [
            frame(SETTINGS, 0, 0, &[setting(4, 65_535), setting(3, 1)].concat()),
            frame(SETTINGS, ACK, 0, &[]),
            frame(HEADERS, END_HEADERS, 1, b"head"),
            frame(DATA, END_STREAM, 1, b"body"),
            more(1),
            frame(HEADERS, END_STREAM, 3, b"he"),
            frame(CONTINUATION, END_HEADERS, 3, b"ad"),
            more(3),
        ]
        .concat()
    }

    /// Cuts bytes at arbitrary places, as sockets do.
    fn pieces(bytes: &[u8], cuts: &[prop::sample::Index]) -> Vec<Vec<u8>> {
        let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        places.extend([0, bytes.len()]);
        places.sort_unstable();
        places.windows(2).map(|pair| bytes[pair[0]..pair[1]].to_vec()).collect()
    }

    proptest! {
        #[test]
        fn the_client_sees_the_same_wherever_the_bytes_are_cut(
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
            raised in prop::sample::select(vec![1_u32, 3]),
        ) {
            let mut frames = Frames::new(1, 1_000);
            frames.raise_after(raised);
            let mut out = Vec::new();
            for piece in pieces(&served(), &cuts) {
                frames.outbound(&piece, &mut out);
            }
            prop_assert_eq!(out, seen(raised));
        }

        #[test]
        fn h2_sees_all_but_the_second_acknowledgement_wherever_the_bytes_are_cut(
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        ) {
            let ack = frame(SETTINGS, ACK, 0, &[]);
            let before = [&[b'p'; PREFACE][..], &frame(SETTINGS, 0, 0, &[]), &ack].concat();
            let after = frame(HEADERS, END_HEADERS, 5, b"head");
            let mut frames = Frames::new(1, 1_000);
            frames.raise_after(1);
            frames.outbound(&served(), &mut Vec::new());
            let mut out = Vec::new();
            for piece in pieces(&[&before[..], &ack, &after].concat(), &cuts) {
                frames.inbound(&piece, &mut out);
            }
            prop_assert_eq!(out, [before, after].concat());
            prop_assert_eq!(frames.take_missteps(), vec![]);
        }

        #[test]
        fn a_goaway_never_cuts_a_frame_or_a_header_block(at in any::<prop::sample::Index>()) {
            let bytes = served();
            let at = at.index(bytes.len() + 1);
            let mut frames = Frames::new(1_000, 1_000);
            let mut out = Vec::new();
            frames.outbound(&bytes[..at], &mut out);
            frames.say_goaway(3);
            frames.add_goaway(&mut out);
            frames.outbound(&bytes[at..], &mut out);
            let goaway = frame(GOAWAY, 0, 0, &[0, 0, 0, 3, 0, 0, 0, 0]);
            let place = out.windows(goaway.len()).position(|window| window == goaway).unwrap();
            let mut boundaries = Vec::new();
            let mut end = 0;
            for (length, ends_block) in [(12, true), (0, true), (4, true), (4, true), (2, false), (2, true)] {
                if ends_block && end == 0 { boundaries.push(0); }
                end += HEADER + length;
                if ends_block { boundaries.push(end); }
            }
            prop_assert!(boundaries.contains(&place), "at {}", place);
        }
    }

    #[test]
    fn a_certificates_connection_shows_h2_every_acknowledgement() {
        let ack = frame(SETTINGS, ACK, 0, &[]);
        let bytes = [&[b'p'; PREFACE][..], &ack, &ack].concat();
        let mut frames = Frames::new(1_000, 1_000);
        frames.raise_after(1);
        frames.outbound(&served(), &mut Vec::new());
        let mut out = Vec::new();
        frames.inbound(&bytes, &mut out);
        assert_eq!(out, bytes);
    }

    #[test]
    fn a_stream_the_client_resets_makes_room_for_another() {
        let head = |stream| frame(HEADERS, END_HEADERS, stream, b"head");
        let mut frames = Frames::new(1, 1_000);
        let mut out = Vec::new();
        frames
            .inbound(&[&[b'p'; PREFACE][..], &head(1), &frame(RST_STREAM, 0, 1, &[0; 4]), &head(3)].concat(), &mut out);
        assert_eq!(frames.take_missteps(), []);
        frames.inbound(&head(5), &mut out);
        assert_eq!(frames.take_missteps(), [Misstep::TooManyStreams(5)]);
        assert!(frames.is_refused(5) && !frames.is_refused(3));
    }
}
