//! Percentiles out of a histogram's counts.

/// What a percentile was estimated as.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Estimate {
    /// Somewhere within one step of the histogram, which bounds the error: the truth is in the same step.
    At(f64),
    /// More than the histogram's last bound, and nobody knows how much.
    Over(f64),
}

/// The value that a share `q` (0 to 1) of what was observed does not exceed. `bounds` rise; `counts` has for each bound how
/// many were at most that and more than the one before, and at the end how many were more than the last. Within a step the
/// observations are taken to lie evenly, as Prometheus' `histogram_quantile` does. `None` if nothing was observed.
pub(super) fn percentile(bounds: &[f64], counts: &[u64], q: f64) -> Option<Estimate> {
    let all: u64 = counts.iter().sum();
    if all == 0 {
        return None;
    }
    let rank = q.clamp(0.0, 1.0) * all as f64;
    let (mut below, mut lower) = (0, 0.0);
    for (bound, count) in bounds.iter().zip(counts) {
        if *count > 0 && (below + count) as f64 >= rank {
            let share = (rank - below as f64) / *count as f64;
            return Some(Estimate::At(lower + (bound - lower) * share.max(0.0)));
        }
        below += count;
        lower = *bound;
    }
    Some(Estimate::Over(lower))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_lies_in_its_step_as_far_along_as_its_rank() {
        let bounds = [1.0, 2.0, 4.0];
        for (counts, q, expected) in [
            // Nothing was observed.
            ([0, 0, 0, 0], 0.5, None),
            // One step holds everything: the rank's share of it.
            ([10, 0, 0, 0], 0.5, Some(Estimate::At(0.5))),
            ([0, 10, 0, 0], 0.5, Some(Estimate::At(1.5))),
            ([0, 0, 10, 0], 0.9, Some(Estimate::At(3.8))),
            ([0, 0, 1, 0], 0.5, Some(Estimate::At(3.0))),
            // Exactly at the end of a step: its bound.
            ([5, 5, 0, 0], 0.5, Some(Estimate::At(1.0))),
            ([5, 5, 0, 0], 1.0, Some(Estimate::At(2.0))),
            // Empty steps between are stepped over.
            ([5, 0, 5, 0], 0.75, Some(Estimate::At(3.0))),
            ([0, 0, 5, 0], 0.0, Some(Estimate::At(2.0))),
            // Beyond the last bound only that is known.
            ([0, 0, 0, 3], 0.5, Some(Estimate::Over(4.0))),
            ([98, 0, 0, 2], 0.98, Some(Estimate::At(1.0))),
            ([98, 0, 0, 2], 0.99, Some(Estimate::Over(4.0))),
            // A share that is none is taken for the nearest that is.
            ([10, 0, 0, 0], 7.0, Some(Estimate::At(1.0))),
            ([10, 0, 0, 0], -1.0, Some(Estimate::At(0.0))),
        ] {
            assert_eq!(percentile(&bounds, &counts, q), expected, "{counts:?} {q}");
        }
    }
}
