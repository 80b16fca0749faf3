//! Popularity as it is found in real traffic: the k-th most popular destination gets a share like 1 / k^s.

use crate::random::Random;

/// The cumulative shares of the ranks, to be inverted.
pub struct Zipf {
    cumulative: Vec<f64>,
}

impl Zipf {
    /// `ranks` of them with exponent `s`.
    pub fn new(ranks: usize, s: f64) -> Self {
        let mut sum = 0.0;
        let mut cumulative: Vec<f64> = (1..=ranks)
            .map(|rank| {
                sum += (rank as f64).powf(-s);
                sum
            })
            .collect();
        for share in &mut cumulative {
            *share /= sum;
        }
        Self { cumulative }
    }

    /// A rank, from 0.
    pub fn draw(&self, random: &mut Random) -> usize {
        let fraction = random.fraction();
        self.cumulative.partition_point(|share| *share <= fraction)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_come_as_often_as_the_law_says() {
        let (ranks, s, draws) = (1_000, 1.1, 1_000_000);
        let zipf = Zipf::new(ranks, s);
        let mut random = Random::new();
        let mut found = vec![0_u32; ranks];
        for _ in 0..draws {
            found[zipf.draw(&mut random)] += 1;
        }
        let sum: f64 = (1..=ranks).map(|rank| (rank as f64).powf(-s)).sum();
        for rank in [1, 2, 10, 100] {
            let expected = (rank as f64).powf(-s) / sum * f64::from(draws);
            let found = f64::from(found[rank - 1]);
            // Five standard deviations of a count.
            assert!(
                (found - expected).abs() < 5.0 * expected.sqrt(),
                "rank {rank}: {found}, not {expected}"
            );
        }
    }

    #[test]
    fn one_rank_is_always_drawn() {
        let mut random = Random::new();
        assert!((0..1_000).all(|_| Zipf::new(1, 1.1).draw(&mut random) == 0));
    }
}
