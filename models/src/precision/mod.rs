//! Which arithmetic a model's linear layers use: what may be asked for, what is fast on which instructions, and what `auto` makes of a check.
//!
//! `auto` takes the fastest arithmetic whose answers to fixed texts agree with those of `exact`: every vector by cosine, every score by difference. The
//! decision here is pure; `encoder/load.rs` measures, `record.rs` keeps what was measured.

pub mod record;
#[cfg(test)]
mod tests;
pub mod texts;
pub mod witness;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use tallow_kernels::Isa;
pub use tallow_kernels::gemm::Precision;
use tallow_kernels::gemm::has_int8_products;

/// Smallest cosine between an answered vector and that of `exact` with which `auto` takes an arithmetic.
pub const COSINE_MIN: f64 = 0.9999;
/// Largest difference between a score and that of `exact` with which `auto` takes an arithmetic.
pub const SCORE_DIFFERENCE_MAX: f64 = 1e-3;

/// What may be asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PrecisionChoice {
    /// The fastest that agrees with `exact`.
    #[default]
    Auto,
    /// This one.
    Fixed(Precision),
}

impl FromStr for PrecisionChoice {
    type Err = String;

    /// `auto`, `exact`, `bf16` or `int8`. Errors: what is allowed, in words.
    fn from_str(text: &str) -> Result<Self, String> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        let fixed = Precision::ALL.into_iter().find(|precision| precision.name() == text).map(Self::Fixed);
        fixed.ok_or_else(|| "allowed: auto, exact, bf16, int8".into())
    }
}

impl fmt::Display for PrecisionChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Fixed(precision) => precision.name(),
        })
    }
}

impl PrecisionChoice {
    /// Everything that a load may compute with on the host, on its way to a decision too; never empty.
    #[must_use]
    pub fn possible(self, isa: Isa) -> Vec<Precision> {
        match self {
            Self::Auto => fastest_first(isa).to_vec(),
            Self::Fixed(precision) => vec![precision],
        }
    }

    /// What is wrong with the choice where models run on another device than the host, in a sentence; `None` when nothing is.
    #[must_use]
    pub fn fault_on_device(self, device: &str) -> Option<String> {
        match self {
            Self::Auto | Self::Fixed(Precision::Exact) => None,
            Self::Fixed(precision) => {
                Some(format!("found {}; models on {device} compute in f32, so auto and exact are allowed there", precision.name()))
            }
        }
    }
}

/// What was asked for, and where measurements are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PrecisionPolicy {
    /// What was asked for.
    pub choice: PrecisionChoice,
    /// The folder of records; without one `auto` measures at every load.
    pub records: Option<PathBuf>,
}

impl PrecisionPolicy {
    /// What a load on the host would compute with and why, as far as it is known: by the record of the model whose weights have this digest.
    #[must_use]
    pub fn outlook(&self, digest: &str, pooling: &str) -> (String, String) {
        let isa = Isa::active();
        let candidates = fastest_first(isa);
        let chosen = match self.choice {
            PrecisionChoice::Fixed(precision) => return (precision.name().into(), "asked for".into()),
            PrecisionChoice::Auto if candidates.len() == 1 => return (candidates[0].name().into(), auto_rule(isa)),
            PrecisionChoice::Auto => {
                let key = record::RecordKey::new(digest, isa, pooling);
                // A record that cannot be used counts as none: the load will say so and measure again.
                let measured = self.records.as_deref().and_then(|folder| record::read(folder, &key).ok().flatten()).unwrap_or_default();
                decide(candidates, &measured).ok().map(|precision| (precision.name().into(), reason(isa, precision, &measured)))
            }
        };
        chosen.unwrap_or_else(|| ("auto".into(), format!("not measured yet: {}", auto_rule(isa))))
    }

    /// One precision and nothing to measure.
    #[must_use]
    pub fn fixed(precision: Precision) -> Self {
        Self { choice: PrecisionChoice::Fixed(precision), records: None }
    }
}

