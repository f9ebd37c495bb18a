//! Heads on the hidden states of a transformer: sequence and token classification, masked language modelling. One table says how a family names and
//! arranges them; weights that are missing are an error, never invented.

use candle_core::{D, DType, Tensor};
use candle_nn::ops::layer_norm;

use super::plan::{HeadKind, HeadPlan};
use crate::ModelError;
use crate::layers::{Activation, Linear};
use crate::weights::Weights;

/// Bytes of vocabulary logits that are computed at once on one thread (one token's at least).
const LOGITS_BYTES_MAX: usize = 8 << 20;
/// Bytes that a thread holds at its peak while it computes over a vocabulary: the logits, and copies of them between steps.
pub const VOCABULARY_WORK_BYTES: u64 = 4 * LOGITS_BYTES_MAX as u64;

/// A loaded head.
pub enum TaskHead {
    /// None.
    None,
    /// One row of logits per text or pair.
    Sequence(SequenceHead),
    /// One row of logits per token.
    Token(TokenHead),
    /// One row of logits over the vocabulary per token.
    Masked(MaskedHead),
}

/// Which token vector, or what of all of them, a sequence head reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reads {
    First,
    Mean,
}

/// One dense step with what follows it.
struct Step {
    linear: Linear,
    activation: StepActivation,
    norm: Option<StepNorm>,
}

#[derive(Clone, Copy)]
enum StepActivation {
    Tanh,
    Layer(Activation),
}

/// A layer norm whose shift may be missing.
struct StepNorm {
    scale: Tensor,
    shift: Tensor,
    epsilon: f32,
}

/// Where a family keeps the step before its last layer.
struct StepNames {
    dense: String,
    norm: Option<String>,
    activation: StepActivation,
}

/// Sequence classification.
pub struct SequenceHead {
    reads: Reads,
    step: Step,
    out: Linear,
}

/// Token classification.
pub struct TokenHead {
    step: Option<Step>,
    out: Linear,
}

/// Masked language modelling.
pub struct MaskedHead {
    step: Step,
    decoder: Linear,
    vocab: usize,
}

impl Step {
    fn take(weights: &mut Weights, names: &StepNames, plan: &HeadPlan) -> Result<Self, ModelError> {
        let size = plan.raw.hidden;
        let has_bias = !plan.may_lack_bias() || weights.contains(&format!("{}.bias", names.dense));
        let linear = Linear::take(weights, &names.dense, size, size, has_bias)?;
        let norm = names.norm.as_ref().map(|name| StepNorm::take(weights, name, plan)).transpose()?;
        Ok(Self { linear, activation: names.activation, norm })
    }

    /// `x` `[n, hidden]` to the same shape.
    fn forward(&self, x: &Tensor) -> Result<Tensor, ModelError> {
        let x = self.linear.forward(x)?;
        let x = match self.activation {
            StepActivation::Tanh => x.tanh()?,
            StepActivation::Layer(activation) => crate::layers::activate(activation, &x)?,
        };
        match &self.norm {
            Some(norm) => Ok(layer_norm(&x.contiguous()?, &norm.scale, &norm.shift, norm.epsilon)?),
            None => Ok(x),
        }
    }
}

impl StepNorm {
    fn take(weights: &mut Weights, name: &str, plan: &HeadPlan) -> Result<Self, ModelError> {
        let size = plan.raw.hidden;
        let old = weights.contains(&format!("{name}.gamma"));
        let scale = weights.take(&format!("{name}.{}", if old { "gamma" } else { "weight" }), &[size])?;
        let shift = format!("{name}.{}", if old { "beta" } else { "bias" });
        let absent = plan.may_lack_bias() && !weights.contains(&shift);
        let shift = if absent { scale.zeros_like()? } else { weights.take(&shift, &[size])? };
        // DistilBERT has no such field and means BERT's value; ModernBERT calls it `norm_eps` and means 1e-5.
        let epsilon = plan.raw.epsilon.unwrap_or(if plan.is_family("ModernBert") { 1e-5 } else { 1e-12 });
        Ok(Self { scale, shift, epsilon: epsilon as f32 })
    }
}

impl HeadPlan {
    fn is_family(&self, beginning: &str) -> bool {
        self.architecture.starts_with(beginning)
    }

    /// ModernBERT's configurations switch biases off; everywhere else one that is missing is an error.
    fn may_lack_bias(&self) -> bool {
        self.is_family("ModernBert")
    }

    /// RoBERTa and those that took over its heads.
    fn is_roberta_like(&self) -> bool {
        ["Roberta", "XLMRoberta", "Camembert", "MPNet"].iter().any(|family| self.is_family(family))
    }

