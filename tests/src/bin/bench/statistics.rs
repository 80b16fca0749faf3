//! Medians and ratios of repeated measurements.

/// The middle figure, or the mean of the two in the middle; not a number where there is none.
pub fn median(figures: &[f64]) -> f64 {
    (quantile(figures, 0.5) + quantile_from_above(figures, 0.5)) / 2.0
}

/// The figure that a part `q` (0 to 1) of them lies at or below.
pub fn quantile(figures: &[f64], q: f64) -> f64 {
    let sorted = sorted(figures);
    let rank = (q * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

fn quantile_from_above(figures: &[f64], q: f64) -> f64 {
    let sorted = sorted(figures);
    let rank = (q * sorted.len() as f64).floor() as usize;
    sorted.get(rank).copied().unwrap_or(f64::NAN)
}

fn sorted(figures: &[f64]) -> Vec<f64> {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// `of` less `base`, figure by figure.
pub fn differences(of: &[f64], base: &[f64]) -> Vec<f64> {
    of.iter().zip(base).map(|(of, base)| of - base).collect()
}

/// `of` by `base`, figure by figure: only figures of one round are compared.
pub fn ratios(of: &[f64], base: &[f64]) -> Vec<f64> {
    of.iter().zip(base).map(|(of, base)| of / base).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_lies_between_the_middle_two() {
        assert_eq!(median(&[4.0, 1.0, 2.0, 8.0]), 3.0);
        assert_eq!(median(&[9.0, 1.0, 2.0]), 2.0);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn a_quantile_is_one_of_the_figures() {
        let figures: Vec<f64> = (1..=40).rev().map(f64::from).collect();
        assert_eq!(quantile(&figures, 0.25), 10.0);
        assert_eq!(quantile(&figures, 0.0), 1.0);
        assert_eq!(quantile(&figures, 1.0), 40.0);
    }

    #[test]
    fn ratios_are_of_the_same_round() {
        assert_eq!(ratios(&[2.0, 9.0], &[4.0, 3.0]), [0.5, 3.0]);
    }
}
