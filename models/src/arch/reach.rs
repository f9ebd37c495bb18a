//! The two things that configurations of rotary families say in two ways, as transformers wrote them before and since its version 5: the rotation, and
//! which layers see everything.

use serde_json::Value;

use super::config_file::{ConfigFile, FILE, unsupported};
use crate::ModelError;
use crate::layers::{RotaryScaling, RotarySpec};

/// How far the attention of a layer reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// Over the whole sequence.
    Full,
    /// Over a window.
    Sliding,
}

impl Reach {
    /// Its name in `layer_types` and `rope_parameters`.
    fn name(self) -> &'static str {
        match self {
            Self::Full => "full_attention",
            Self::Sliding => "sliding_attention",
        }
    }
}

/// The reach of every layer: `layer_types`, or `default` of the layer's number without it.
///
/// Errors: `Unsupported` naming another kind of layer, `Corrupt` for another number of them.
pub(super) fn reaches(file: &ConfigFile, layers: usize, default: impl Fn(usize) -> Reach) -> Result<Vec<Reach>, ModelError> {
    const FIELD: &str = "layer_types";
    let Some(words) = file.words(FIELD)? else { return Ok((0..layers).map(default).collect()) };
    if words.len() != layers {
        return Err(ModelError::corrupt(FILE, FIELD, format!("{} entries, the model has {layers} layers", words.len())));
    }
    let reach = |word: &&str| [Reach::Full, Reach::Sliding].into_iter().find(|reach| reach.name() == *word);
    words
        .iter()
        .map(|word| reach(word).ok_or_else(|| unsupported(FIELD, &Value::from(*word), "full_attention, sliding_attention")))
        .collect()
}

/// Where a family keeps a rotation.
pub(super) struct RotaryFields<'a> {
    /// Dimensions of a head.
    pub(super) dim: usize,
    /// The base, in files from before version 5.
    pub(super) theta: &'a str,
    /// The base without any of that.
    pub(super) theta_default: f64,
    /// The layers it is for, where `rope_parameters` tells them apart.
    pub(super) of: Option<Reach>,
    /// Whether an old file's `rope_scaling` is for it.
    pub(super) scaled: bool,
}

/// The rotation that `rope_parameters`, or the older fields, describe. Errors: `Unsupported` naming a scaling that cannot be computed, `Corrupt`.
pub(super) fn rotary(file: &ConfigFile, fields: &RotaryFields<'_>) -> Result<RotarySpec, ModelError> {
    const THETA: std::ops::RangeInclusive<f64> = 1.0..=1e12;
    let parameters = match (file.section("rope_parameters")?, fields.of) {
        (Some(all), Some(reach)) => all.section(reach.name())?,
        (all, _) => all,
    };
    let old_theta = file.number_or(fields.theta, fields.theta_default, THETA)?;
    let (theta, scaling) = match parameters {
        Some(parameters) => (parameters.number_or("rope_theta", old_theta, THETA)?, scaling(&parameters, "rope_parameters")?),
        None => match file.section("rope_scaling")? {
            Some(section) if fields.scaled => (old_theta, scaling(&section, "rope_scaling")?),
            _ => (old_theta, RotaryScaling::None),
        },
    };
    Ok(RotarySpec { dim: fields.dim, theta: theta as f32, scaling })
}

fn scaling(section: &ConfigFile, field: &str) -> Result<RotaryScaling, ModelError> {
    const FACTOR: std::ops::RangeInclusive<f64> = 1.0..=1024.0;
    for (name, whole) in [("partial_rotary_factor", 1.0), ("mixed_b", f64::NAN)] {
        if let Some(value) = section.value(name).filter(|value| value.as_f64() != Some(whole)) {
            return Err(unsupported(&format!("{field}, {name}"), value, "a rotation of whole heads by one rule"));
        }
    }
    let kind = section.word_or("rope_type", section.word_or("type", "default")?)?;
    let factor = section.number_or("factor", 1.0, FACTOR)? as f32;
    match kind {
        "default" => Ok(RotaryScaling::None),
        "linear" => Ok(RotaryScaling::Linear(factor)),
        "ntk" => Ok(RotaryScaling::Ntk(factor)),
        other => Err(unsupported(field, &Value::from(other), "default, linear, ntk")),
    }
}