/// The arithmetics worth having with these instructions, fastest first. `exact` ends every list: what is behind it would gain nothing.
///
/// On AMX bf16 and int8 have products of their own, int8 also on AVX-512 with VNNI; elsewhere they are slower than `exact`.
#[must_use]
pub fn fastest_first(isa: Isa) -> &'static [Precision] {
    match isa {
        Isa::Amx(_) => &[Precision::Int8, Precision::Bf16, Precision::Exact],
        isa if has_int8_products(isa) => &[Precision::Int8, Precision::Exact],
        _ => &[Precision::Exact],
    }
}

/// `auto` for these instructions, in a sentence.
#[must_use]
pub fn auto_rule(isa: Isa) -> String {
    match fastest_first(isa) {
        [only] => format!("{}: nothing is faster with {isa}", only.name()),
        several => {
            let names: Vec<&str> = several.iter().map(|precision| precision.name()).collect();
            let bounds = format!("cosine >= {COSINE_MIN}, scores within {SCORE_DIFFERENCE_MAX}");
            format!(
                "the first of {} whose answers agree with exact ({bounds}), measured at a model's first load with {isa}",
                names.join(", ")
            )
        }
    }
}

/// How far the answers of one precision are from those of `exact`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Agreement {
    /// Smallest cosine over all vectors; 1 for a model without any, NaN where the precision gives no numbers.
    pub cosine: f64,
    /// Largest difference over all scores; none without scores.
    pub score_difference: Option<f64>,
}

impl Agreement {
    /// The agreement of answers that are no numbers.
    pub const NONE: Self = Self { cosine: -1.0, score_difference: None };

    /// True when `auto` may take the precision.
    #[must_use]
    pub fn is_enough(&self) -> bool {
        // Written so that NaN is not enough.
        self.cosine >= COSINE_MIN && self.score_difference.is_none_or(|difference| difference <= SCORE_DIFFERENCE_MAX)
    }
}

impl fmt::Display for Agreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::NONE {
            return f.write_str("no numbers");
        }
        // Cut, not rounded: 0.99995 is never shown as what it is not.
        write!(f, "cosine {:.6}", (self.cosine * 1e6).floor() / 1e6)?;
        match self.score_difference {
            Some(difference) => write!(f, ", scores within {difference:.1e}"),
            None => Ok(()),
        }
    }
}

/// One precision that was measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    /// The precision.
    pub precision: Precision,
    /// How well it agrees.
    pub agreement: Agreement,
}

/// The precision that `auto` takes after these measurements, or `Err` with the next one to measure. Pure.
///
/// A candidate counts once those before it were measured and found wanting; `exact` needs no measurement.
pub fn decide(candidates: &[Precision], measured: &[Measured]) -> Result<Precision, Precision> {
    for &candidate in candidates {
        if candidate == Precision::Exact {
            return Ok(candidate);
        }
        match measured.iter().find(|one| one.precision == candidate) {
            Some(one) if one.agreement.is_enough() => return Ok(candidate),
            Some(_) => {}
            None => return Err(candidate),
        }
    }
    Ok(Precision::Exact)
}

/// Why `chosen` was taken, in a sentence with every measurement.
#[must_use]
pub fn reason(isa: Isa, chosen: Precision, measured: &[Measured]) -> String {
    let of = |precision: Precision| measured.iter().find(|one| one.precision == precision);
    let refused: Vec<String> = measured
        .iter()
        .filter(|one| one.precision != chosen)
        .map(|one| format!("{} does not agree: {}", one.precision.name(), one.agreement))
        .collect();
    let agrees = of(chosen).map(|one| format!("the fastest with {isa} that agrees with exact: {}", one.agreement));
    let mut parts: Vec<String> = agrees.into_iter().collect();
    parts.extend(refused);
    format!("auto: {}", parts.join("; "))
}
