//! Disentangled attention: a query also meets the relative positions of the keys, and a key those of the queries.
//!
//! Sources: He et al. 2020 (arXiv:2006.03654), logarithmic buckets and shared projections: He et al. 2021 (arXiv:2111.09543).

use std::ops::Range;

use candle_core::{D, Device, Tensor};
use candle_nn::ops::softmax_last_dim;

use super::{Linear, SCORE_ROWS};
use crate::ModelError;

/// How distances share rows of the position table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DistanceBuckets {
    /// Every distance below `span` has its own.
    Exact {
        /// Distances in each direction.
        span: usize,
    },
    /// Distances up to half of `span` have their own, farther ones share the rest by their logarithm.
    Logarithmic {
        /// Buckets in each direction.
        span: usize,
        /// Positions of the model.
        positions: usize,
    },
}

impl DistanceBuckets {
    /// Buckets in each direction; the position table has twice as many rows.
    #[must_use]
    pub fn span(self) -> usize {
        match self {
            Self::Exact { span } | Self::Logarithmic { span, .. } => span,
        }
    }

    /// The row of the position table for a query at `query` and a key at `key`.
    #[must_use]
    pub fn row(self, query: usize, key: usize) -> usize {
        let (span, distance) = (self.span(), query.abs_diff(key));
        let bucket = match self {
            Self::Exact { .. } => distance,
            Self::Logarithmic { positions, .. } => {
                let middle = span / 2;
                if distance <= middle {
                    distance
                } else {
                    // In f32, as the model was trained: rounding decides at the edges of a bucket.
                    let ratio = (distance as f32 / middle as f32).ln() / (((positions - 1) as f64 / middle as f64) as f32).ln();
                    middle + (ratio * (middle - 1) as f32).ceil() as usize
                }
            }
        };
        if query >= key { (span + bucket).min(2 * span - 1) } else { span.saturating_sub(bucket) }
    }
}

/// How the rows of a batch attend to each other.
#[derive(Clone, Copy, Debug)]
pub struct DisentangledSpec {
    /// Attention heads.
    pub heads: usize,
    /// Dimensions of a head.
    pub head_dim: usize,
    /// The rows of distances.
    pub buckets: DistanceBuckets,
    /// Every product is multiplied by this.
    pub scale: f32,
}

impl DisentangledSpec {
    /// The row of the position table for some queries and every key, `[heads, queries, seq]`.
    fn rows(&self, queries: &Range<usize>, seq: usize, device: &Device) -> Result<Tensor, ModelError> {
        let row = |query, key| self.buckets.row(query, key) as u32;
        let rows: Vec<u32> = queries.clone().flat_map(|query| (0..seq).map(move |key| row(query, key))).collect();
        Ok(Tensor::from_vec(rows, (1, queries.len(), seq), device)?.broadcast_as((self.heads, queries.len(), seq))?)
    }
}

/// The relative positions as one layer's keys and queries, `[heads, head_dim, 2 * span]`.
pub struct RelativePositions {
    /// What queries meet.
    key: Option<Tensor>,
    /// What keys meet.
    query: Option<Tensor>,
}

impl RelativePositions {
    /// The position table `[2 * span, hidden]` through the layers that make keys and queries of it; without a layer that part is left out.
    pub fn new(table: &Tensor, parts: [Option<&Linear>; 2], spec: &DisentangledSpec) -> Result<Self, ModelError> {
        let heads = |linear: &Linear| -> Result<Tensor, ModelError> {
            let rows = linear.forward_unpacked(table)?.reshape(((), spec.heads, spec.head_dim))?;
            Ok(rows.permute((1, 2, 0))?.contiguous()?)
        };
        let [key, query] = parts;
        Ok(Self { key: key.map(heads).transpose()?, query: query.map(heads).transpose()? })
    }
}

/// Disentangled attention inside each sequence of an unpadded batch.
///
/// `qkv` and `offsets` as in [`super::attention`], with as many heads for keys as for queries. Result `[tokens, heads * head_dim]` f32.
pub fn disentangled_attention(
    qkv: &Tensor,
    offsets: &[usize],
    spec: &DisentangledSpec,
    positions: &RelativePositions,
) -> Result<Tensor, ModelError> {
    let (heads, dim) = (spec.heads, spec.head_dim);
    let mut mixed = Vec::with_capacity(offsets.len());
    for pair in offsets.windows(2) {
        let seq = pair[1] - pair[0];
        let tokens = qkv.narrow(0, pair[0], seq)?;
        let part = |index: usize| -> candle_core::Result<Tensor> {
            tokens.narrow(D::Minus1, index * heads * dim, heads * dim)?.reshape((seq, heads, dim))?.transpose(0, 1)?.contiguous()
        };
        let (query, key, value) = ((part(0)? * f64::from(spec.scale))?, part(1)?, part(2)?);
        let keys_met = match &positions.query {
            Some(of_queries) => Some((key.matmul(of_queries)? * f64::from(spec.scale))?),
            None => None,
        };
        for queries in (0..seq).step_by(SCORE_ROWS).map(|first| first..(first + SCORE_ROWS).min(seq)) {
            let query = query.narrow(1, queries.start, queries.len())?.contiguous()?;
            let mut scores = query.matmul(&key.transpose(1, 2)?)?;
            let rows = spec.rows(&queries, seq, qkv.device())?;
            if let Some(of_keys) = &positions.key {
                scores = (scores + query.matmul(of_keys)?.gather(&rows.contiguous()?, D::Minus1)?)?;
            }
            if let Some(met) = &keys_met {
                scores = (scores + met.gather(&rows.transpose(1, 2)?.contiguous()?, D::Minus1)?.transpose(1, 2)?)?;
            }
            mixed.push(softmax_last_dim(&scores)?.matmul(&value)?.transpose(0, 1)?.reshape((queries.len(), heads * dim))?);
        }
    }
    Ok(Tensor::cat(&mixed, 0)?)
}
