//! Attention inside each sequence of an unpadded batch.
//!
//! Sources: Vaswani et al. 2017 (arXiv:1706.03762), grouped queries: Ainslie et al. 2023 (arXiv:2305.13245), ALiBi: Press et al. 2021
//! (arXiv:2108.12409).

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use candle_core::{D, Device, Tensor};
use candle_nn::ops::softmax_last_dim;
pub use tallow_kernels::attention::Mask as AttentionMask;
use tallow_kernels::attention::tensor;
use tallow_kernels::gemm::Precision;

use super::linear::narrow;
use crate::ModelError;

/// Queries whose scores are computed at a time: what bounds the memory of long sequences.
pub const SCORE_ROWS: usize = 256;

/// 0 where a query sees a key and minus infinity where it does not, `[1, queries, keys]`; none where all see all.
fn mask_addend(mask: AttentionMask, queries: &Range<usize>, keys: &Range<usize>, device: &Device) -> Result<Option<Tensor>, ModelError> {
    if mask.sees(queries.start, keys.end - 1) && mask.sees(queries.end - 1, keys.start) {
        return Ok(None);
    }
    let value = |query, key| if mask.sees(query, key) { 0f32 } else { f32::NEG_INFINITY };
    let values: Vec<f32> = queries.clone().flat_map(|query| keys.clone().map(move |key| value(query, key))).collect();
    Ok(Some(Tensor::from_vec(values, (1, queries.len(), keys.len()), device)?))
}

/// What is added to a score, by head and by distance of the key from the query.
#[derive(Clone, Debug)]
pub struct DistanceBias {
    /// `[heads, 2 * distance_max + 1]`; the middle column is distance 0, those to its right are keys behind the query.
    table: Tensor,
    distance_max: usize,
    /// The table on the host.
    host: Option<Arc<Vec<f32>>>,
}

impl DistanceBias {
    /// A table `[heads, 2 * distance_max + 1]` f32. Errors: `Internal` for another shape.
    pub fn new(table: Tensor) -> Result<Self, ModelError> {
        let (_, columns) = table.dims2()?;
        if columns.is_multiple_of(2) {
            return Err(ModelError::Internal { reason: format!("a distance bias of {columns} columns has no middle") });
        }
        let host = if table.device().is_cpu() { Some(Arc::new(table.flatten_all()?.to_vec1()?)) } else { None };
        Ok(Self { table, distance_max: columns / 2, host })
    }

    /// ALiBi without a direction: every head subtracts the distance times its slope.
    pub fn alibi(heads: usize, distance_max: usize, device: &Device) -> Result<Self, ModelError> {
        let columns = 2 * distance_max + 1;
        let values: Vec<f32> =
            alibi_slopes(heads).iter().flat_map(|slope| (0..columns).map(move |at| -slope * at.abs_diff(distance_max) as f32)).collect();
        Self::new(Tensor::from_vec(values, (heads, columns), device)?)
    }

    /// `[heads, queries, keys]`. Errors: `Internal` for a sequence beyond the table.
    fn block(&self, queries: &Range<usize>, keys: &Range<usize>) -> Result<Tensor, ModelError> {
        let last = queries.end.max(keys.end) - 1;
        if last > self.distance_max {
            return Err(ModelError::Internal { reason: format!("a distance bias up to {}, {} tokens", self.distance_max, last + 1) });
        }
        let column = |query: usize, key: usize| (self.distance_max + key - query) as u32;
        let columns: Vec<u32> = queries.clone().flat_map(|query| keys.clone().map(move |key| column(query, key))).collect();
        let columns = Tensor::from_vec(columns, queries.len() * keys.len(), self.table.device())?;
        Ok(self.table.index_select(&columns, 1)?.reshape(((), queries.len(), keys.len()))?)
    }
}

/// ALiBi's slopes: a geometric series for a power of two of heads, otherwise that of the next lower power, filled up with every second slope of the
/// next higher.
fn alibi_slopes(heads: usize) -> Vec<f32> {
    let series = |count: usize| (1..=count).map(move |at| (-8.0 * at as f64 / count as f64).exp2() as f32);
    let lower = if heads.is_power_of_two() { heads } else { heads.next_power_of_two() / 2 };
    series(lower).chain(series(2 * lower).step_by(2)).take(heads).collect()
}

/// How the rows of a batch attend to each other.
#[derive(Clone, Debug)]
pub struct AttentionSpec {
    /// Heads of the queries; a multiple of `kv_heads`.
    pub heads: usize,
    /// Heads of keys and values; each serves as many queries in a row as `heads / kv_heads`.
    pub kv_heads: usize,
    /// Dimensions of a head.
    pub head_dim: usize,
    /// Every score is multiplied by this.
    pub scale: f32,
    /// Which keys a query sees.
    pub mask: AttentionMask,
    /// Scaled scores pass through `softcap * tanh(score / softcap)`.
    pub softcap: Option<f32>,
    /// Added after scale and softcap.
    pub distance_bias: Option<DistanceBias>,
    /// Of the products, on the host.
    pub precision: Precision,
}

impl AttentionSpec {
    /// Full attention with as many heads for keys as for queries and scores divided by √`head_dim`.
    #[must_use]
    pub fn full(heads: usize, head_dim: usize, precision: Precision) -> Self {
        let scale = (1.0 / (head_dim as f64).sqrt()) as f32;
        Self { heads, kv_heads: heads, head_dim, scale, mask: AttentionMask::Full, softcap: None, distance_bias: None, precision }
    }

