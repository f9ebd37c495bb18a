//! Speed of every level of instructions, family by family, on one thread: `cargo bench -p tallow-kernels --bench families [name]`.
//!
//! Prints one line per shape and level. The best of several rounds is shown, which is what the hardware can do when it is left alone.

use std::hint::black_box;
use std::time::{Duration, Instant};

use half::bf16;
use tallow_kernels::activation::{Activation, Grade, apply_graded, gate_on};
use tallow_kernels::attention::{AttentionSpec, Mask, attention_on};
use tallow_kernels::gather::{Picked, gather_on};
use tallow_kernels::gemm::{Epilogue, Input, Output, PackedWeights, Precision, gemm as multiply};
use tallow_kernels::norm::{Norm, Target, add_normalize_on, normalize_on};
use tallow_kernels::rotary::{Order, RotarySpec, RotaryTable, Scaling, rotate_on};
use tallow_kernels::threads::alone;
use tallow_kernels::{Isa, never_stop};

/// Its name, and what measures it on one level.
type Family = (&'static str, fn(Isa));

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let families: [Family; 6] =
        [("gather", gather), ("gemm", gemm), ("activation", activation), ("norm", norm), ("attention", attention), ("rotary", rotary)];
    for (name, family) in families {
        if wanted.is_empty() || wanted.iter().any(|word| word == name) {
            Isa::available().into_iter().for_each(family);
        }
    }
}

/// Seconds of the fastest round.
fn fastest(mut work: impl FnMut()) -> f64 {
    let start = Instant::now();
    let mut best = f64::MAX;
    while start.elapsed() < Duration::from_millis(300) {
        let round = Instant::now();
        work();
        best = best.min(round.elapsed().as_secs_f64());
    }
    best
}

fn noise(count: usize) -> Vec<f32> {
    let mut state = 0x9E37_79B9_7F4A_7C15u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 22) as f32 - 2.0
    };
    std::iter::repeat_with(next).take(count).collect()
}

/// Numbers per second, three tables added up.
fn gather(isa: Isa) {
    let (dim, table) = (384, noise(384 * 4096));
    let ids: Vec<u32> = (0..256).map(|at| at * 2_654_435 % 4096).collect();
    let mut out = vec![0f32; ids.len() * dim];
    let picked = Picked { table: &table, ids: &ids, factor: 1.0 };
    let seconds = fastest(|| gather_on(isa, &[picked; 3], dim, black_box(&mut out)).expect("sizes fit"));
    println!("gather {isa} 3 tables of {dim}: {:.2} G numbers/s", out.len() as f64 / seconds / 1e9);
}

/// Multiplications and additions per second of the four products of a block of MiniLM (384 and 1,536 numbers) and of BERT base (768 and 3,072), with
/// what is fused behind them.
fn gemm(isa: Isa) {
    for (rows, inner, columns, activation) in [
        (256, 384, 1152, Activation::Identity),
        (256, 384, 384, Activation::Identity),
        (256, 384, 1536, Activation::Gelu),
        (256, 1536, 384, Activation::Identity),
        (512, 768, 3072, Activation::Gelu),
        (512, 3072, 768, Activation::Identity),
        (16, 384, 1536, Activation::Gelu),
    ] {
        for precision in Precision::ALL {
            let weights = PackedWeights::pack_on(isa, &noise(columns * inner), (columns, inner), precision).expect("sizes fit");
            let (x, bias, residual) = (noise(rows * inner), noise(columns), noise(rows * columns));
            let x_half: Vec<bf16> = x.iter().map(|value| bf16::from_f32(*value)).collect();
            let (mut out, mut out_half) = (vec![0f32; rows * columns], vec![bf16::ZERO; rows * columns]);
            let narrows = precision != Precision::Exact;
            let is_last = inner >= columns;
            let x = if narrows && inner > columns { Input::Bf16(&x_half) } else { Input::F32(&x) };
            let epilogue = Epilogue { bias: Some(&bias), activation, residual: is_last.then_some(&*residual) };
            let seconds = alone(|| {
                fastest(|| {
                    let out = if narrows && !is_last { Output::Bf16(&mut out_half) } else { Output::F32(&mut out) };
                    multiply(black_box(x), &weights, &epilogue, out, &never_stop).expect("sizes fit");
                })
            });
            let operations = (2 * rows * inner * columns) as f64;
            println!(
                "gemm {isa} {} {rows} x {inner} x {columns} {activation:?}: {:.0} GFLOP/s",
                precision.name(),
                operations / seconds / 1e9
            );
        }
    }
}

