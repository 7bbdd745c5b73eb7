//! Takes finished lines to where they are read, on a thread of its own: whoever logs copies a line into a buffer and goes
//! on. When the reader is too slow, lines are dropped and counted; nobody waits.
//!
//! The console and the file have a sink each, because a write to a console that nobody reads blocks for good, and must not
//! keep the lines from the file.
//!
//! The thread wakes for the first line and then waits a moment for others. A thread woken for each line (what a channel
//! does) costs more than everything else about a line: 14–24 µs of CPU a line were measured at some thousands a second,
//! against 0.6 µs to format one.

use std::fmt;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tracing_subscriber::fmt::MakeWriter;

/// How long lines are gathered before they are written: a person following the log does not notice, and the thread wakes
/// at most a hundred times a second. A process that is killed loses what came in this time.
const GATHER: Duration = Duration::from_millis(10);

/// Bytes of buffer kept for the next lines after a burst.
const KEPT_BYTES: usize = 64 * 1024;

/// Where lines are handed in, each to every output.
#[derive(Clone, Debug, Default)]
pub(super) struct Outputs(Arc<[Sink]>);

/// The way to one output.
#[derive(Clone, Debug)]
pub(super) struct Sink(Arc<Shared>);

struct Shared {
    max_bytes: usize,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Whole lines that the thread has not taken yet; at most `max_bytes`. It may be writing as many more.
    waiting: Vec<u8>,
    dropped: u64,
    /// No further line will come.
    ending: bool,
    /// The thread has written everything and gone.
    ended: bool,
}

/// Ends the thread when it is dropped, after it has written what waits.
#[derive(Debug)]
pub(super) struct SinkGuard(Arc<Shared>);

impl Sink {
    /// Starts the thread, which gives some whole lines at a time to `output` and learns how many of them were lost. At most
    /// `max_bytes` of lines wait for it.
    pub(super) fn start(
        name: &str,
        max_bytes: usize,
        output: impl FnMut(&[u8]) -> u64 + Send + 'static,
    ) -> io::Result<(Self, SinkGuard)> {
        let shared = Arc::new(Shared { max_bytes, state: Mutex::new(State::default()), changed: Condvar::new() });
        let writing = Arc::clone(&shared);
        thread::Builder::new().name(name.to_owned()).spawn(move || writing.write_out(output))?;
        Ok((Self(Arc::clone(&shared)), SinkGuard(shared)))
    }
}

impl Outputs {
    pub(super) fn new(sinks: Vec<Sink>) -> Self {
        Self(sinks.into())
    }

    /// Lines dropped so far; one that reached neither output counts twice.
    pub(super) fn dropped(&self) -> u64 {
        self.0.iter().map(|sink| sink.0.state().dropped).sum()
    }
}

impl SinkGuard {
    /// No further line will come.
    pub(super) fn end(&self) {
        self.0.state().ending = true;
        self.0.changed.notify_all();
    }

    /// Waits until everything is written after [`SinkGuard::end`], but no longer than this; says whether that is so.
    pub(super) fn wait(&self, until: Instant) -> bool {
        let patience = until.saturating_duration_since(Instant::now());
        let waited = self.0.changed.wait_timeout_while(self.0.state(), patience, |state| !state.ended);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }
}

impl Drop for SinkGuard {
    fn drop(&mut self) {
        self.end();
    }
}

/// How many lines there are; each has its end.
#[allow(clippy::naive_bytecount, reason = "only for lines that are lost")]
pub(super) fn count_lines(lines: &[u8]) -> u64 {
    lines.iter().filter(|byte| **byte == b'\n').count().try_into().unwrap_or(u64::MAX)
}

