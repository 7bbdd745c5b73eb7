//! SIGTERM and SIGINT: the first asks for a soft stop, the second ends at once. SIGHUP has chat servers and credentials
//! read again in `serve`, and counts as the other two elsewhere.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use super::Failure;
use crate::app::Reload;
use crate::shutdown::Shutdown;

/// Listens from now on. The first signal begins the shutdown, which is forced by a second one or by the deadline.
pub(super) fn watch(shutdown: &Shutdown, deadline: Duration) -> Result<(), Failure> {
    listen(shutdown, deadline, None)
}

/// The same, but SIGHUP is for reading chat servers and credentials again.
pub(super) fn watch_and_reload(shutdown: &Shutdown, deadline: Duration, reload: Reload) -> Result<(), Failure> {
    listen(shutdown, deadline, Some(reload))
}

fn listen(shutdown: &Shutdown, deadline: Duration, reload: Option<Reload>) -> Result<(), Failure> {
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
                    _ = hangup.recv() => match &reload {
                        Some(reload) => reload.ask(),
                        None => return "SIGHUP",
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
