//! What an encoder answers beside dense vectors: logits of its head, vectors of tokens, weights of words.

use candle_core::Tensor;

use super::{Encoder, batches};
use crate::arch::TokenBatch;
use crate::heads::{MaskedHead, ScoreRule, TaskHead, log_sums};
use crate::tags::{Joining, TagSpan, TaggedToken};
use crate::text::{PairCut, PairTokens, Special, TextPair, TextTokenizer};
use crate::{Ability, ModelError, StopCheck};

/// One row per token, row-major `[tokens, width]`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TokenRows {
    /// The values.
    pub values: Vec<f32>,
    /// Numbers per row.
    pub width: usize,
}

/// What may stand in one masked place, best first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MaskFill {
    /// The masked token's index in the sequence.
    pub token: usize,
    /// Ids and probabilities over the whole vocabulary.
    pub best: Vec<(u32, f32)>,
}

impl Encoder {
    /// The labels of its classification head; empty without one.
    #[must_use]
    pub fn labels(&self) -> &[String] {
        &self.info.labels
    }

    /// How logits of classifications become scores.
    #[must_use]
    pub fn score_rule(&self) -> ScoreRule {
        self.plan.scores
    }

    /// How the one logit of a cross-encoder becomes its score.
    #[must_use]
    pub fn rerank_rule(&self) -> ScoreRule {
        self.plan.rerank
    }

    /// The label that stands for entailment and the one against it, if the head has them.
    #[must_use]
    pub fn entailment(&self) -> Option<(usize, usize)> {
        self.plan.entailment()
    }

    /// The tokenizer.
    #[must_use]
    pub fn tokenizer(&self) -> &TextTokenizer {
        &self.tokenizer
    }

    /// A text or a pair within the model's limit. Errors: `Input`, also for a sequence that is too long under `cut`.
    pub fn pair(&self, pair: TextPair<'_>, cut: PairCut) -> Result<PairTokens, ModelError> {
        self.tokenizer.pair(pair, self.info.max_tokens.unwrap_or(usize::MAX), cut)
    }

    /// Errors: `Unsupported` listing what the model offers; `Corrupt` naming the tensor when its weights lack the head that its configuration promises.
    pub fn require(&self, ability: Ability) -> Result<(), ModelError> {
        self.info.abilities.require(ability)?;
        match &self.head_fault {
            Some(fault) if !matches!(ability, Ability::Embed | Ability::EmbedTokens) => Err(fault.clone()),
            _ => Ok(()),
        }
    }

    /// Logits of each sequence, one per label. Errors: `Unsupported`, `Input` for a sequence that is too long, `Stopped`, `NonFinite`.
    pub fn sequence_logits(&self, sequences: &[PairTokens], stop: StopCheck<'_>) -> Result<Vec<Vec<f32>>, ModelError> {
        self.require(Ability::Classify)?;
        let TaskHead::Sequence(head) = &self.task_head else { return Err(no_head()) };
        self.each_batch(sequences, stop, |hidden, batch| {
            let logits: Vec<Vec<f32>> = head.logits(hidden, &batch.offsets)?.to_vec2()?;
            if logits.iter().flatten().all(|x| x.is_finite()) { Ok(logits) } else { Err(ModelError::NonFinite) }
        })
    }

    /// Logits of each sequence's tokens, one per label. Errors: as [`Self::sequence_logits`].
    pub fn token_logits(&self, sequences: &[PairTokens], stop: StopCheck<'_>) -> Result<Vec<TokenRows>, ModelError> {
        self.require(Ability::Tag)?;
        let TaskHead::Token(head) = &self.task_head else { return Err(no_head()) };
        self.each_batch(sequences, stop, |hidden, batch| token_rows(&head.logits(hidden)?, batch))
    }

    /// The last hidden state of each sequence's tokens. Errors: as [`Self::sequence_logits`].
    pub fn token_vectors(&self, sequences: &[PairTokens], stop: StopCheck<'_>) -> Result<Vec<TokenRows>, ModelError> {
        self.each_batch(sequences, stop, token_rows)
    }

