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
