//! The worker's model by itself: token ids in, vectors out, no task and no tokeniser.

use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use candle_core::Device;
use half::bf16;
use rayon::ThreadPool;
use serde_json::{Value, json};
use tallow_kernels::activation::Activation;
use tallow_kernels::gemm::{Epilogue, Input, Output, PackedWeights, Precision, gemm};
use tallow_kernels::threads::alone;
use tallow_kernels::{Isa, never_stop};
use tallow_models::{Embedder, Encoder, Sequence};

use super::{Engine, Failure, Sequences};

pub(super) struct Forward {
    encoder: Encoder,
    pool: ThreadPool,
}

impl Forward {
    pub(super) fn load(folder: &Path, precision: &str, threads: usize) -> Result<Self, Failure> {
        let precision = named(precision)?;
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
        let encoder = pool.install(|| Encoder::load_with(folder, "peer", (&Device::Cpu, precision)))?;
        Ok(Self { encoder, pool })
    }
}

impl Engine for Forward {
    fn describe(&self) -> Value {
        let settings = format!("{} threads, {} instructions, token ids in, own batches", self.pool.current_num_threads(), Isa::active());
        json!({ "engine": "tallow, forward pass", "version": env!("CARGO_PKG_VERSION"), "settings": settings })
    }

    fn embed(&self, sequences: &Sequences) -> Result<(Vec<f32>, usize), Failure> {
        let sequences: Vec<Sequence> = sequences.ids.iter().map(|ids| sequence(ids)).collect();
        let vectors = self.pool.install(|| self.encoder.embed(&sequences, &|| false))?;
        Ok((vectors, self.encoder.info().dimensions))
    }
}

/// Tokens without the text they came from: pooling needs no more.
fn sequence(ids: &[u32]) -> Sequence {
    Sequence { ids: ids.to_vec(), offsets: vec![0..0; ids.len()], content: 1..ids.len().max(2) - 1, ..Sequence::default() }
}

fn named(precision: &str) -> Result<Precision, Failure> {
    let found = Precision::ALL.into_iter().find(|known| known.name() == precision);
    found.ok_or_else(|| format!("precision `{precision}`; supported: exact, bf16, int8").into())
}

/// Seconds of each of `repeat` products `[rows, inner]` by packed weights `[columns, inner]`, on the calling thread alone. Narrow precisions read bf16,
/// as they do between the layers of an encoder.
pub(super) fn products(precision: &str, [rows, inner, columns]: [usize; 3], repeat: usize) -> Result<Value, Failure> {
    let precision = named(precision)?;
    let values = |count: usize| (0..count).map(|at| (at * 37 % 255) as f32 / 127.0 - 1.0).collect::<Vec<f32>>();
    let weights = PackedWeights::pack_on(Isa::active(), &values(columns * inner), (columns, inner), precision)?;
    let x = values(rows * inner);
    let x_half: Vec<bf16> = x.iter().map(|&value| bf16::from_f32(value)).collect();
    let input = if precision == Precision::Exact { Input::F32(&x) } else { Input::Bf16(&x_half) };
    let mut out = vec![0f32; rows * columns];
    let epilogue = Epilogue { bias: None, activation: Activation::Identity, residual: None };
    let mut seconds = Vec::with_capacity(repeat);
    for _ in 0..repeat {
        let started = Instant::now();
        alone(|| gemm(black_box(input), &weights, &epilogue, Output::F32(&mut out), &never_stop))?;
        seconds.push(started.elapsed().as_secs_f64());
    }
    black_box(&out);
    Ok(json!({ "seconds": seconds }))
}
