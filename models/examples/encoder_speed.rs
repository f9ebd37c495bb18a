//! Speed and accuracy of one encoder at every precision: `encoder_speed MODEL_FOLDER [LENGTH] [SEQUENCES] [THREADS] [PRECISION]`.
use std::time::Instant;

use candle_core::Device;
use tallow_kernels::gemm::Precision;
use tallow_models::{Embedder, Encoder, Sequence};

/// The fastest counts.
const ROUNDS: usize = 8;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let folder = args.next().ok_or("encoder_speed MODEL_FOLDER [LENGTH] [SEQUENCES] [THREADS] [PRECISION]")?;
    let length: usize = args.next().map_or(Ok(128), |text| text.parse())?;
    let count: usize = args.next().map_or(Ok(64), |text| text.parse())?;
    let threads: usize = args.next().map_or(Ok(2), |text| text.parse())?;
    let wanted = args.next();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
    let sequences: Vec<Sequence> = (0..count)
        .map(|row| Sequence {
            ids: (0..length).map(|at| 1000 + ((row * 7919 + at * 104_729) % 20_000) as u32).collect(),
            ..Sequence::default()
        })
        .collect();
    let mut golden: Option<Vec<f32>> = None;
    for precision in Precision::ALL.into_iter().filter(|one| wanted.as_deref().is_none_or(|wanted| wanted == one.name())) {
        let model = Encoder::load_with(std::path::Path::new(&folder), "model", (&Device::Cpu, precision))?;
        let dim = model.info().dimensions;
        let mut best = f64::MAX;
        let mut rows = Vec::new();
        for _ in 0..ROUNDS {
            let began = Instant::now();
            rows = pool.install(|| model.embed(&sequences, &|| false))?;
            best = best.min(began.elapsed().as_secs_f64());
        }
        let truth = golden.get_or_insert_with(|| rows.clone());
        let worst = rows.chunks(dim).zip(truth.chunks(dim)).map(|(a, b)| cosine(a, b)).fold(1.0, f64::min);
        println!("{:5} {:9.0} tokens/s, cosine to exact at worst {worst:.6}", precision.name(), (count * length) as f64 / best);
    }
    Ok(())
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}
