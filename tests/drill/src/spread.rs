//! The middle and the ends of some figures.

use serde::Serialize;

/// Of figures, in their unit.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Spread {
    /// The median.
    pub median: f64,
    /// Nine of ten are not above it.
    pub p90: f64,
    /// The largest.
    pub max: f64,
}

impl Spread {
    /// Of these; all zero when there are none.
    #[must_use]
    pub fn of(mut figures: Vec<f64>) -> Self {
        figures.sort_by(f64::total_cmp);
        let at = |hundredths: usize| {
            figures.get((figures.len() * hundredths / 100).min(figures.len().saturating_sub(1))).copied()
        };
        let [median, p90, max] = [50, 90, 100].map(|hundredths| at(hundredths).unwrap_or(0.0));
        Spread { median, p90, max }
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "median {:.2}   p90 {:.2}   worst {:.2}", self.median, self.p90, self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_and_the_ends() {
        let all = Spread::of((1..=100).rev().map(f64::from).collect());
        assert_eq!(all, Spread { median: 51.0, p90: 91.0, max: 100.0 });
        assert_eq!(Spread::of(vec![7.0]), Spread { median: 7.0, p90: 7.0, max: 7.0 });
        assert_eq!(Spread::of(vec![]), Spread::default());
    }
}
