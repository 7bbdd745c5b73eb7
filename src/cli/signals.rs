//! SIGTERM and SIGINT: the first asks for a soft stop, the second ends at once. SIGHUP has chat servers and credentials
//! read again in `serve`, and in `dev` unless the terminal is gone that it was started at; elsewhere it counts as the other two.

use std::io::{IsTerminal, stdout};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Failure;
use super::output::remark;
use crate::app::Reload;
use crate::shutdown::Shutdown;

/// Signals that are noted from now on and wait to be looked at. Made before a command reads or binds anything: until then each
/// of them ends the process, also one that was meant for a relay that is almost there.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// Notes what comes.
    pub(super) fn noted() -> Result<Self, Failure> {
        let of = |kind| signal(kind).map_err(|error| Failure::running(format!("cannot listen for signals: {error}")));
        Ok(Self {
            terminate: of(SignalKind::terminate())?,
            interrupt: of(SignalKind::interrupt())?,
            // Without anything to reload: a terminal that is closed. Ending without a word would drop what runs.
            hangup: of(SignalKind::hangup())?,
        })
    }

    /// Waits for one that asks for the end, while there is nothing yet that would have to be finished.
    pub(super) async fn end(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }

    /// The first signal begins the shutdown, which is forced by a second one or by the deadline.
    pub(super) fn watch(self, shutdown: &Shutdown, deadline: Duration) {
        self.listen(shutdown, deadline, || true);
    }

    /// The same, but SIGHUP is for reading chat servers and credentials again.
    pub(super) fn watch_and_reload(self, shutdown: &Shutdown, deadline: Duration, reload: Reload) {
        self.listen(shutdown, deadline, move || {
            reload.ask();
            false
        });
    }

    /// The same for a command that a person watches: SIGHUP is also what a terminal says that is closed, and nobody watches
    /// then.
    pub(super) fn watch_and_reload_at_a_terminal(self, shutdown: &Shutdown, deadline: Duration, reload: Reload) {
        let at_a_terminal = stdout().is_terminal();
        self.listen(shutdown, deadline, move || {
            let is_gone = at_a_terminal && !stdout().is_terminal();
            if !is_gone {
                remark("SIGHUP: chat servers and credentials are read again; Ctrl-C stops");
                reload.ask();
            }
            is_gone
        });
    }

    /// `hung_up` is asked at each SIGHUP: whether it counts as the other two.
    fn listen(self, shutdown: &Shutdown, deadline: Duration, hung_up: impl Fn() -> bool + Send + Sync + 'static) {
        let Self { mut terminate, mut interrupt, mut hangup } = self;
        let shutdown = shutdown.clone();
        tokio::spawn(async move {
            let mut next = async || {
                loop {
                    tokio::select! {
                        _ = terminate.recv() => return "SIGTERM",
                        _ = interrupt.recv() => return "SIGINT",
                        _ = hangup.recv() => if hung_up() {
                            return "SIGHUP";
                        },
                    }
                }
            };
            let first = next().await;
            tracing::info!(
                signal = first,
                deadline_s = deadline.as_secs_f64(),
                "stopping: taking nothing new, finishing what runs; a second signal ends at once"
            );
            shutdown.begin();
            tokio::select! {
                second = next() => {
                    tracing::warn!(signal = second, "ending at once: running requests are dropped");
                    shutdown.force();
                }
                () = shutdown.force_after(deadline) => {
                    tracing::warn!("the shutdown deadline has passed: running requests are dropped");
                }
            }
        });
    }
}

/// Has a file that must not grow any further (`RLIMIT_FSIZE`, `ulimit -f`) be an error of whoever writes it, as a full disk is,
/// and not the end of the process by SIGXFSZ. For the rest of the process: what tokio has once taken over it keeps.
pub(super) fn outlive_file_limits() {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_io().build() else { return };
    let _inside = runtime.enter();
    if let Err(error) = signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw())) {
        remark(format_args!("pushrelay: cannot listen for SIGXFSZ: {error}"));
    }
}