    /// Weights of the vocabulary's entries for each sequence, those above zero, by id. Errors: as [`Self::sequence_logits`].
    pub fn sparse(&self, sequences: &[PairTokens], stop: StopCheck<'_>) -> Result<Vec<Vec<(u32, f32)>>, ModelError> {
        self.require(Ability::EmbedSparse)?;
        let head = self.masked_head()?;
        self.each_batch(sequences, stop, |hidden, batch| {
            let one = |pair: &[usize]| {
                if stop() {
                    return Err(ModelError::Stopped);
                }
                let weights = head.sparse(&hidden.narrow(0, pair[0], pair[1] - pair[0])?, self.sparse)?;
                if !weights.iter().all(|weight| weight.is_finite()) {
                    return Err(ModelError::NonFinite);
                }
                Ok((0..).zip(weights).filter(|(_, weight)| *weight > 0.0).collect())
            };
            batch.offsets.windows(2).map(one).collect()
        })
    }

    /// The `top` likeliest tokens of every masked place. Ties go to the lower id. Errors: as [`Self::sequence_logits`].
    pub fn fill_masks(&self, sequences: &[PairTokens], top: usize, stop: StopCheck<'_>) -> Result<Vec<Vec<MaskFill>>, ModelError> {
        self.require(Ability::FillMask)?;
        let head = self.masked_head()?;
        let mask = self.tokenizer.mask().ok_or_else(|| ModelError::unsupported("the model's tokenizer has no mask token"))?;
        self.each_batch(sequences, stop, |hidden, batch| {
            let masked: Vec<u32> = (0u32..).zip(&batch.ids).filter(|(_, id)| **id == mask).map(|(at, _)| at).collect();
            let mut fills: Vec<Vec<MaskFill>> = vec![Vec::new(); batch.offsets.len() - 1];
            if masked.is_empty() {
                return Ok(fills);
            }
            let rows = hidden.index_select(&Tensor::from_slice(&masked, masked.len(), hidden.device())?, 0)?;
            head.logits(&rows, |first, logits| {
                let sums = log_sums(logits)?;
                for (offset, (row, sum)) in logits.to_vec2::<f32>()?.iter().zip(sums).enumerate() {
                    let at = masked[first + offset] as usize;
                    let sequence = batch.offsets.partition_point(|&from| from <= at) - 1;
                    fills[sequence].push(MaskFill { token: at - batch.offsets[sequence], best: best(row, sum, top)? });
                }
                Ok(())
            })?;
            Ok(fills)
        })
    }

    /// The tokens of `text` as [`crate::tags::join`] takes them, from the logits of its `sequence`. A token continues a word as transformers decides it: by
    /// the vocabulary's mark of continuation, or without one where no blank stands before it; an unknown word never does.
    #[must_use]
    pub fn tagged_tokens(&self, text: &str, sequence: &PairTokens, logits: &TokenRows) -> Vec<TaggedToken> {
        let marked = self.tokenizer.continuing_prefix().is_some();
        let rows = logits.values.chunks_exact(logits.width.max(1));
        let tokens = sequence.ids.iter().zip(&sequence.places).zip(rows);
        let tagged = tokens.filter_map(|((&id, place), row)| {
            let bytes = place.as_ref()?.bytes.clone();
            let source = text.get(bytes.clone()).unwrap_or_default();
            let unknown = self.tokenizer.unknown() == Some(id);
            let spelling = if unknown { source.to_owned() } else { self.tokenizer.token(id).unwrap_or_default() };
            let continues = if marked { spelling.chars().count() != source.chars().count() } else { !blank_at(text, bytes.start) };
            Some(TaggedToken { spelling, continues: continues && !unknown, bytes, scores: ScoreRule::Softmax.apply(row) })
        });
        tagged.collect()
    }

    /// A span's text as its tokens spell it. Errors: `Internal`.
    pub fn spell(&self, span: &TagSpan, joining: Joining) -> Result<String, ModelError> {
        let words = span.words.iter().cloned();
        match joining {
            Joining::None => Ok(words.flatten().collect()),
            Joining::Simple => self.tokenizer.join(words.flatten().collect()),
            _ => {
                let words: Vec<String> = words.map(|word| self.tokenizer.join(word)).collect::<Result<_, _>>()?;
                self.tokenizer.join(words)
            }
        }
    }

    /// The text of a sequence with `id` at `token`, padding left out. Errors: `Internal`.
    pub fn filled(&self, sequence: &PairTokens, token: usize, id: u32, special: Special) -> Result<String, ModelError> {
        let mut ids = sequence.ids.clone();
        if let Some(place) = ids.get_mut(token) {
            *place = id;
        }
        ids.retain(|&id| Some(id) != self.tokenizer.padding());
        self.tokenizer.decode(&ids, special)
    }