    fn act(&self) -> Result<StepActivation, ModelError> {
        Ok(StepActivation::Layer(Self::activation(self.raw.activation.as_deref())?))
    }

    /// The step of a sequence head, and the name of the layer after it.
    fn sequence_names(&self, weights: &Weights) -> Result<(StepNames, &'static str), ModelError> {
        let step = |dense: &str, activation| StepNames { dense: dense.into(), norm: None, activation };
        Ok(if self.is_roberta_like() {
            (step("classifier.dense", StepActivation::Tanh), "classifier.out_proj")
        } else if self.is_family("DistilBert") {
            (step("pre_classifier", StepActivation::Layer(Activation::Relu)), "classifier")
        } else if self.is_family("ModernBert") {
            (self.modern_step()?, "classifier")
        } else if self.is_family("Deberta") {
            let activation = Self::activation(self.raw.pooler_activation.as_deref())?;
            (step("pooler.dense", StepActivation::Layer(activation)), "classifier")
        } else {
            let pooler = weights.name_ending("pooler.dense.weight").unwrap_or("bert.pooler.dense.weight");
            (step(pooler.trim_end_matches(".weight"), StepActivation::Tanh), "classifier")
        })
    }

    fn modern_step(&self) -> Result<StepNames, ModelError> {
        let activation = StepActivation::Layer(Self::activation(self.raw.classifier_activation.as_deref())?);
        Ok(StepNames { dense: "head.dense".into(), norm: Some("head.norm".into()), activation })
    }

    /// The step of a masked-language-model head, its decoder, and where the decoder's bias lies.
    fn masked_names(&self, weights: &Weights) -> Result<(StepNames, &'static str, &'static [&'static str]), ModelError> {
        let activation = self.act()?;
        let gelu = StepActivation::Layer(Activation::Gelu);
        let step = |dense: &str, norm: &str, activation| StepNames { dense: dense.into(), norm: Some(norm.into()), activation };
        Ok(if self.is_roberta_like() {
            (step("lm_head.dense", "lm_head.layer_norm", gelu), "lm_head.decoder", &["lm_head.bias", "lm_head.decoder.bias"])
        } else if self.is_family("DistilBert") {
            (step("vocab_transform", "vocab_layer_norm", activation), "vocab_projector", &["vocab_projector.bias"])
        } else if self.is_family("ModernBert") {
            (self.modern_step()?, "decoder", &["decoder.bias"])
        } else if weights.contains("lm_predictions.lm_head.dense.weight") {
            let bias: &[&str] = &["lm_predictions.lm_head.bias"];
            (step("lm_predictions.lm_head.dense", "lm_predictions.lm_head.LayerNorm", activation), "lm_predictions.lm_head.decoder", bias)
        } else {
            let (dense, norm) = ("cls.predictions.transform.dense", "cls.predictions.transform.LayerNorm");
            (step(dense, norm, activation), "cls.predictions.decoder", &["cls.predictions.bias", "cls.predictions.decoder.bias"])
        })
    }
}

impl TaskHead {
    /// Takes the head that the plan promises. Errors: `Corrupt` naming the tensor that is missing or of another shape, `Unsupported` for an activation.
    pub fn take(plan: &HeadPlan, weights: &mut Weights) -> Result<Self, ModelError> {
        Ok(match plan.kind {
            HeadKind::None => Self::None,
            HeadKind::Sequence => Self::Sequence(SequenceHead::take(plan, weights)?),
            HeadKind::Token => Self::Token(TokenHead::take(plan, weights)?),
            HeadKind::Masked => Self::Masked(MaskedHead::take(plan, weights)?),
        })
    }
}

impl SequenceHead {
    fn take(plan: &HeadPlan, weights: &mut Weights) -> Result<Self, ModelError> {
        let (names, out) = plan.sequence_names(weights)?;
        let mean = plan.is_family("ModernBert") && plan.raw.classifier_pooling.as_deref() == Some("mean");
        Ok(Self {
            reads: if mean { Reads::Mean } else { Reads::First },
            step: Step::take(weights, &names, plan)?,
            out: Linear::take(weights, out, plan.raw.hidden, plan.labels.len(), true)?,
        })
    }

