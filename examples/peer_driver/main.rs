//! The worker's encoders, and candle's stock BERT beside them, as a process that the comparison in `benches/peers` drives: `peer_driver ENGINE THREADS`,
//! where ENGINE is one of
//!
//! * `tallow`: the model alone, token ids in, as the other engines get them;
//! * `tallow-task`: a worker with default settings in this process, texts in by submitted tasks, tokenising included;
//! * `candle`: candle's stock BERT.
//!
//! `TALLOW_ISA` names the level of instructions. Answers each line of JSON on standard input with one on standard output, until the input ends.
//!
//! * `{"op":"load","model":DIR,"precision":NAME}` is answered by `{"engine":...,"version":...,"settings":...}`.
//! * `{"op":"run","ids":[[...],...],"texts":[...],"repeat":N}` is answered by `{"seconds":[...],"dimensions":D,"vectors_base64":...}`: the seconds of each
//!   of the N passes over all sequences, and the vectors of the last one as little-endian f32. Token ids include the special ones; the texts are theirs.
//! * `{"op":"gemm","precision":NAME,"shape":[M,K,N],"repeat":N}` is answered by `{"seconds":[...]}`: products of packed weights on one thread.
//! * Anything that fails is answered by `{"error":...}`.

mod candle;
mod forward;
mod submitted;

use std::error::Error;
use std::io::{BufRead, Write};
use std::path::Path;
use std::time::Instant;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};
use tallow_kernels::Isa;

type Failure = Box<dyn Error + Send + Sync>;

#[derive(Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
enum Request {
    Load { model: String, precision: String },
    Run(Sequences),
    Gemm { precision: String, shape: [usize; 3], repeat: usize },
}

/// What is embedded, as token ids and as the texts they come from.
#[derive(Deserialize)]
struct Sequences {
    ids: Vec<Vec<u32>>,
    texts: Vec<String>,
    repeat: usize,
}

/// Something that turns texts or their token ids into vectors.
trait Engine {
    /// What the report says of it: name, version, settings.
    fn describe(&self) -> Value;

    /// Row-major `[rows, dimensions]` f32 and `dimensions`.
    fn embed(&self, sequences: &Sequences) -> Result<(Vec<f32>, usize), Failure>;
}

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: peer_driver tallow|tallow-task|candle THREADS";
    let engine = arguments.next().ok_or(usage)?;
    let threads: usize = arguments.next().ok_or(usage)?.parse()?;
    if let Ok(level) = std::env::var("TALLOW_ISA") {
        Isa::named(&level)?.force()?;
    }
    let mut loaded = None;
    let mut output = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let answer = answer(&line, (&engine, threads), &mut loaded).unwrap_or_else(|error| json!({ "error": error.to_string() }));
        writeln!(output, "{answer}")?;
        output.flush()?;
    }
    Ok(())
}

fn answer(line: &str, engine: (&str, usize), loaded: &mut Option<Box<dyn Engine>>) -> Result<Value, Failure> {
    match serde_json::from_str(line)? {
        Request::Load { model, precision } => {
            let engine = load(engine, Path::new(&model), &precision)?;
            Ok(loaded.insert(engine).describe())
        }
        Request::Run(sequences) => run(loaded.as_deref().ok_or("no model is loaded")?, &sequences),
        Request::Gemm { precision, shape, repeat } => forward::products(&precision, shape, repeat),
    }
}

fn load((engine, threads): (&str, usize), folder: &Path, precision: &str) -> Result<Box<dyn Engine>, Failure> {
    match engine {
        "tallow" => Ok(Box::new(forward::Forward::load(folder, precision, threads)?)),
        "tallow-task" => Ok(Box::new(submitted::Submitted::load(folder, precision, threads)?)),
        "candle" if precision == "f32" => Ok(Box::new(candle::Candle::load(folder, threads)?)),
        "candle" => Err(format!("precision `{precision}`; supported by candle: f32").into()),
        other => Err(format!("engine `{other}`; supported: tallow, tallow-task, candle").into()),
    }
}

fn run(engine: &dyn Engine, sequences: &Sequences) -> Result<Value, Failure> {
    let mut seconds = Vec::with_capacity(sequences.repeat);
    let mut last = (Vec::new(), 0);
    for _ in 0..sequences.repeat {
        let started = Instant::now();
        last = engine.embed(sequences)?;
        seconds.push(started.elapsed().as_secs_f64());
    }
    let (vectors, dimensions) = last;
    let bytes: Vec<u8> = vectors.iter().flat_map(|value| value.to_le_bytes()).collect();
    Ok(json!({ "seconds": seconds, "dimensions": dimensions, "vectors_base64": BASE64_STANDARD.encode(bytes) }))
}
