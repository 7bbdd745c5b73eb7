//! A small plot of the last minutes: an SVG element without any style of its own, because the page's policy allows none.

use std::fmt::Write as _;

/// Values in one point of the plot, seconds: a plot is some 200 pixels wide and would show no more of 600.
const SECONDS_PER_POINT: usize = 5;

/// Units of the drawing; the style sheet stretches it.
const HEIGHT: f64 = 32.0;

/// Left free at the top and the bottom, so that the line is drawn whole.
const MARGIN: f64 = 1.0;

/// What a plot shows.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Series {
    /// One for each second, the newest last.
    pub(super) values: Vec<f32>,
    /// How many there have been, those before the first one included: points begin at multiples of this, so that a plot moves
    /// on and does not tremble.
    pub(super) seen: u64,
}

impl Series {
    /// The means of [`SECONDS_PER_POINT`] values each.
    fn points(&self) -> Vec<f32> {
        let first = self.seen.saturating_sub(self.values.len() as u64);
        let behind = usize::try_from(first % SECONDS_PER_POINT as u64).unwrap_or(0);
        let head = if behind == 0 { 0 } else { (SECONDS_PER_POINT - behind).min(self.values.len()) };
        let (head, rest) = self.values.split_at(head);
        let pieces = std::iter::once(head).filter(|head| !head.is_empty()).chain(rest.chunks(SECONDS_PER_POINT));
        pieces.map(|piece| piece.iter().sum::<f32>() / piece.len() as f32).collect()
    }

    /// The highest point.
    pub(super) fn peak(&self) -> f32 {
        self.points().into_iter().fold(0.0, f32::max)
    }

    /// An SVG element whose right edge is now and whose left edge `seconds` ago. `label` says in words what it shows and is
    /// trusted: no caller's text belongs into it.
    pub(super) fn svg(&self, seconds: usize, label: &str) -> String {
        let (width, points) = (seconds / SECONDS_PER_POINT, self.points());
        let peak = points.iter().copied().fold(0.0, f32::max);
        let height = |value: f32| {
            let share = if peak > 0.0 { f64::from(value / peak) } else { 0.0 };
            HEIGHT - MARGIN - share * (HEIGHT - 2.0 * MARGIN)
        };
        let mut svg = format!(
            "<svg class=\"plot\" viewBox=\"0 0 {width} {HEIGHT}\" preserveAspectRatio=\"none\" role=\"img\" \
             aria-label=\"{label}\">"
        );
        if !points.is_empty() {
            let start = (width + 1).saturating_sub(points.len());
            let mut line = String::new();
            for (at, value) in points.iter().enumerate() {
                let _ = write!(line, " {},{:.1}", start + at, height(*value));
            }
            let (line, end) = (line.trim_start(), start + points.len() - 1);
            let _ = write!(svg, "<polygon class=\"area\" points=\"{start},{HEIGHT} {line} {end},{HEIGHT}\"/>");
            let _ = write!(svg, "<polyline class=\"line\" points=\"{line}\"/>");
        }
        svg + "</svg>"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plot_ends_at_the_right_and_is_as_high_as_its_peak() {
        let series = Series { values: vec![0.0, 0.0, 0.0, 0.0, 0.0, 4.0, 4.0, 4.0, 4.0, 4.0, 2.0], seen: 11 };
        assert!((series.peak() - 4.0).abs() < f32::EPSILON);
        let svg = series.svg(600, "notifications a second");
        assert!(svg.contains("<polyline class=\"line\" points=\"118,31.0 119,1.0 120,16.0\"/>"), "{svg}");
        assert!(
            svg.contains("viewBox=\"0 0 120 32\"") && svg.contains("aria-label=\"notifications a second\""),
            "{svg}"
        );
    }

    #[test]
    fn the_policy_of_the_page_has_nothing_to_refuse_in_it() {
        let svg = Series { values: vec![1.0; 600], seen: 603 }.svg(600, "x");
        for word in ["style", "href", "<script", " on", "url("] {
            assert!(!svg.contains(word), "{word} in {svg}");
        }
    }

    #[test]
    fn points_stay_together_while_the_plot_moves_on() {
        let until = |seen: u64| Series { values: (seen - 20..seen).map(|at| at as f32).collect(), seen };
        assert_eq!(until(100).points(), [82.0, 87.0, 92.0, 97.0]);
        assert_eq!(until(101).points(), [82.5, 87.0, 92.0, 97.0, 100.0]);
        assert_eq!(Series { values: vec![3.0], seen: 3 }.points(), [3.0]);
        assert!(Series::default().points().is_empty());
    }

    #[test]
    fn nothing_is_a_line_at_the_bottom_and_no_values_are_an_empty_plot() {
        let flat = Series { values: vec![0.0; 10], seen: 10 }.svg(600, "x");
        assert!(flat.contains("points=\"119,31.0 120,31.0\""), "{flat}");
        assert!(!Series::default().svg(600, "x").contains("points"));
    }
}
