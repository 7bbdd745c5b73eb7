//! Figures and states as people read them.

use std::time::Duration;

use super::percentiles::Estimate;
use crate::delivery::breaker::{BreakerState, Position, Why};

/// A time in its two largest units: `45 s`, `3 min 20 s`, `2 h 5 min`, `12 d 3 h`.
pub(super) fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    let two = |large: u64, unit: &str, small: u64, small_unit: &str| {
        if small == 0 { format!("{large} {unit}") } else { format!("{large} {unit} {small} {small_unit}") }
    };
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => two(seconds / 60, "min", seconds % 60, "s"),
        3_600..86_400 => two(seconds / 3_600, "h", seconds % 3_600 / 60, "min"),
        _ => two(seconds / 86_400, "d", seconds % 86_400 / 3_600, "h"),
    }
}

/// A whole number with its thousands apart.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut shown = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

/// How many a second, with a digit behind the point while that says something.
pub(super) fn rate(per_second: f64) -> String {
    // Not negative, and a float that is too large for the type becomes its largest.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "not negative, and saturating")]
    let whole = per_second.round() as u64;
    if per_second >= 99.95 {
        count(whole)
    } else if per_second > 0.0 && per_second < 0.05 {
        "<0.1".to_owned()
    } else if per_second == 0.0 {
        "0".to_owned()
    } else {
        format!("{per_second:.1}")
    }
}

/// A percentile of times in seconds; a dash if nothing was measured.
pub(super) fn latency(estimate: Option<Estimate>) -> String {
    match estimate {
        None => "–".to_owned(),
        Some(Estimate::Over(seconds)) => format!("over {seconds} s"),
        Some(Estimate::At(seconds)) if seconds < 0.001 => "<1 ms".to_owned(),
        Some(Estimate::At(seconds)) if seconds < 0.9995 => format!("{:.0} ms", seconds * 1_000.0),
        Some(Estimate::At(seconds)) => format!("{seconds:.1} s"),
    }
}

/// How long a credential or a certificate still lasts, in whole days; negative after its end.
pub(super) fn days(left: i64) -> String {
    match left {
        ..0 => "expired".to_owned(),
        0 => "ends today".to_owned(),
        1 => "1 day".to_owned(),
        _ => format!("{} days", count(left.unsigned_abs())),
    }
}

/// Why a target is not asked as usual, and what happens next; `None` while it is.
pub(super) fn breaker(state: &BreakerState) -> Option<String> {
    let (why, reason) = state.cause?;
    let cause = match why {
        Why::Credentials => format!(
            "its provider does not accept this target's credentials or topic ({reason}); correct key, certificate, topic or \
             project"
        ),
        Why::Trouble => format!("one attempt after the other met trouble ({reason})"),
    };
    let next = match state.position {
        Position::Closed => return None,
        Position::Open => format!("asked again in {}", duration(state.next_try_in + Duration::from_millis(999))),
        Position::HalfOpen => "the next notification shows whether it is back".to_owned(),
    };
    Some(format!("Left alone for {}: {cause}. {}{}.", duration(state.open_for), next[..1].to_uppercase(), &next[1..]))
}

/// A verdict, as a heading.
pub(super) fn verdict(label: &str) -> &'static str {
    match label {
        "delivered" => "Delivered",
        "remove" => "Dead token",
        "retry" => "Trouble",
        "new_credential" => "New credential",
        "target_broken" => "Target broken",
        "rejected" => "Rejected",
        _ => "Other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::metrics::TargetFigures;

    #[test]
    fn figures_are_short_and_carry_their_units() {
        for (seconds, shown) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (200, "3 min 20 s"),
            (7_500, "2 h 5 min"),
            (1_047_600, "12 d 3 h"),
        ] {
            assert_eq!(duration(Duration::from_secs(seconds)), shown);
        }
        for (number, shown) in [(0, "0"), (999, "999"), (1_000, "1,000"), (12_345_678, "12,345,678")] {
            assert_eq!(count(number), shown);
        }
        for (number, shown) in
            [(0.0, "0"), (0.01, "<0.1"), (0.1, "0.1"), (12.34, "12.3"), (99.96, "100"), (4_321.4, "4,321")]
        {
            assert_eq!(rate(number), shown);
        }
        for (estimate, shown) in [
            (None, "–"),
            (Some(Estimate::At(0.0002)), "<1 ms"),
            (Some(Estimate::At(0.0375)), "38 ms"),
            (Some(Estimate::At(0.9999)), "1.0 s"),
            (Some(Estimate::At(2.25)), "2.2 s"),
            (Some(Estimate::Over(10.0)), "over 10 s"),
        ] {
            assert_eq!(latency(estimate), shown);
        }
        for (left, shown) in [(-3, "expired"), (0, "ends today"), (1, "1 day"), (1_234, "1,234 days")] {
            assert_eq!(days(left), shown);
        }
    }

    #[test]
    fn a_breaker_says_why_it_is_open_and_what_comes_next() {
        let open = BreakerState {
            position: Position::Open,
            cause: Some((Why::Trouble, "connect_refused")),
            open_for: Duration::from_secs(75),
            next_try_in: Duration::from_millis(3_200),
            opened: 1,
        };
        assert_eq!(breaker(&BreakerState::default()), None);
        assert_eq!(
            breaker(&open).unwrap(),
            "Left alone for 1 min 15 s: one attempt after the other met trouble (connect_refused). Asked again in 4 s."
        );
        let half = BreakerState {
            position: Position::HalfOpen,
            cause: Some((Why::Credentials, "InvalidProviderToken")),
            ..open
        };
        assert_eq!(
            breaker(&half).unwrap(),
            "Left alone for 1 min 15 s: its provider does not accept this target's credentials or topic \
             (InvalidProviderToken); correct key, certificate, topic or project. The next notification shows whether it is \
             back."
        );
    }

    #[test]
    fn every_verdict_has_a_heading() {
        assert!(TargetFigures::VERDICTS.iter().all(|label| verdict(label) != "Other"));
    }
}
