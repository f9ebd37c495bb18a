//! How far an approximate product can be from the true one, and what follows for the place of a row.
//!
//! Rows are compared by a *key* that grows as they come closer. With `u = q / |q|` for a query `q` and a row `x` it is
//!
//! - cosine: `u · x / |x|`
//! - dot: `u · x`
//! - L2: `u · x - |x|² / (2 |q|)`, which is `(|q|² - |q - x|²) / (2 |q|)`
//!
//! What the kernels compute is `v`, the product of `û` and `x̂`, which stand for `u` and `x` in fewer bits, rounded on the way. By Cauchy and Schwarz
//!
//! `|v - u · x| <= |u - û| |x| + |û| |x - x̂| + r |û| |x̂|`
//!
//! where `r` bounds what summing in f32 loses (Higham, *Accuracy and Stability of Numerical Algorithms*, section 3.1). The lengths of `u - û` and `x - x̂` are
//! measured, or bounded where a row is rounded on the fly. So a row's key lies in an interval that is known before its score is.
//! [`SLACK`] covers what computing the interval itself loses: norms in f32, comparisons in f32.

use crate::distance::Metric;

/// More than all roundings of a comparison in f32 together, relative to the row's length: a dozen of them are 2⁻²⁰.
const SLACK: f64 = 2e-6;
/// More than a sum in f64 and the operations behind it lose.
const SLACK_WIDE: f64 = 1e-12;
/// Lengths between which nothing overflows, and nothing that vanishes matters.
const LENGTHS: std::ops::RangeInclusive<f64> = 1e-9..=1e9;
/// Largest relative error of a number rounded to bf16.
pub(super) const HALF_ROUNDING: f64 = 1.0 / 256.0;

/// True for a row or a query whose products can be bounded. Zero rows are, NaN and infinite ones are not.
pub(super) fn is_bounded(norm: f64) -> bool {
    norm == 0.0 || LENGTHS.contains(&norm)
}

/// What decides among rows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Key {
    Cosine,
    Dot,
    L2,
    L2Squared,
}

impl Key {
    /// None for metrics that products say nothing about.
    pub(super) fn of(metric: Metric) -> Option<Self> {
        match metric {
            Metric::Cosine => Some(Self::Cosine),
            Metric::Dot => Some(Self::Dot),
            Metric::L2 => Some(Self::L2),
            Metric::L2Squared => Some(Self::L2Squared),
            Metric::L1 | Metric::Hamming | Metric::Jaccard => None,
        }
    }
}

/// What is known of a query whose length is bounded and not zero.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bound {
    pub key: Key,
    /// Its length.
    pub norm: f64,
    /// A product is off by at most this times the length of the row, beside what `reach` says.
    error: f64,
    /// What the length of `x - x̂` is multiplied with.
    reach: f64,
}

/// A row as the kernels know it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    /// Its length as it was stored.
    pub norm: f32,
    /// An upper bound on the length of what its sketch leaves; 0.0 where the row itself is multiplied, rounded or not.
    pub residual: f32,
}

/// Where a key lies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Interval {
    pub lower: f64,
    pub upper: f64,
}

/// The test of a row in f32: it may reach the floor where `v >= norm * alpha + norm² * beta + residual * rho + gamma`, or where that is NaN.
#[derive(Clone, Copy, Debug)]
pub(super) struct Test {
    pub alpha: f32,
    pub beta: f32,
    pub gamma: f32,
    pub rho: f32,
}

impl Bound {
    /// `residual` is the length of `u - û`; `rounding` bounds the length of `x - x̂` relative to that of `x`, `terms` are summed in f32 in one chain.
    pub(super) fn new((key, norm): (Key, f64), residual: f64, (rounding, terms): (f64, usize)) -> Self {
        let unit = crate::tolerance::UNIT_F32 * (terms as f64 + 2.0);
        let reach = (1.0 + residual) * (1.0 + SLACK);
        let error = residual + reach * rounding + unit / (1.0 - unit) * reach * (1.0 + rounding);
        Self { key, norm, error: error + SLACK, reach: reach * (1.0 + unit / (1.0 - unit)) }
    }