/// Values per second over an array that stays in the first cache.
fn activation(isa: Isa) {
    let source = noise(4096);
    let mut values = source.clone();
    for kind in Activation::ALL {
        for grade in [Grade::Full, Grade::Near] {
            let seconds = fastest(|| {
                values.copy_from_slice(&source);
                apply_graded(isa, (kind, grade), black_box(&mut values));
            });
            println!("activation {isa} {kind:?} {grade:?}: {:.2} G values/s", values.len() as f64 / seconds / 1e9);
        }
    }
    let mut half = vec![bf16::ZERO; source.len()];
    for grade in [Grade::Full, Grade::Near] {
        let seconds = fastest(|| {
            gate_on(isa, (Activation::Silu, grade), (black_box(&source), &source), Output::Bf16(&mut half)).expect("equal lengths");
        });
        println!("activation {isa} SwiGLU to bf16 {grade:?}: {:.2} G values/s", half.len() as f64 / seconds / 1e9);
    }
}

/// Numbers per second over rows that stay in the second cache.
fn norm(isa: Isa) {
    for dim in [384, 768, 2048] {
        let rows = noise(64 * dim);
        let (scale, residual, mut out) = (noise(dim), noise(64 * dim), vec![0f32; 64 * dim]);
        let layer = Norm::Layer { scale: &scale, shift: Some(&scale) };
        let rate = |seconds: f64| rows.len() as f64 / seconds / 1e9;
        for (name, norm) in [("layer", layer), ("rms", Norm::Rms { scale: &scale })] {
            let seconds = fastest(|| normalize_on(isa, (&rows, 1e-5), &norm, Output::F32(black_box(&mut out))).expect("sizes fit"));
            println!("norm {isa} {name} {dim}: {:.2} G numbers/s", rate(seconds));
        }
        let mut half = vec![bf16::ZERO; out.len()];
        let seconds = fastest(|| {
            let target = Target::InPlace(Some(black_box(&mut half)));
            add_normalize_on(isa, (&mut out, Some(&residual)), (&layer, 1e-5), target).expect("sizes fit");
        });
        println!("norm {isa} residual + layer, in place and bf16 {dim}: {:.2} G numbers/s", rate(seconds));
    }
}

/// Multiplications and additions of both products per second, softmax included in the time.
fn attention(isa: Isa) {
    for (sequences, len, heads, head_dim) in
        [(2, 128, 12, 32), (1, 512, 4, 64), (1, 512, 2, 128), (16, 16, 12, 32), (8, 32, 12, 32), (4, 64, 12, 64)]
    {
        for precision in [Precision::Exact, Precision::Bf16] {
            let spec = AttentionSpec {
                heads,
                kv_heads: heads,
                head_dim,
                scale: 1.0 / (head_dim as f32).sqrt(),
                mask: Mask::Full,
                softcap: None,
                distance_bias: None,
                precision,
            };
            let offsets: Vec<usize> = (0..=sequences).map(|sequence| sequence * len).collect();
            let qkv = noise(sequences * len * spec.row());
            let qkv_half: Vec<bf16> = qkv.iter().map(|value| bf16::from_f32(*value)).collect();
            let input = if precision == Precision::Exact { Input::F32(&qkv) } else { Input::Bf16(&qkv_half) };
            let (mut out, mut out_half) =
                (vec![0f32; sequences * len * heads * head_dim], vec![bf16::ZERO; sequences * len * heads * head_dim]);
            let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a pool of one thread");
            let seconds = pool.install(|| {
                fastest(|| {
                    let out = if precision == Precision::Exact { Output::F32(&mut out) } else { Output::Bf16(&mut out_half) };
                    attention_on(isa, (input, &offsets), &spec, (out, &never_stop)).expect("sizes fit");
                })
            });
            let operations = (4 * sequences * len * len * heads * head_dim) as f64;
            println!(
                "attention {isa} {precision:?} {sequences} of {len} tokens, {heads} heads of {head_dim}: {:.1} GFLOP/s, {:.2} ns per token and head",
                operations / seconds / 1e9,
                seconds * 1e9 / (sequences * len * heads) as f64
            );
        }
    }
}

/// Numbers turned per second.
fn rotary(isa: Isa) {
    let table = RotaryTable::new(64, 512, 10_000.0, Scaling::None).expect("a table");
    let positions: Vec<u32> = (0..512).collect();
    let mut rows = noise(512 * 36 * 64);
    for order in [Order::Halves, Order::Pairs] {
        let spec = RotarySpec { row: 36 * 64, heads: 24, head_dim: 64, order, table: &table };
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a pool of one thread");
        let seconds = pool.install(|| fastest(|| rotate_on(isa, Output::F32(&mut rows), &positions, &spec).expect("sizes fit")));
        println!("rotary {isa} {order:?}: {:.2} G numbers/s", (512 * 24 * 64) as f64 / seconds / 1e9);
    }
}
