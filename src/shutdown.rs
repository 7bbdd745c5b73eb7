//! The end of the process in two stages: *soft* (take nothing new, finish what runs) and, when the deadline passes or
//! the operator insists, *hard* (leave now).

use std::time::Duration;

use tokio_util::sync::CancellationToken;

/// Told to everything that runs. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    soft: CancellationToken,
    hard: CancellationToken,
}

impl Shutdown {
    /// Running, until told otherwise.
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins the soft stage.
    pub fn begin(&self) {
        self.soft.cancel();
    }

    /// Begins the hard stage (and the soft one, if it had not begun).
    pub fn force(&self) {
        self.soft.cancel();
        self.hard.cancel();
    }

    /// Whether the soft stage has begun.
    pub fn has_begun(&self) -> bool {
        self.soft.is_cancelled()
    }

    /// Waits for the soft stage.
    pub async fn begun(&self) {
        self.soft.cancelled().await;
    }

    /// Waits for the hard stage.
    pub async fn forced(&self) {
        self.hard.cancelled().await;
    }

    /// Forces the end `deadline` after the soft stage begins, unless it was forced before.
    pub async fn force_after(&self, deadline: Duration) {
        self.begun().await;
        tokio::select! {
            () = tokio::time::sleep(deadline) => self.force(),
            () = self.forced() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_deadline_turns_a_soft_stop_into_a_hard_one() {
        let shutdown = Shutdown::new();
        let watcher = tokio::spawn({
            let shutdown = shutdown.clone();
            async move { shutdown.force_after(Duration::from_secs(30)).await }
        });
        shutdown.begin();
        assert!(shutdown.has_begun());
        watcher.await.unwrap();
        tokio::time::timeout(Duration::from_millis(1), shutdown.forced()).await.unwrap();
    }
}