    /// What a product is off by at most, per length of the row.
    pub(super) fn error(&self) -> f64 {
        self.error
    }

    /// The same with intervals that are guesses: what is most likely instead of what is possible.
    pub(super) fn guess(self) -> Self {
        Self { error: 0.0, reach: 0.0, ..self }
    }

    /// The interval of the key of a row whose approximate product is `v`.
    pub(super) fn interval(&self, v: f64, row: Row) -> Interval {
        let norm = f64::from(row.norm);
        if norm.is_nan() {
            // Its score is NaN, which comes last.
            return Interval { lower: f64::NEG_INFINITY, upper: f64::NEG_INFINITY };
        }
        if !is_bounded(norm) || v.is_nan() {
            return Interval { lower: f64::NEG_INFINITY, upper: f64::INFINITY };
        }
        let off = self.error * norm + self.reach * f64::from(row.residual);
        match self.key {
            Key::Cosine if norm == 0.0 => Interval { lower: 0.0, upper: 0.0 },
            Key::Cosine => Interval { lower: (v - off) / norm, upper: (v + off) / norm },
            Key::Dot => Interval { lower: v - off, upper: v + off },
            Key::L2 | Key::L2Squared => {
                let square = norm * norm / (2.0 * self.norm);
                Interval { lower: v - off - square * (1.0 + SLACK), upper: v + off - square * (1.0 - SLACK) }
            }
        }
    }

    /// A lower bound on the key of a row with this score.
    pub(super) fn key(&self, score: f64) -> f64 {
        let key = match self.key {
            Key::Cosine => score - SLACK_WIDE,
            Key::Dot => score / self.norm - SLACK_WIDE * (score / self.norm).abs(),
            Key::L2 | Key::L2Squared => {
                let square = if self.key == Key::L2 { score.max(0.0) * score.max(0.0) } else { score };
                let own = self.norm * self.norm;
                (own - square - SLACK_WIDE * (own + square)) / (2.0 * self.norm)
            }
        };
        if key.is_nan() { f64::NEG_INFINITY } else { key }
    }

    /// The test whether a row may have a key of `floor` or more. `scale` is what a product as the kernels compute it is multiplied with to be `v`.
    pub(super) fn test(&self, floor: f64, scale: f64) -> Test {
        let lowered = floor - floor.abs() * SLACK - f64::from(f32::MIN_POSITIVE);
        let (alpha, beta, gamma) = match self.key {
            Key::Cosine => (floor - self.error, 0.0, 0.0),
            Key::Dot => (-self.error, 0.0, lowered),
            Key::L2 | Key::L2Squared => (-self.error, (1.0 - SLACK) / (2.0 * self.norm), lowered),
        };
        let part = |value: f64| (value / scale) as f32;
        Test { alpha: part(alpha), beta: part(beta), gamma: part(gamma), rho: part(-self.reach) }
    }
}

#[cfg(test)]
mod tests {
    use half::bf16;
    use proptest::prelude::*;

    use super::*;
    use crate::noise::noise;
    use crate::quantize;

    fn length(values: impl Iterator<Item = f64>) -> f64 {
        values.map(|value| value * value).sum::<f64>().sqrt()
    }

    fn wide(values: &[f32]) -> Vec<f64> {
        values.iter().map(|value| f64::from(*value)).collect()
    }

    /// A vector in fewer bits: what stands for it.
    fn rounded(values: &[f32], is_int8: bool) -> Vec<f32> {
        if is_int8 {
            let (whole, scale) = quantize::reference_int8_row(values);
            return whole.into_iter().map(|value| f32::from(value) * scale).collect();
        }
        values.iter().map(|value| bf16::from_f32(*value).to_f32()).collect()
    }

