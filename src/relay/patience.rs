//! How long one attempt may take, by what was tried before. Pure.
//!
//! One that is sent is waited for while its connection answers PINGs: the provider may have taken it, and to send it again would
//! wake its phone again. A connection that does not is left by the transport itself, within seconds.

use std::time::Duration;

use crate::delivery::DeliverySettings;
use crate::sender::Patience;

/// The shortest time that an attempt from the queue gets to be sent: nobody waits.
const LEAST_TO_SEND: Duration = Duration::from_secs(10);

/// The longest wait for the answer to one attempt from the queue, unless twice the deadline is longer. It holds one of the
/// target's places in the worker.
const LONGEST_FOR_ANSWER: Duration = Duration::from_mins(2);

/// While a caller waits, who has so much time `left`: each time-out doubles what the next attempt gets.
pub(super) fn direct(limits: &DeliverySettings, timeouts: u32, left: Duration) -> Patience {
    Patience { to_send: limits.attempt_timeout.saturating_mul(1 << timeouts.min(8)).min(left), to_hear: left }
}

/// From the queue, after so many attempts. The caller's was given up to the deadline, and the first from the queue gets twice
/// that; each further one twice as long again, since a provider that was too slow is probably no quicker now.
pub(super) fn queued(limits: &DeliverySettings, attempts: u32) -> Patience {
    let to_hear = limits.deadline.saturating_mul(2 << attempts.saturating_sub(1).min(8));
    let to_send = limits.attempt_timeout.max(LEAST_TO_SEND);
    Patience { to_send, to_hear: to_hear.min(longest(limits)).max(to_send) }
}

/// The longest that an attempt from the queue may take; a lease outlasts it.
pub(super) fn longest(limits: &DeliverySettings) -> Duration {
    LONGEST_FOR_ANSWER.max(limits.deadline.saturating_mul(2)).max(limits.attempt_timeout)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(deadline: u64, attempt_timeout: u64) -> DeliverySettings {
        DeliverySettings {
            deadline: Duration::from_secs(deadline),
            attempt_timeout: Duration::from_secs(attempt_timeout),
            max_attempts: 3,
            first_pause: Duration::from_secs(1),
        }
    }

    fn seconds(patience: Patience) -> (u64, u64) {
        (patience.to_send.as_secs(), patience.to_hear.as_secs())
    }

    #[test]
    fn a_caller_waits_for_what_is_sent_to_the_end_and_each_time_out_doubles_the_time_to_send() {
        for (timeouts, left, expected) in
            [(0, 25, (8, 25)), (1, 17, (16, 17)), (2, 40, (32, 40)), (0, 3, (3, 3)), (u32::MAX, 25, (25, 25))]
        {
            let patience = direct(&limits(25, 8), timeouts, Duration::from_secs(left));
            assert_eq!(seconds(patience), expected, "after {timeouts}");
        }
    }

    #[test]
    fn each_attempt_from_the_queue_gets_twice_as_long_up_to_a_bound_that_a_lease_outlasts() {
        let cases = [
            (25, 8, [(10, 50), (10, 50), (10, 100), (10, 120), (10, 120)]),
            (1, 1, [(10, 10), (10, 10), (10, 10), (10, 10), (10, 16)]),
            (90, 30, [(30, 180), (30, 180), (30, 180), (30, 180), (30, 180)]),
        ];
        for (deadline, attempt_timeout, expected) in cases {
            let limits = limits(deadline, attempt_timeout);
            assert_eq!([0, 1, 2, 3, 4].map(|attempts| seconds(queued(&limits, attempts))), expected, "{deadline} s");
            for attempts in [0, 1, 7, u32::MAX] {
                assert!(queued(&limits, attempts).to_hear <= longest(&limits));
            }
        }
    }
}
