//! What a loaded encoder holds in memory, from the tables of its files.

use tallow_kernels::Isa;
use tallow_kernels::gemm::{PackedWeights, Precision};

use super::EncoderPlan;
use crate::heads::HeadKind;
use crate::weights::TensorEntry;
use crate::{ModelError, PrecisionChoice};

/// Memory that a model will hold on the host once it is in use, from its tables alone: the largest of what `choice` may lead to, since `auto` measures
/// `exact` first. Errors: weights that are missing or whose tables are damaged.
pub fn estimate_bytes(plan: &EncoderPlan, choice: PrecisionChoice) -> Result<u64, ModelError> {
    let possible = choice.possible(Isa::active());
    possible.into_iter().try_fold(0, |most, precision| Ok(encoder_bytes(plan, Some(precision))?.max(most)))
}

/// Memory at one precision of the host; without one, as plain f32 tensors of another device.
pub(super) fn encoder_bytes(plan: &EncoderPlan, precision: Option<Precision>) -> Result<u64, ModelError> {
    let mut weights = 0u64;
    let mut has_decoder = false;
    for tensor in plan.tensors()?.iter().filter(|tensor| matches!(tensor.dtype.as_str(), "F32" | "F16" | "BF16")) {
        has_decoder |= is_decoder(tensor, plan.config.vocab);
        weights = weights.saturating_add(tensor_bytes(tensor, plan.config.vocab, precision));
    }
    if plan.head.kind == HeadKind::Masked && !has_decoder && precision.is_some() {
        // The word embedding serves as the decoder's weights, which are packed beside it.
        weights = weights.saturating_add(PackedWeights::bytes_for((plan.config.vocab, plan.config.hidden), Precision::Exact) as u64);
    }
    Ok(resident_bytes(weights + plan.config.derived_bytes, plan.tokenizer_bytes()))
}

/// A tensor in the form in which it stays: weights of linear layers packed, embeddings and everything over the vocabulary as f32.
fn tensor_bytes(tensor: &TensorEntry, vocab: usize, precision: Option<Precision>) -> u64 {
    let dense = tensor.shape.iter().map(|&size| size as u64).fold(4u64, u64::saturating_mul);
    match (tensor.shape.as_slice(), precision) {
        (&[outputs, inputs], Some(precision)) if !tensor.name.contains("embed") && outputs != vocab && tensor.name.ends_with("weight") => {
            PackedWeights::bytes_for((outputs, inputs), precision) as u64
        }
        _ => dense,
    }
}

/// A weight of every word that is no embedding.
fn is_decoder(tensor: &TensorEntry, vocab: usize) -> bool {
    tensor.shape.len() == 2 && tensor.shape[0] == vocab && !tensor.name.contains("embed")
}

/// Weights, what the allocator keeps of their working copies, and the vocabulary, which takes about eleven times its file in memory.
fn resident_bytes(weights: u64, tokenizer_file: u64) -> u64 {
    weights + weights / 50 + tokenizer_file * 11 + (4 << 20)
}