    /// The true key and what the bound says of it from the product of the rounded vectors, summed in f32 in one chain.
    fn check(key: Key, (query, row): (&[f32], &[f32]), is_int8: bool) {
        let norm = length(wide(query).into_iter());
        let unit: Vec<f32> = query.iter().map(|value| (f64::from(*value) / norm) as f32).collect();
        let (unit_bits, row_bits) = (rounded(&unit, is_int8), rounded(row, is_int8));
        let left = length(wide(query).iter().zip(&unit_bits).map(|(value, bits)| value / norm - f64::from(*bits)));
        let residual = length(row.iter().zip(&row_bits).map(|(value, bits)| f64::from(*value) - f64::from(*bits)));
        let rounding = if is_int8 { 0.0 } else { HALF_ROUNDING };
        let bound = Bound::new((key, norm), left, (rounding, query.len()));
        let product = unit_bits.iter().zip(&row_bits).fold(0f32, |sum, (left, right)| sum + left * right);
        let row_norm = length(wide(row).into_iter());
        let known = Row { norm: row_norm as f32, residual: if is_int8 { (residual * 1.000_001) as f32 } else { 0.0 } };
        let dot: f64 = wide(query).iter().zip(row).map(|(left, right)| left / norm * f64::from(*right)).sum();
        let truth = match key {
            Key::Cosine => dot / row_norm,
            Key::Dot => dot,
            Key::L2 | Key::L2Squared => dot - row_norm * row_norm / (2.0 * norm),
        };
        let interval = bound.interval(product.into(), known);
        assert!(interval.lower <= truth && truth <= interval.upper, "{key:?} {is_int8}: {truth} not in {interval:?}");
        // A row that reaches a floor passes its test, one that is far below it does not.
        let passes = |floor: f64| {
            let test = bound.test(floor, 1.0);
            let square = known.norm * known.norm;
            product >= known.norm * test.alpha + square * test.beta + known.residual * test.rho + test.gamma
        };
        assert!(passes(truth), "{key:?} {is_int8}");
        let wider = interval.upper + (interval.upper - interval.lower) + 1e-4 * (truth.abs() + row_norm * row_norm / norm + 1.0);
        assert!(!passes(wider), "{key:?} {is_int8}: {wider} for {interval:?}");
    }

    proptest! {
        #[test]
        fn the_true_key_is_within_its_interval(
            dim in 1usize..600, seed in any::<u32>(), size in -3f32..3.0, gap in -8f32..0.0, near in any::<bool>(), spike in any::<bool>(),
        ) {
            let seed = u64::from(seed);
            let query = noise(seed, dim);
            let mut row = noise(seed + 1, dim);
            if near {
                // Rows that rounding makes the same.
                row = query.iter().zip(&row).map(|(query, off)| query + off * 10f32.powf(gap)).collect();
            }
            if spike {
                // One large value leaves few steps of 8-bit integers for the others.
                row[0] = 50.0;
            }
            row.iter_mut().for_each(|value| *value *= 10f32.powf(size));
            prop_assume!(length(wide(&query).into_iter()) > 1e-6 && length(wide(&row).into_iter()) > 1e-6);
            for key in [Key::Cosine, Key::Dot, Key::L2, Key::L2Squared] {
                check(key, (&query, &row), false);
                check(key, (&query, &row), true);
            }
        }
    }

    #[test]
    fn a_key_from_a_score_is_not_above_the_true_one() {
        let (query, row) = (noise(3, 40), noise(4, 40));
        let norm = length(wide(&query).into_iter());
        let squared: f64 = query.iter().zip(&row).map(|(left, right)| (f64::from(*left) - f64::from(*right)).powi(2)).sum();
        let dot: f64 = wide(&query).iter().zip(&row).map(|(left, right)| left * f64::from(*right)).sum();
        let true_key = dot / norm - wide(&row).iter().map(|value| value * value).sum::<f64>() / (2.0 * norm);
        for (key, score, want) in [(Key::L2Squared, squared, true_key), (Key::L2, squared.sqrt(), true_key), (Key::Dot, dot, dot / norm)] {
            let got = Bound::new((key, norm), 0.0, (0.0, 0)).key(score);
            assert!(got <= want && want - got < 1e-9, "{key:?}: {got} for {want}");
        }
        for score in [f64::NAN, f64::NEG_INFINITY] {
            assert_eq!(Bound::new((Key::Dot, norm), 0.0, (0.0, 0)).key(score), f64::NEG_INFINITY);
        }
    }
}
