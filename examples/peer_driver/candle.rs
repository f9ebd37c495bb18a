//! candle's stock BERT with the pooling that the model asks for.

use std::path::Path;

use candle_core::{DType, Device, Tensor};
use candle_transformers::models::bert::{BertModel, Config};
use rayon::ThreadPool;
use serde_json::{Value, json};

use super::{Engine, Failure, Sequences};

/// Sequences that the model gets at once, as the other peers do; the worker is given all of them and makes its own batches.
const BATCH_ROWS: usize = 32;

pub(super) struct Candle {
    model: BertModel,
    pool: ThreadPool,
}

impl Candle {
    pub(super) fn load(folder: &Path, threads: usize) -> Result<Self, Failure> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
        let config: Config = serde_json::from_slice(&std::fs::read(folder.join("config.json"))?)?;
        let weights = std::fs::read(folder.join("model.safetensors"))?;
        let weights = candle_nn::VarBuilder::from_buffered_safetensors(weights, DType::F32, &Device::Cpu)?;
        Ok(Self { model: BertModel::load(weights, &config)?, pool })
    }

    /// The mean of the tokens' states at unit length, `[batch.len(), hidden]`.
    fn embed_batch(&self, batch: &[Vec<u32>]) -> candle_core::Result<Tensor> {
        let seq = batch.iter().map(Vec::len).max().unwrap_or(0);
        let padded = |fill: fn(u32) -> u32| {
            let rows = batch.iter().flat_map(|ids| ids.iter().map(|&id| fill(id)).chain(std::iter::repeat_n(0, seq - ids.len()))).collect();
            Tensor::from_vec::<_, u32>(rows, (batch.len(), seq), &Device::Cpu)
        };
        let (ids, mask) = (padded(|id| id)?, padded(|_| 1)?);
        let hidden = self.model.forward(&ids, &ids.zeros_like()?, Some(&mask))?;
        let mask = mask.to_dtype(DType::F32)?;
        let mean = hidden.broadcast_mul(&mask.unsqueeze(2)?)?.sum(1)?.broadcast_div(&mask.sum_keepdim(1)?)?;
        mean.broadcast_div(&mean.sqr()?.sum_keepdim(1)?.sqrt()?)
    }
}

impl Engine for Candle {
    fn describe(&self) -> Value {
        let settings = format!("{} threads, padded batches of {BATCH_ROWS}", self.pool.current_num_threads());
        json!({ "engine": "candle-transformers", "version": "0.11.1", "settings": settings })
    }

    fn embed(&self, sequences: &Sequences) -> Result<(Vec<f32>, usize), Failure> {
        let mut vectors = Vec::new();
        let mut dimensions = 0;
        for batch in sequences.ids.chunks(BATCH_ROWS) {
            let rows = self.pool.install(|| self.embed_batch(batch))?;
            dimensions = rows.dim(1)?;
            vectors.extend(rows.flatten_all()?.to_vec1::<f32>()?);
        }
        Ok((vectors, dimensions))
    }
}
