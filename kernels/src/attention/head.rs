//! One head of one sequence.

use std::ops::Range;

use super::AttentionSpec;
use super::softmax::{self, Row};
use crate::gemm::{Epilogue, Input, Output, PackedWeights, Precision, gemm};
use crate::{Isa, KernelError, Stop};

/// Queries whose scores are in memory together.
const BLOCK_QUERIES: usize = 64;

/// The keys and values of a head, packed.
pub(super) struct Keys {
    isa: Isa,
    keys: PackedWeights,
    values: PackedWeights,
    tokens: usize,
}

/// The numbers of columns `from..from + dim` of the rows `tokens`.
fn columns((qkv, tokens): (Input<'_>, &Range<usize>), row: usize, (from, dim): (usize, usize)) -> Vec<f32> {
    let mut out = Vec::with_capacity(tokens.len() * dim);
    match qkv {
        Input::F32(values) => {
            tokens.clone().for_each(|token| out.extend_from_slice(&values[token * row + from..][..dim]));
        }
        Input::Bf16(values) => {
            tokens.clone().for_each(|token| out.extend(values[token * row + from..][..dim].iter().map(|value| value.to_f32())));
        }
    }
    out
}

impl Keys {
    pub(super) fn pack(
        isa: Isa,
        sequence: (Input<'_>, &Range<usize>),
        spec: &AttentionSpec<'_>,
        kv_head: usize,
    ) -> Result<Self, KernelError> {
        let (dim, tokens) = (spec.head_dim, sequence.1.len());
        let precision = if spec.precision == Precision::Exact { Precision::Exact } else { Precision::Bf16 };
        // Softmax turns absolute errors of scores into relative ones of weights, so `exact` is plain f32 here.
        let packed_for = match (isa, precision) {
            (Isa::Amx(proof), Precision::Exact) => Isa::Avx512(proof.avx512()),
            _ => isa,
        };
        let keys = columns(sequence, spec.row(), ((spec.heads + kv_head) * dim, dim));
        let values = columns(sequence, spec.row(), ((spec.heads + spec.kv_heads + kv_head) * dim, dim));
        let mut turned = vec![0f32; values.len()];
        for (token, row) in values.chunks_exact(dim).enumerate() {
            for (at, &value) in row.iter().enumerate() {
                turned[at * tokens + token] = value;
            }
        }
        Ok(Self {
            isa,
            keys: PackedWeights::pack_on(packed_for, &keys, (tokens, dim), precision)?,
            values: PackedWeights::pack_on(packed_for, &turned, (dim, tokens), precision)?,
            tokens,
        })
    }

    /// What the queries of `head` gather, `[tokens, head_dim]`.
    pub(super) fn attend(
        &self,
        sequence: (Input<'_>, &Range<usize>),
        spec: &AttentionSpec<'_>,
        (head, stop): (usize, Stop<'_>),
    ) -> Result<Vec<f32>, KernelError> {
        let (dim, tokens) = (spec.head_dim, self.tokens);
        let mut queries = columns(sequence, spec.row(), (head * dim, dim));
        queries.iter_mut().for_each(|value| *value *= spec.scale);
        let mut out = vec![0f32; tokens * dim];
        let mut scores = vec![0f32; BLOCK_QUERIES.min(tokens) * tokens];
        let bias = spec.distance_bias.map(|bias| &bias[bias.len() / spec.heads * head..][..bias.len() / spec.heads]);
        for from in (0..tokens).step_by(BLOCK_QUERIES) {
            let block = from..(from + BLOCK_QUERIES).min(tokens);
            let scores = &mut scores[..block.len() * tokens];
            let rows = Input::F32(&queries[block.start * dim..block.end * dim]);
            gemm(rows, &self.keys, &Epilogue::default(), Output::F32(scores), stop)?;
            let mut sums = [0f32; BLOCK_QUERIES];
            for (query, (row, sum)) in block.clone().zip(scores.chunks_exact_mut(tokens).zip(&mut sums)) {
                *sum = softmax::row(self.isa, row, &Row { query, seen: spec.mask.keys(query, tokens), softcap: spec.softcap, bias });
            }
            let out = &mut out[block.start * dim..block.end * dim];
            gemm(Input::F32(scores), &self.values, &Epilogue::default(), Output::F32(out), stop)?;
            for (row, sum) in out.chunks_exact_mut(dim).zip(&sums) {
                let share = 1.0 / sum;
                row.iter_mut().for_each(|value| *value *= share);
            }
        }
        Ok(out)
    }
}
