//! Random numbers that an answer may depend on: the same on every machine, for any number of threads, and in every release.
//!
//! SplitMix64 (G. Steele, D. Lea, C. Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014), written out here because an answer must not
//! change with the release of a library.

/// SplitMix64.
#[derive(Clone, Debug)]
pub(super) struct SplitMix64(u64);

impl SplitMix64 {
    /// The numbers that belong to a seed.
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// 0.0 to below 1.0.
    pub(super) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// 0 to below `count`, which is at least 1.
    pub(super) fn below(&mut self, count: usize) -> usize {
        ((u128::from(self.next()) * count as u128) >> 64) as usize
    }

    /// A number from the standard normal distribution (G. Box and M. Muller, 1958).
    pub(super) fn normal(&mut self) -> f64 {
        // One less the unit number is never 0, so its logarithm is finite.
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// `count` different numbers below `bound`, in ascending order (D. Knuth, "The art of computer programming", volume 2, algorithm 3.4.2 S). All of them
    /// where `count` is not below `bound`.
    pub(super) fn sample(&mut self, count: usize, bound: usize) -> Vec<usize> {
        let mut chosen = Vec::with_capacity(count.min(bound));
        for number in 0..bound {
            let (wanted, left) = (count.saturating_sub(chosen.len()), bound - number);
            if wanted >= left || self.below(left) < wanted {
                chosen.push(number);
            }
        }
        chosen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_different_and_every_number_is_as_likely() {
        let mut random = SplitMix64::new(3);
        let mut counts = [0usize; 10];
        for _ in 0..3000 {
            let sample = random.sample(4, 10);
            assert!(sample.windows(2).all(|pair| pair[0] < pair[1]) && sample.len() == 4, "{sample:?}");
            sample.iter().for_each(|index| counts[*index] += 1);
        }
        // 1200 each; the standard deviation is 27.
        assert!(counts.iter().all(|count| (1065..1335).contains(count)), "{counts:?}");
        assert_eq!(random.sample(12, 10), (0..10).collect::<Vec<_>>());
    }

    #[test]
    fn normal_numbers_have_the_moments_of_the_normal_distribution() {
        let mut random = SplitMix64::new(1);
        let numbers: Vec<f64> = std::iter::repeat_with(|| random.normal()).take(100_000).collect();
        let moment = |power: i32| numbers.iter().map(|number| number.powi(power)).sum::<f64>() / numbers.len() as f64;
        // Five standard deviations each.
        for (power, want, allowed) in [(1, 0.0, 0.016), (2, 1.0, 0.023), (3, 0.0, 0.062), (4, 3.0, 0.16)] {
            assert!((moment(power) - want).abs() < allowed, "moment {power}: {}", moment(power));
        }
    }
}
