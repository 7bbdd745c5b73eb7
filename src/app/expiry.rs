//! Says in the log, once a day, which certificates of targets end soon.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, rfc3339};
use crate::relay::{Relay, days_left};
use crate::shutdown::Shutdown;

/// From how many whole days before the end on it is worth a warning: enough for a request to whoever has the account.
const WARN_BEFORE: i64 = 30;

/// From how many whole days on it is an error: somebody has to act this week.
const ERROR_BEFORE: i64 = 7;

/// How often it is said.
const EVERY: Duration = Duration::from_hours(24);

/// How loudly an end that is this many whole days away is spoken of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tone {
    Silent,
    Warning,
    Error,
    /// It is over.
    Ended,
}

fn tone(days_left: i64) -> Tone {
    if days_left < 0 {
        Tone::Ended
    } else if days_left <= ERROR_BEFORE {
        Tone::Error
    } else if days_left <= WARN_BEFORE {
        Tone::Warning
    } else {
        Tone::Silent
    }
}

/// Now and once a day until the relay stops.
pub(super) async fn remind(relay: Arc<Relay>, clock: Clock, shutdown: Shutdown) {
    loop {
        for target in relay.readiness() {
            if let Some(end) = target.credential_expires_at {
                say(target.name.as_str(), end, clock.unix_seconds());
            }
        }
        tokio::select! {
            () = clock.sleep(EVERY) => {}
            () = shutdown.begun() => return,
        }
    }
}

/// Says that a target's certificate ends at `end`, if that is soon. Both times are in seconds after the Unix epoch.
pub(super) fn say(target: &str, end: u64, now: u64) {
    let (days, ends) = (days_left(end, now), rfc3339(end));
    let remedy = "create a new certificate in Apple's developer account, or better a signing key, which does not end, and \
                  put it in the old one's place; no restart is needed";
    match tone(days) {
        Tone::Silent => {}
        Tone::Warning => tracing::warn!(target, ends, days, remedy, "the target's certificate ends soon"),
        Tone::Error => tracing::error!(target, ends, days, remedy, "the target's certificate ends within days"),
        Tone::Ended => {
            tracing::error!(target, ends, days, remedy, "the target's certificate has ended: no push can arrive");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearer_the_end_the_louder() {
        let cases = [
            (i64::MAX, Tone::Silent),
            (31, Tone::Silent),
            (30, Tone::Warning),
            (8, Tone::Warning),
            (7, Tone::Error),
            (0, Tone::Error),
            (-1, Tone::Ended),
            (i64::MIN, Tone::Ended),
        ];
        for (days, expected) in cases {
            assert_eq!(tone(days), expected, "{days} days left");
        }
    }
}