    fn masked_head(&self) -> Result<&MaskedHead, ModelError> {
        match &self.task_head {
            TaskHead::Masked(head) => Ok(head),
            _ => Err(no_head()),
        }
    }

    /// Hidden states of all sequences, batch by batch, through `finish`, which gives one answer per sequence of its batch.
    fn each_batch<T: Send + Default>(
        &self,
        sequences: &[PairTokens],
        stop: StopCheck<'_>,
        finish: impl Fn(&Tensor, &TokenBatch) -> Result<Vec<T>, ModelError> + Sync,
    ) -> Result<Vec<T>, ModelError> {
        let limit = self.info.max_tokens.unwrap_or(usize::MAX);
        if let Some(long) = sequences.iter().find(|sequence| sequence.len() > limit) {
            return Err(ModelError::input(format!("a text of {} tokens, the model takes at most {limit}", long.len())));
        }
        // A tokenizer without special tokens makes nothing of an empty text; its answer is the empty one.
        let filled: Vec<usize> = (0..sequences.len()).filter(|&index| !sequences[index].is_empty()).collect();
        let lengths: Vec<usize> = filled.iter().map(|&index| sequences[index].len()).collect();
        let (batches, answers) = batches::compute(&lengths, &self.device, |batch| {
            let batch = self.joined(batch.iter().map(|&index| &sequences[filled[index]]));
            finish(&self.arch.forward(&batch, stop)?, &batch)
        })?;
        let mut out: Vec<T> = std::iter::repeat_with(T::default).take(sequences.len()).collect();
        for (&index, answer) in batches.iter().flatten().zip(answers.into_iter().flatten()) {
            out[filled[index]] = answer;
        }
        Ok(out)
    }

    fn joined<'a>(&self, sequences: impl Iterator<Item = &'a PairTokens>) -> TokenBatch {
        let mut batch = TokenBatch { ids: Vec::new(), segments: Vec::new(), offsets: vec![0] };
        for sequence in sequences {
            batch.ids.extend_from_slice(&sequence.ids);
            batch.segments.extend_from_slice(&sequence.segments);
            batch.offsets.push(batch.ids.len());
        }
        if self.segment_count < 2 || batch.segments.iter().all(|&segment| segment == 0) {
            batch.segments.clear();
        }
        batch
    }
}

/// A head that the abilities promise and the loader did not keep.
fn no_head() -> ModelError {
    ModelError::Internal { reason: "the model's head was not loaded".into() }
}

/// True where a text begins, or a blank stands at or before the character at `start`.
fn blank_at(text: &str, start: usize) -> bool {
    let before = text.get(..start).and_then(|head| head.chars().next_back());
    let at = text.get(start..).and_then(|tail| tail.chars().next());
    start == 0 || before == Some(' ') || at == Some(' ')
}

fn token_rows(rows: &Tensor, batch: &TokenBatch) -> Result<Vec<TokenRows>, ModelError> {
    let width = rows.dim(1)?;
    let values: Vec<f32> = rows.flatten_all()?.to_vec1()?;
    if !values.iter().all(|value| value.is_finite()) {
        return Err(ModelError::NonFinite);
    }
    let of = |pair: &[usize]| TokenRows { values: values[pair[0] * width..pair[1] * width].to_vec(), width };
    Ok(batch.offsets.windows(2).map(of).collect())
}

/// The `top` largest of a row as probabilities, given the log of the sum of exponentials.
fn best(row: &[f32], log_sum: f32, top: usize) -> Result<Vec<(u32, f32)>, ModelError> {
    if !log_sum.is_finite() {
        return Err(ModelError::NonFinite);
    }
    let mut order: Vec<u32> = (0..row.len() as u32).collect();
    let by_logit = |a: &u32, b: &u32| row[*b as usize].total_cmp(&row[*a as usize]).then(a.cmp(b));
    if top < order.len() {
        order.select_nth_unstable_by(top, by_logit);
        order.truncate(top);
    }
    order.sort_unstable_by(by_logit);
    Ok(order.into_iter().map(|id| (id, (f64::from(row[id as usize]) - f64::from(log_sum)).exp() as f32)).collect())
}