/// Writes lines to a console, and says how many were lost.
pub(super) fn write_to_console(console: &mut impl Write, lines: &[u8]) -> u64 {
    match console.write_all(lines).and_then(|()| console.flush()) {
        Ok(()) => 0,
        // How far it came is not known; a console that failed is gone.
        Err(_) => count_lines(lines),
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Every change to the state is complete before anything can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_in(&self, line: &[u8]) {
        let mut state = self.state();
        if state.waiting.len() + line.len() > self.max_bytes {
            state.dropped += 1;
            return;
        }
        let first = state.waiting.is_empty();
        state.waiting.extend_from_slice(line);
        drop(state);
        if first {
            self.changed.notify_all();
        }
    }

    fn write_out(&self, mut output: impl FnMut(&[u8]) -> u64) {
        let mut taken = Vec::new();
        loop {
            let nothing = |state: &mut State| state.waiting.is_empty() && !state.ending;
            let state = self.changed.wait_while(self.state(), nothing).unwrap_or_else(PoisonError::into_inner);
            let gathering = self.changed.wait_timeout_while(state, GATHER, |state| !state.ending);
            let (mut state, _) = gathering.unwrap_or_else(PoisonError::into_inner);
            if state.waiting.is_empty() {
                state.ended = true;
                self.changed.notify_all();
                return;
            }
            std::mem::swap(&mut state.waiting, &mut taken);
            drop(state);
            let lost = output(&taken);
            if lost > 0 {
                self.state().dropped += lost;
            }
            taken.clear();
            taken.shrink_to(KEPT_BYTES);
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("max_bytes", &self.max_bytes).finish_non_exhaustive()
    }
}

impl<'a> MakeWriter<'a> for Outputs {
    type Writer = LineWriter<'a>;

    fn make_writer(&'a self) -> LineWriter<'a> {
        LineWriter(&self.0)
    }
}

/// Takes one whole line per write, which is how `tracing-subscriber` writes.
pub(super) struct LineWriter<'a>(&'a [Sink]);

impl Write for LineWriter<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        for sink in self.0 {
            sink.0.take_in(line);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    use std::time::Duration;

    /// Longer than any of this takes on the slowest machine.
    fn patience() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    struct Watch {
        has_begun: mpsc::Receiver<Vec<u8>>,
        let_go: mpsc::Sender<()>,
    }

    /// An output that reports each write, and hangs in it until the test lets go.
    fn watched() -> (Watch, impl FnMut(&[u8]) -> u64) {
        let ((began, has_begun), (let_go, go)) = (mpsc::channel(), mpsc::channel());
        let output = move |lines: &[u8]| {
            // Errors mean that the test has let go for good.
            let _ = began.send(lines.to_vec());
            let _ = go.recv();
            0
        };
        (Watch { has_begun, let_go }, output)
    }

    fn write(outputs: &Outputs, line: &[u8]) {
        outputs.make_writer().write_all(line).unwrap();
    }

    #[test]
    fn a_reader_that_stops_costs_lines_and_no_time() {
        let (Watch { has_begun, let_go }, output) = watched();
        let (sink, guard) = Sink::start("log", 10, output).unwrap();
        let outputs = Outputs::new(vec![sink]);
        write(&outputs, b"first\n");
        assert_eq!(has_begun.recv().unwrap(), b"first\n");
        // The thread hangs in its write: from here ten bytes fit.
        for line in [b"aaaa\n", b"bbbb\n", b"cccc\n", b"dddd\n"] {
            write(&outputs, line);
        }
        assert_eq!(outputs.dropped(), 2);
        drop(let_go);
        assert_eq!(has_begun.recv().unwrap(), b"aaaa\nbbbb\n");
        drop(guard);
        assert!(has_begun.recv().is_err(), "the thread is still there");
    }

    #[test]
    fn an_output_that_hangs_does_not_hold_up_the_other() {
        let (_hold, hanging) = watched();
        let (Watch { has_begun, let_go }, output) = watched();
        drop(let_go);
        let (console, _console_guard) = Sink::start("log-console", 1_000, hanging).unwrap();
        let (file, file_guard) = Sink::start("log-file", 1_000, output).unwrap();
        let outputs = Outputs::new(vec![console, file]);
        for line in [b"one\n", b"two\n"] {
            write(&outputs, line);
        }
        file_guard.end();
        assert!(file_guard.wait(patience()));
        assert_eq!(has_begun.iter().collect::<Vec<_>>().concat(), b"one\ntwo\n");
        assert_eq!(outputs.dropped(), 0);
    }

    #[test]
    fn at_the_end_what_waits_is_written() {
        let (Watch { has_begun, let_go }, output) = watched();
        drop(let_go);
        let (sink, guard) = Sink::start("log", 1_000, output).unwrap();
        write(&Outputs::new(vec![sink]), b"last\n");
        drop(guard);
        assert_eq!(has_begun.recv().unwrap(), b"last\n");
    }

    #[test]
    fn lines_for_a_console_that_is_gone_count_as_dropped() {
        let mut full: &mut [u8] = &mut [0; 5];
        assert_eq!(write_to_console(&mut full, b"one\ntwo\n"), 2);
        assert_eq!(write_to_console(&mut io::sink(), b"one\ntwo\n"), 0);
        let (sink, guard) = Sink::start("log", 1_000, count_lines).unwrap();
        let outputs = Outputs::new(vec![sink]);
        write(&outputs, b"one\n");
        guard.end();
        assert!(guard.wait(patience()));
        assert_eq!(outputs.dropped(), 1);
    }
}
