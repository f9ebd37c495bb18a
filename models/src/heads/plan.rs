//! What `config.json` says about the head on top of a transformer: its kind, its labels, and how logits become scores.

use serde_json::Value;

use crate::ModelError;
use crate::layers::Activation;

/// Labels beyond this are refused.
const LABELS_MAX: usize = 65_536;
const FILE: &str = "config.json";

/// The head that an architecture name promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadKind {
    /// The bare transformer.
    None,
    /// One row of logits per text or pair.
    Sequence,
    /// One row of logits per token.
    Token,
    /// One row of logits over the vocabulary per token.
    Masked,
}

/// How logits become scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScoreRule {
    /// They sum to 1: one label is right.
    Softmax,
    /// Each on its own, 0 to 1: any number of labels is right.
    Sigmoid,
    /// As they are: a regression.
    Raw,
}

impl ScoreRule {
    /// The name in answers.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Softmax => "softmax",
            Self::Sigmoid => "sigmoid",
            Self::Raw => "none",
        }
    }

    /// What a Python class path names: `Identity` leaves logits as they are, everything else is taken for the sigmoid.
    #[must_use]
    pub fn named(path: &str) -> Self {
        if path.ends_with("Identity") { Self::Raw } else { Self::Sigmoid }
    }

    /// Scores of one row of logits, computed in f64.
    #[must_use]
    pub fn apply(self, logits: &[f32]) -> Vec<f32> {
        match self {
            Self::Raw => logits.to_vec(),
            Self::Sigmoid => logits.iter().map(|&x| (1.0 / (1.0 + (-f64::from(x)).exp())) as f32).collect(),
            Self::Softmax => {
                let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let powers: Vec<f64> = logits.iter().map(|&x| (f64::from(x) - f64::from(largest)).exp()).collect();
                let sum: f64 = powers.iter().sum();
                powers.into_iter().map(|power| (power / sum) as f32).collect()
            }
        }
    }
}

/// A head as the configuration describes it.
#[derive(Clone, Debug, PartialEq)]
pub struct HeadPlan {
    /// What it computes.
    pub kind: HeadKind,
    /// The architecture's name, for messages.
    pub architecture: String,
    /// `id2label`, or `LABEL_0`, `LABEL_1`, ...
    pub labels: Vec<String>,
    /// Of classifications, as transformers' pipelines choose it.
    pub scores: ScoreRule,
    /// Of the one score of a cross-encoder, as sentence-transformers' `CrossEncoder` chooses it.
    pub rerank: ScoreRule,
    pub(super) raw: RawHead,
}

/// The fields that heads are built from.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct RawHead {
    pub(super) hidden: usize,
    pub(super) vocab: usize,
    pub(super) epsilon: Option<f64>,
    pub(super) activation: Option<String>,
    pub(super) pooler_activation: Option<String>,
    pub(super) classifier_activation: Option<String>,
    pub(super) classifier_pooling: Option<String>,
    pub(super) tied: bool,
}

impl RawHead {
    /// Families spell the same thing differently, and some files hold two spellings.
    fn of(json: &Value) -> Self {
        let count = |names: &[&str]| first(json, names).and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
        Self {
            hidden: count(&["hidden_size", "dim", "n_embd"]),
            vocab: count(&["vocab_size"]),
            epsilon: first(json, &["norm_eps", "layer_norm_eps", "layer_norm_epsilon"]).and_then(Value::as_f64),
            activation: text(json, &["hidden_act", "hidden_activation", "activation", "activation_function"]),
            pooler_activation: text(json, &["pooler_hidden_act"]),
            classifier_activation: text(json, &["classifier_activation"]),
            classifier_pooling: text(json, &["classifier_pooling"]),
            tied: first(json, &["tie_word_embeddings"]).and_then(Value::as_bool).unwrap_or(true),
        }
    }
}

/// The first of some fields that is there and not null.
fn first<'j>(json: &'j Value, names: &[&str]) -> Option<&'j Value> {
    names.iter().filter_map(|name| json.get(name)).find(|value| !value.is_null())
}

fn text(json: &Value, names: &[&str]) -> Option<String> {
    first(json, names).and_then(Value::as_str).map(str::to_owned)
}

impl HeadPlan {
    /// Reads what a configuration says. Errors: `Corrupt` for fields of another type, or labels that are not numbered 0, 1, 2, ...
    pub fn from_json(json: &Value) -> Result<Self, ModelError> {
        let names: Vec<String> = match first(json, &["architectures"]) {
            Some(names) => {
                serde_json::from_value(names.clone()).map_err(|error| ModelError::corrupt(FILE, "architectures", error.to_string()))?
            }
            None => Vec::new(),
        };
        let (kind, architecture) = names
            .iter()
            .find_map(|name| kind_of(name).map(|kind| (kind, name.clone())))
            .unwrap_or_else(|| (HeadKind::None, names.first().cloned().unwrap_or_default()));
        let labels = labels(json)?;
        let scores = match first(json, &["problem_type"]).and_then(Value::as_str) {
            Some("regression") => ScoreRule::Raw,
            Some("multi_label_classification") => ScoreRule::Sigmoid,
            _ if labels.len() == 1 => ScoreRule::Sigmoid,
            _ => ScoreRule::Softmax,
        };
        let architecture = architecture.chars().take(100).collect();
        Ok(Self { kind, architecture, labels, scores, rerank: rerank_rule(json), raw: RawHead::of(json) })
    }

