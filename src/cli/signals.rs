//! SIGTERM and SIGINT: the first asks for a soft stop, the second ends at once. SIGHUP has chat servers and credentials
//! read again in `serve`, and in `dev` unless the terminal is gone that it was started at; elsewhere it counts as the other two.

use std::io::{IsTerminal, stdout};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use super::Failure;
use super::output::remark;
use crate::app::Reload;
use crate::shutdown::Shutdown;

/// Listens from now on. The first signal begins the shutdown, which is forced by a second one or by the deadline.
pub(super) fn watch(shutdown: &Shutdown, deadline: Duration) -> Result<(), Failure> {
    listen(shutdown, deadline, || true)
}

/// The same, but SIGHUP is for reading chat servers and credentials again.
pub(super) fn watch_and_reload(shutdown: &Shutdown, deadline: Duration, reload: Reload) -> Result<(), Failure> {
    listen(shutdown, deadline, move || {
        reload.ask();
        false
    })
}

/// The same for a command that a person watches: SIGHUP is also what a terminal says that is closed, and nobody watches then.
pub(super) fn watch_and_reload_at_a_terminal(
    shutdown: &Shutdown,
    deadline: Duration,
    reload: Reload,
) -> Result<(), Failure> {
    let at_a_terminal = stdout().is_terminal();
    listen(shutdown, deadline, move || {
        let is_gone = at_a_terminal && !stdout().is_terminal();
        if !is_gone {
            remark("SIGHUP: chat servers and credentials are read again; Ctrl-C stops");
            reload.ask();
        }
        is_gone
    })
}

/// `hung_up` is asked at each SIGHUP: whether it counts as the other two.
fn listen(
    shutdown: &Shutdown,
    deadline: Duration,
    hung_up: impl Fn() -> bool + Send + Sync + 'static,
) -> Result<(), Failure> {
    let of = |kind| signal(kind).map_err(|error| Failure::running(format!("cannot listen for signals: {error}")));
    let mut terminate = of(SignalKind::terminate())?;
    let mut interrupt = of(SignalKind::interrupt())?;
    // Without anything to reload: a terminal that is closed. Ending without a word would drop what runs.
    let mut hangup = of(SignalKind::hangup())?;
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
    Ok(())
}
