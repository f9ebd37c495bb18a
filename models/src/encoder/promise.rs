//! What the files of a model promise beside vectors: its head, its sparse pooling, and so what it can be asked for.

use std::path::Path;

use serde::Deserialize;

use super::{EncoderPlan, Module, short_name};
use crate::heads::{HeadKind, SparseRule, TaskHead};
use crate::source::files::read_json;
use crate::weights::Weights;
use crate::{Abilities, Ability, ModelError};

impl EncoderPlan {
    /// What the model can be asked for. A classifier is no embedder unless its modules say how to pool; masked models and bare ones are pooled
    /// as sentence-transformers would.
    #[must_use]
    pub fn abilities(&self) -> Abilities {
        let pooled = match self.modules.is_empty() {
            true => matches!(self.head.kind, HeadKind::None | HeadKind::Masked),
            false => self.modules.iter().any(|module| short_name(&module.kind) == "Pooling"),
        };
        let labels = self.head.labels.len();
        let sequence = self.head.kind == HeadKind::Sequence;
        let masked = self.head.kind == HeadKind::Masked;
        let all = [
            (Ability::Embed, pooled),
            (Ability::EmbedTokens, true),
            (Ability::EmbedSparse, masked),
            (Ability::Classify, sequence),
            (Ability::Rerank, sequence && labels == 1),
            (Ability::Tag, self.head.kind == HeadKind::Token),
            (Ability::FillMask, masked),
            (Ability::Entail, sequence && self.head.entailment().is_some()),
        ];
        all.into_iter().filter(|(_, has)| *has).map(|(ability, _)| ability).collect()
    }
}

/// How a `SpladePooling` module joins token weights; the largest of log(1 + max(0, x)) without one.
pub(super) fn read_sparse(folder: &Path, modules: &[Module]) -> Result<SparseRule, ModelError> {
    #[derive(Deserialize)]
    struct Splade {
        #[serde(default)]
        pooling_strategy: Option<String>,
        #[serde(default)]
        activation_function: Option<String>,
    }
    let Some(module) = modules.iter().find(|module| short_name(&module.kind) == "SpladePooling") else { return Ok(SparseRule::default()) };
    let config: Splade = read_json(&folder.join(&module.path).join("config.json"))?;
    let unknown = |what: &str, found: &str, known: &str| {
        Err(ModelError::unsupported(format!("{what} `{}` of SpladePooling; supported: {known}", found.escape_debug())))
    };
    let sum = match config.pooling_strategy.as_deref().unwrap_or("max") {
        "max" => false,
        "sum" => true,
        other => return unknown("pooling_strategy", other, "max, sum"),
    };
    match config.activation_function.as_deref().unwrap_or("relu") {
        "relu" => Ok(SparseRule { sum, twice: false }),
        "log1p_relu" => Ok(SparseRule { sum, twice: true }),
        other => unknown("activation_function", other, "relu, log1p_relu"),
    }
}

/// The head, or why it is not there: an embedder is of use without one, a classifier is not.
pub(super) fn read_task_head(plan: &EncoderPlan, weights: &mut Weights) -> Result<(TaskHead, Option<ModelError>), ModelError> {
    match TaskHead::take(&plan.head, weights) {
        Ok(head) => Ok((head, None)),
        Err(fault @ ModelError::Corrupt { .. }) if plan.abilities().has(Ability::Embed) => Ok((TaskHead::None, Some(fault))),
        Err(error) => Err(error),
    }
}
