//! The worker's encoder, and candle's stock BERT beside it, as a process that the comparison in `benches/peers` drives: `peer_driver ENGINE THREADS`,
//! where ENGINE is `tallow` or `candle`. Answers each line of JSON on standard input with one on standard output, until the input ends.
//!
//! * `{"op":"load","model":DIR,"precision":NAME}` is answered by `{"engine":...,"version":...,"settings":...}`.
//! * `{"op":"run","ids":[[...],...],"repeat":N}` is answered by `{"seconds":[...],"dimensions":D,"vectors_base64":...}`: the seconds of each of the N
//!   passes over all sequences, and the vectors of the last one as little-endian f32. Token ids include the special ones.
//! * Anything that fails is answered by `{"error":...}`.

use std::error::Error;
use std::io::{BufRead, Write};
use std::path::Path;
use std::time::Instant;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use candle_core::{DType, Device, Tensor};
use candle_transformers::models::bert::{BertModel, Config};
use serde::Deserialize;
use serde_json::{Value, json};
use tallow_kernels::gemm::Precision;
use tallow_models::{Embedder, Encoder, Sequence};

/// Sequences that candle's model gets at once, as the other peers do; the worker is given all of them and makes its own batches.
const CANDLE_BATCH_ROWS: usize = 32;

type Failure = Box<dyn Error + Send + Sync>;

#[derive(Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
enum Request {
    Load { model: String, precision: String },
    Run { ids: Vec<Vec<u32>>, repeat: usize },
}

/// Something that turns token ids into vectors.
trait Engine: Send + Sync {
    /// What the report says of it: name, version, settings.
    fn describe(&self) -> Value;

    /// Row-major `[ids.len(), dimensions]` f32 and `dimensions`.
    fn embed(&self, ids: &[Vec<u32>]) -> Result<(Vec<f32>, usize), Failure>;
}

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: peer_driver tallow|candle THREADS";
    let engine = arguments.next().ok_or(usage)?;
    let threads: usize = arguments.next().ok_or(usage)?.parse()?;
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
    let mut loaded = None;
    let mut output = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let answer = pool.install(|| answer(&line, &engine, &mut loaded)).unwrap_or_else(|error| json!({ "error": error.to_string() }));
        writeln!(output, "{answer}")?;
        output.flush()?;
    }
    Ok(())
}

fn answer(line: &str, engine: &str, loaded: &mut Option<Box<dyn Engine>>) -> Result<Value, Failure> {
    match serde_json::from_str(line)? {
        Request::Load { model, precision } => {
            let engine = load(engine, Path::new(&model), &precision)?;
            Ok(loaded.insert(engine).describe())
        }
        Request::Run { ids, repeat } => run(loaded.as_deref().ok_or("no model is loaded")?, &ids, repeat),
    }
}

fn load(engine: &str, folder: &Path, precision: &str) -> Result<Box<dyn Engine>, Failure> {
    match engine {
        "tallow" => {
            let precision = Precision::ALL.into_iter().find(|known| known.name() == precision);
            let precision = precision.ok_or("precision; supported by tallow: exact, bf16, int8")?;
            Ok(Box::new(Tallow(Encoder::load_with(folder, "peer", (&Device::Cpu, precision))?)))
        }
        "candle" if precision == "f32" => Ok(Box::new(Candle::load(folder)?)),
        "candle" => Err(format!("precision `{precision}`; supported by candle: f32").into()),
        other => Err(format!("engine `{other}`; supported: tallow, candle").into()),
    }
}

fn run(engine: &dyn Engine, ids: &[Vec<u32>], repeat: usize) -> Result<Value, Failure> {
    let mut seconds = Vec::with_capacity(repeat);
    let mut last = (Vec::new(), 0);
    for _ in 0..repeat {
        let started = Instant::now();
        last = engine.embed(ids)?;
        seconds.push(started.elapsed().as_secs_f64());
    }
    let (vectors, dimensions) = last;
    let bytes: Vec<u8> = vectors.iter().flat_map(|value| value.to_le_bytes()).collect();
    Ok(json!({ "seconds": seconds, "dimensions": dimensions, "vectors_base64": BASE64_STANDARD.encode(bytes) }))
}

struct Tallow(Encoder);

impl Engine for Tallow {
    fn describe(&self) -> Value {
        let settings = format!("{} threads, own batches", rayon::current_num_threads());
        json!({ "engine": "tallow", "version": env!("CARGO_PKG_VERSION"), "settings": settings })
    }

    fn embed(&self, ids: &[Vec<u32>]) -> Result<(Vec<f32>, usize), Failure> {
        let sequences: Vec<Sequence> = ids.iter().map(|ids| sequence(ids)).collect();
        Ok((self.0.embed(&sequences, &|| false)?, self.0.info().dimensions))
    }
}

/// Tokens without the text they came from: pooling needs no more.
fn sequence(ids: &[u32]) -> Sequence {
    Sequence { ids: ids.to_vec(), offsets: vec![0..0; ids.len()], content: 1..ids.len().max(2) - 1, ..Sequence::default() }
}

struct Candle(BertModel);

impl Candle {
    fn load(folder: &Path) -> Result<Self, Failure> {
        let config: Config = serde_json::from_slice(&std::fs::read(folder.join("config.json"))?)?;
        let weights = std::fs::read(folder.join("model.safetensors"))?;
        let weights = candle_nn::VarBuilder::from_buffered_safetensors(weights, DType::F32, &Device::Cpu)?;
        Ok(Self(BertModel::load(weights, &config)?))
    }

    /// The mean of the tokens' states at unit length, `[batch.len(), hidden]`.
    fn embed_batch(&self, batch: &[Vec<u32>]) -> candle_core::Result<Tensor> {
        let seq = batch.iter().map(Vec::len).max().unwrap_or(0);
        let padded = |fill: fn(u32) -> u32| {
            let rows = batch.iter().flat_map(|ids| ids.iter().map(|&id| fill(id)).chain(std::iter::repeat_n(0, seq - ids.len()))).collect();
            Tensor::from_vec::<_, u32>(rows, (batch.len(), seq), &Device::Cpu)
        };
        let (ids, mask) = (padded(|id| id)?, padded(|_| 1)?);
        let hidden = self.0.forward(&ids, &ids.zeros_like()?, Some(&mask))?;
        let mask = mask.to_dtype(DType::F32)?;
        let mean = hidden.broadcast_mul(&mask.unsqueeze(2)?)?.sum(1)?.broadcast_div(&mask.sum_keepdim(1)?)?;
        mean.broadcast_div(&mean.sqr()?.sum_keepdim(1)?.sqrt()?)
    }
}

impl Engine for Candle {
    fn describe(&self) -> Value {
        let settings = format!("{} threads, padded batches of {CANDLE_BATCH_ROWS}", rayon::current_num_threads());
        json!({ "engine": "candle-transformers", "version": "0.11.1", "settings": settings })
    }

    fn embed(&self, ids: &[Vec<u32>]) -> Result<(Vec<f32>, usize), Failure> {
        let mut vectors = Vec::new();
        let mut dimensions = 0;
        for batch in ids.chunks(CANDLE_BATCH_ROWS) {
            let rows = self.embed_batch(batch)?;
            dimensions = rows.dim(1)?;
            vectors.extend(rows.flatten_all()?.to_vec1::<f32>()?);
        }
        Ok((vectors, dimensions))
    }
}