    /// `hidden` `[tokens, hidden]` of sequences that begin at `offsets` (and end at the last of them) to logits `[sequences, labels]`.
    pub fn logits(&self, hidden: &Tensor, offsets: &[usize]) -> Result<Tensor, ModelError> {
        let rows = match self.reads {
            Reads::First => {
                let first: Vec<u32> = offsets[..offsets.len() - 1].iter().map(|&at| at as u32).collect();
                hidden.index_select(&Tensor::from_slice(&first, first.len(), hidden.device())?, 0)?
            }
            Reads::Mean => {
                let mean = |pair: &[usize]| hidden.narrow(0, pair[0], pair[1] - pair[0])?.mean_keepdim(0);
                let rows: Vec<Tensor> = offsets.windows(2).map(mean).collect::<Result<_, _>>()?;
                Tensor::cat(&rows, 0)?
            }
        };
        self.out.forward(&self.step.forward(&rows)?)
    }
}

impl TokenHead {
    fn take(plan: &HeadPlan, weights: &mut Weights) -> Result<Self, ModelError> {
        let step = if plan.is_family("ModernBert") { Some(Step::take(weights, &plan.modern_step()?, plan)?) } else { None };
        Ok(Self { step, out: Linear::take(weights, "classifier", plan.raw.hidden, plan.labels.len(), true)? })
    }

    /// `hidden` `[tokens, hidden]` to logits `[tokens, labels]`.
    pub fn logits(&self, hidden: &Tensor) -> Result<Tensor, ModelError> {
        match &self.step {
            Some(step) => self.out.forward(&step.forward(hidden)?),
            None => self.out.forward(hidden),
        }
    }
}

impl MaskedHead {
    fn take(plan: &HeadPlan, weights: &mut Weights) -> Result<Self, ModelError> {
        let (names, decoder, biases) = plan.masked_names(weights)?;
        let step = Step::take(weights, &names, plan)?;
        let (vocab, size) = (plan.raw.vocab, plan.raw.hidden);
        let tied = plan.raw.tied;
        let words = ["word_embeddings.weight", "tok_embeddings.weight"].into_iter().find_map(|name| weights.name_ending(name));
        let weight = match words.filter(|_| tied).map(str::to_owned) {
            Some(words) => weights.shared(&words, &[vocab, size])?,
            None => weights.take(&format!("{decoder}.weight"), &[vocab, size])?,
        };
        let bias = biases.iter().find(|name| weights.contains(name)).unwrap_or(&biases[0]);
        let bias = weights.take(bias, &[vocab])?;
        Ok(Self { step, decoder: Linear::from_parts(weight, Some(bias)), vocab })
    }

    /// Rows of the vocabulary.
    #[must_use]
    pub fn vocab(&self) -> usize {
        self.vocab
    }

    /// Hands logits `[n, vocab]` of the token vectors `rows` `[tokens, hidden]` to `each`, some tokens at a time, with the first token's index.
    pub fn logits(&self, rows: &Tensor, mut each: impl FnMut(usize, &Tensor) -> Result<(), ModelError>) -> Result<(), ModelError> {
        let tokens = rows.dim(0)?;
        let step = (LOGITS_BYTES_MAX / (self.vocab * DType::F32.size_in_bytes())).max(1);
        for first in (0..tokens).step_by(step) {
            let piece = rows.narrow(0, first, step.min(tokens - first))?.contiguous()?;
            each(first, &self.decoder.forward(&self.step.forward(&piece)?)?)?;
        }
        Ok(())
    }

    /// SPLADE's weights of one sequence: log(1 + max(0, logit)) over its tokens, the largest or the sum for each of the vocabulary's entries.
    pub fn sparse(&self, rows: &Tensor, rule: SparseRule) -> Result<Vec<f32>, ModelError> {
        let mut weights = vec![0f32; self.vocab];
        self.logits(rows, |_, logits| {
            let relu = (logits.relu()? + 1.0)?.log()?;
            let twice = if rule.twice { (relu + 1.0)?.log()? } else { relu };
            let joined: Vec<f32> = if rule.sum { twice.sum(0)? } else { twice.max(0)? }.to_vec1()?;
            weights.iter_mut().zip(joined).for_each(|(kept, new)| *kept = if rule.sum { *kept + new } else { kept.max(new) });
            Ok(())
        })?;
        Ok(weights)
    }
}

/// How token weights become a text's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SparseRule {
    /// Their sum instead of the largest.
    pub sum: bool,
    /// The logarithm is taken twice.
    pub twice: bool,
}

/// The log of the sum of exponentials of each row, for scores over a vocabulary of which few are wanted.
pub(crate) fn log_sums(logits: &Tensor) -> Result<Vec<f32>, ModelError> {
    Ok(logits.log_sum_exp(D::Minus1)?.to_vec1()?)
}