    /// The label that stands for entailment, and the one that stands against it, as transformers' zero-shot pipeline finds them.
    #[must_use]
    pub fn entailment(&self) -> Option<(usize, usize)> {
        let entails = self.labels.iter().position(|label| label.to_lowercase().starts_with("entail"))?;
        let against = if entails == 0 { self.labels.len() - 1 } else { 0 };
        (self.labels.len() >= 2).then_some((entails, against))
    }

    pub(super) fn activation(name: Option<&str>) -> Result<Activation, ModelError> {
        crate::layers::activation_named(name.unwrap_or("gelu"))
    }
}

fn kind_of(architecture: &str) -> Option<HeadKind> {
    let kinds = [
        ("ForSequenceClassification", HeadKind::Sequence),
        ("ForTokenClassification", HeadKind::Token),
        ("ForMaskedLM", HeadKind::Masked),
        ("ForPreTraining", HeadKind::Masked),
    ];
    kinds.into_iter().find(|(ending, _)| architecture.ends_with(ending)).map(|(_, kind)| kind)
}

fn labels(json: &Value) -> Result<Vec<String>, ModelError> {
    let corrupt = |reason: String| ModelError::corrupt(FILE, "id2label", reason);
    let named = match first(json, &["id2label"]) {
        Some(Value::Object(named)) => Some(named),
        Some(_) => return Err(corrupt("expected an object".into())),
        None => None,
    };
    let declared = first(json, &["num_labels"]).and_then(Value::as_u64).map_or(2, |n| usize::try_from(n).unwrap_or(usize::MAX));
    let count = named.map_or(declared, serde_json::Map::len);
    if !(1..=LABELS_MAX).contains(&count) {
        return Err(corrupt(format!("{count} labels, 1 to {LABELS_MAX} are read")));
    }
    let Some(named) = named else { return Ok((0..count).map(|id| format!("LABEL_{id}")).collect()) };
    let label = |id: usize| match named.get(&id.to_string()) {
        Some(Value::String(label)) => Ok(label.clone()),
        Some(other) => Ok(other.to_string()),
        None => Err(corrupt(format!("{count} labels, but none has the number {id}"))),
    };
    (0..count).map(label).collect()
}

/// Sigmoid for one label unless the configuration names another activation.
fn rerank_rule(json: &Value) -> ScoreRule {
    let modern = json.pointer("/sentence_transformers/activation_fn").and_then(Value::as_str);
    let named = modern.or_else(|| json.get("sbert_ce_default_activation_function").and_then(Value::as_str));
    named.map_or(ScoreRule::Sigmoid, ScoreRule::named)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;

    #[test]
    fn scores_follow_problem_type_and_number_of_labels() {
        let cases = [
            (json!({ "num_labels": 1 }), ScoreRule::Sigmoid),
            (json!({}), ScoreRule::Softmax),
            (json!({ "id2label": { "0": "a", "1": "b", "2": "c" } }), ScoreRule::Softmax),
            (json!({ "problem_type": "multi_label_classification" }), ScoreRule::Sigmoid),
            (json!({ "problem_type": "regression", "num_labels": 1 }), ScoreRule::Raw),
        ];
        for (config, rule) in cases {
            assert_eq!(HeadPlan::from_json(&config).unwrap().scores, rule, "{config}");
        }
        let identity = json!({ "num_labels": 1, "sentence_transformers": { "activation_fn": "torch.nn.modules.linear.Identity" } });
        assert_eq!(HeadPlan::from_json(&identity).unwrap().rerank, ScoreRule::Raw);
    }

    #[test]
    fn labels_are_read_in_the_order_of_their_numbers() {
        let many: BTreeMap<String, String> = (0..12).map(|id| (id.to_string(), format!("l{id}"))).collect();
        let plan = HeadPlan::from_json(&json!({ "id2label": many })).unwrap();
        assert_eq!(plan.labels[10], "l10");
        let gap = HeadPlan::from_json(&json!({ "id2label": { "0": "a", "2": "c" } })).unwrap_err().to_string();
        assert!(gap.contains("id2label"), "{gap}");
        let nli = HeadPlan::from_json(&json!({ "id2label": { "0": "contradiction", "1": "entailment", "2": "neutral" } })).unwrap();
        assert_eq!(nli.entailment(), Some((1, 0)));
        let reversed = HeadPlan::from_json(&json!({ "id2label": { "0": "ENTAILMENT", "1": "neutral", "2": "no" } })).unwrap();
        assert_eq!(reversed.entailment(), Some((0, 2)));
        assert_eq!(plan.entailment(), None);
    }
}
