//! Takes finished lines to where they are read, on a thread of its own: whoever logs copies a line into a buffer and goes
//! on. When the reader is too slow, lines are dropped and counted; nobody waits.
//!
//! The thread wakes for the first line and then waits a moment for others. A thread woken for each line (what a channel
//! does) costs more than everything else about a line: 14–24 µs of CPU a line were measured at some thousands a second,
//! against 0.6 µs to format one.

use std::fmt;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

/// How long lines are gathered before they are written: a person following the log does not notice, and the thread wakes
/// at most a hundred times a second. A process that is killed loses what came in this time.
const GATHER: Duration = Duration::from_millis(10);

/// Bytes of buffer kept for the next lines after a burst.
const KEPT_BYTES: usize = 64 * 1024;

/// The longest wait at the end for a reader that has stopped.
const END_TIMEOUT: Duration = Duration::from_secs(1);

/// Where lines are handed in.
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
    /// Starts the thread that writes to `output`. At most `max_bytes` of lines wait for it.
    pub(super) fn start(output: impl Write + Send + 'static, max_bytes: usize) -> io::Result<(Self, SinkGuard)> {
        let shared = Arc::new(Shared { max_bytes, state: Mutex::new(State::default()), changed: Condvar::new() });
        let writing = Arc::clone(&shared);
        thread::Builder::new().name("log".to_owned()).spawn(move || writing.write_out(output))?;
        Ok((Self(Arc::clone(&shared)), SinkGuard(shared)))
    }

    /// Lines dropped so far.
    pub(super) fn dropped(&self) -> u64 {
        self.0.state().dropped
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

    fn write_out(&self, mut output: impl Write) {
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
            // An output that is gone takes nothing more; there is no other place to say so.
            let _ = output.write_all(&taken).and_then(|()| output.flush());
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

impl Drop for SinkGuard {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.ending = true;
        self.0.changed.notify_all();
        // Whether it ended or the time passed, there is nothing more to do.
        let _ = self.0.changed.wait_timeout_while(state, END_TIMEOUT, |state| !state.ended);
    }
}

impl<'a> MakeWriter<'a> for Sink {
    type Writer = LineWriter<'a>;

    fn make_writer(&'a self) -> LineWriter<'a> {
        LineWriter(&self.0)
    }
}

/// Takes one whole line per write, which is how `tracing-subscriber` writes.
pub(super) struct LineWriter<'a>(&'a Shared);

impl Write for LineWriter<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.take_in(line);
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

    /// Reports each write, and hangs in it until the test lets go.
    struct Watched {
        began: mpsc::Sender<Vec<u8>>,
        go: mpsc::Receiver<()>,
    }

    impl Write for Watched {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // Errors mean that the test has let go for good.
            let _ = self.began.send(bytes.to_vec());
            let _ = self.go.recv();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_stops_costs_lines_and_no_time() {
        let ((began, has_begun), (let_go, go)) = (mpsc::channel(), mpsc::channel());
        let (sink, guard) = Sink::start(Watched { began, go }, 10).unwrap();
        let write = |line: &[u8]| sink.make_writer().write_all(line).unwrap();
        write(b"first\n");
        assert_eq!(has_begun.recv().unwrap(), b"first\n");
        // The thread hangs in its write: from here ten bytes fit.
        for line in [b"aaaa\n", b"bbbb\n", b"cccc\n", b"dddd\n"] {
            write(line);
        }
        assert_eq!(sink.dropped(), 2);
        drop(let_go);
        assert_eq!(has_begun.recv().unwrap(), b"aaaa\nbbbb\n");
        drop(guard);
        assert!(has_begun.recv().is_err(), "the thread is still there");
    }

    #[test]
    fn at_the_end_what_waits_is_written() {
        let ((began, has_begun), (let_go, go)) = (mpsc::channel(), mpsc::channel());
        drop(let_go);
        let (sink, guard) = Sink::start(Watched { began, go }, 1_000).unwrap();
        sink.make_writer().write_all(b"last\n").unwrap();
        drop(guard);
        assert_eq!(has_begun.recv().unwrap(), b"last\n");
    }
}
