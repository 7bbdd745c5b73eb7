//! SIGTERM, SIGINT and SIGHUP: the first asks for a soft stop, the second ends at once.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use super::Failure;
use crate::shutdown::Shutdown;

/// Listens from now on. The first signal begins the shutdown, which is forced by a second one or by the deadline.
pub(super) fn watch(shutdown: &Shutdown, deadline: Duration) -> Result<(), Failure> {
    let listen = |kind| signal(kind).map_err(|error| Failure::running(format!("cannot listen for signals: {error}")));
    let mut terminate = listen(SignalKind::terminate())?;
    let mut interrupt = listen(SignalKind::interrupt())?;
    // A terminal that is closed. Nothing is reloaded yet, and ending without a word would drop what runs.
    let mut hangup = listen(SignalKind::hangup())?;
    let shutdown = shutdown.clone();
    tokio::spawn(async move {
        let mut next = async || {
            tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
                _ = hangup.recv() => "SIGHUP",
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