    /// Numbers per token of `qkv`.
    #[must_use]
    pub fn qkv_width(&self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.head_dim
    }

    /// The host's kernel for a batch.
    fn kernel(&self, offsets: &[usize]) -> tensor::Attention {
        tensor::Attention {
            offsets: Arc::new(offsets.to_vec()),
            heads: self.heads,
            kv_heads: self.kv_heads,
            scale: self.scale,
            mask: self.mask,
            softcap: self.softcap,
            distance_bias: self.distance_bias.as_ref().and_then(|bias| bias.host.clone()),
            precision: self.precision,
            dtype: narrow(&Device::Cpu, self.precision),
        }
    }

    /// What is added to the scores of some queries and keys, `[heads or 1, queries, keys]`.
    fn addend(&self, queries: &Range<usize>, keys: &Range<usize>, device: &Device) -> Result<Option<Tensor>, ModelError> {
        let mask = mask_addend(self.mask, queries, keys, device)?;
        let bias = self.distance_bias.as_ref().map(|bias| bias.block(queries, keys)).transpose()?;
        Ok(match (bias, mask) {
            (Some(bias), Some(mask)) => Some(bias.broadcast_add(&mask)?),
            (one, None) | (None, one) => one,
        })
    }

    /// Scores, softcap, mask and bias of one block of queries, and the values they mix: `query` `[heads, queries, dim]` to the same shape.
    fn mix(&self, query: &Tensor, key: &Tensor, value: &Tensor, addend: Option<&Tensor>) -> Result<Tensor, ModelError> {
        let mut scores = query.matmul(&key.transpose(1, 2)?)?;
        if let Some(cap) = self.softcap.map(f64::from) {
            scores = ((scores / cap)?.tanh()? * cap)?;
        }
        if let Some(addend) = addend {
            scores = scores.broadcast_add(addend)?;
        }
        Ok(softmax_last_dim(&scores)?.matmul(value)?)
    }
}

/// Attention inside each sequence of an unpadded batch: every sequence sees itself alone.
///
/// `qkv` `[tokens, (heads + 2 * kv_heads) * head_dim]`: the queries of all heads, then the keys, then the values. `offsets`: where each sequence begins,
/// and the end of the last. Result `[tokens, heads * head_dim]`, for a linear layer alone: as narrow as the precision allows.
pub fn attention(qkv: &Tensor, offsets: &[usize], spec: &AttentionSpec) -> Result<Tensor, ModelError> {
    if qkv.device().is_cpu() {
        let longest = offsets.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0);
        if let Some(bias) = spec.distance_bias.as_ref().filter(|bias| longest > bias.distance_max + 1) {
            return Err(ModelError::Internal { reason: format!("a distance bias up to {}, {longest} tokens", bias.distance_max) });
        }
        return Ok(spec.kernel(offsets).forward(&qkv.contiguous()?)?);
    }
    let (heads, kv_heads, dim) = (spec.heads, spec.kv_heads, spec.head_dim);
    // Of sequences that are one block, by length: a batch is full of equals.
    let mut addends: BTreeMap<usize, Option<Tensor>> = BTreeMap::new();
    let mut mixed = Vec::with_capacity(offsets.len());
    for pair in offsets.windows(2) {
        let seq = pair[1] - pair[0];
        let rows = qkv.narrow(0, pair[0], seq)?;
        let part = |first: usize, count: usize| -> candle_core::Result<Tensor> {
            rows.narrow(D::Minus1, first * dim, count * dim)?.reshape((seq, count, dim))?.transpose(0, 1)?.contiguous()
        };
        let query = (part(0, heads)? * f64::from(spec.scale))?;
        let (key, value) = (part(heads, kv_heads)?, part(heads + kv_heads, kv_heads)?);
        let (key, value) = (repeated(&key, heads / kv_heads)?, repeated(&value, heads / kv_heads)?);
        for queries in (0..seq).step_by(SCORE_ROWS).map(|first| first..(first + SCORE_ROWS).min(seq)) {
            let keys = spec.mask.keys(queries.start, seq).start..spec.mask.keys(queries.end - 1, seq).end;
            let known = if queries.len() == seq { addends.get(&seq).cloned() } else { None };
            let addend = match known {
                Some(addend) => addend,
                None => spec.addend(&queries, &keys, qkv.device())?,
            };
            if queries.len() == seq {
                addends.insert(seq, addend.clone());
            }
            let query = query.narrow(1, queries.start, queries.len())?.contiguous()?;
            let (key, value) =
                (key.narrow(1, keys.start, keys.len())?.contiguous()?, value.narrow(1, keys.start, keys.len())?.contiguous()?);
            let block = spec.mix(&query, &key, &value, addend.as_ref())?;
            mixed.push(block.transpose(0, 1)?.reshape((queries.len(), heads * dim))?);
        }
    }
    Ok(Tensor::cat(&mixed, 0)?)
}

/// `[kv_heads, seq, dim]` to `[kv_heads * group, seq, dim]`, each head `group` times in a row.
fn repeated(x: &Tensor, group: usize) -> Result<Tensor, ModelError> {
    if group == 1 {
        return Ok(x.clone());
    }
    let (heads, seq, dim) = x.dims3()?;
    Ok(x.unsqueeze(1)?.expand((heads, group, seq, dim))?.reshape((heads * group, seq, dim))?)
}
