//! A model holds what its estimate says at every precision, and measuring for `auto` holds no more than is claimed for it; counted by the allocator.

mod counting;

use std::path::Path;
use std::sync::atomic::Ordering;

use candle_core::Device;
use tallow_kernels::gemm::Precision;
use tallow_models::encoder::{EncoderPlan, estimate_bytes};
use tallow_models::{Embedder as _, Encoder, PrecisionChoice, PrecisionPolicy};

use counting::{HELD, PEAK};

const MIB: f64 = 1048576.0;

#[test]
fn minilm_holds_what_its_estimate_says_at_every_precision() {
    let Ok(root) = std::env::var("TALLOW_TEST_MODELS") else {
        eprintln!("skipped: TALLOW_TEST_MODELS is not set");
        return;
    };
    let folder = Path::new(&root).join("all-MiniLM-L6-v2");
    let plan = EncoderPlan::read(&folder).expect("the folder holds the model");
    let embedded = |precision| {
        let model = Encoder::load_with(&folder, "minilm", (&Device::Cpu, precision)).expect("it loads");
        let sequence = model.tokenize("", "weights are packed at their first use").expect("a text");
        model.embed(&[sequence], &|| false).expect("a vector");
        model
    };
    // What the process sets up once and keeps is no part of a model.
    drop(embedded(Precision::Exact));
    for precision in Precision::ALL {
        let before = HELD.load(Ordering::Relaxed);
        let model = embedded(precision);
        let held = (HELD.load(Ordering::Relaxed) - before) as f64;
        let estimate = estimate_bytes(&plan, PrecisionChoice::Fixed(precision)).expect("whole tables") as f64;
        println!("{}: holds {:.1} MiB, estimated {:.1} MiB", precision.name(), held / MIB, estimate / MIB);
        assert!((0.85..=1.15).contains(&(estimate / held)), "{}: holds {held} bytes, estimated {estimate}", precision.name());
        assert_eq!(model.info().memory_bytes as f64, estimate);
    }
    // On one thread, so that what texts take while they are computed is small beside a model.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread");
    let before = HELD.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let chosen = pool.install(|| Encoder::load_chosen(&folder, "minilm", (&Device::Cpu, &PrecisionPolicy::default())).expect("it loads"));
    let peak = (PEAK.load(Ordering::Relaxed) - before) as f64;
    let claimed = estimate_bytes(&plan, PrecisionChoice::Auto).expect("whole tables") as f64;
    println!("auto: takes {}, {:.1} MiB at the peak, {:.1} MiB claimed", chosen.encoder.info().precision, peak / MIB, claimed / MIB);
    // Two precisions side by side would hold three quarters more.
    assert!(peak <= claimed * 1.25, "{peak} bytes at the peak, {claimed} claimed");
    drop(chosen);
    // What the thread keeps for its next work is there by then; a second load leaves nothing more.
    let before = HELD.load(Ordering::Relaxed);
    drop(pool.install(|| Encoder::load_chosen(&folder, "minilm", (&Device::Cpu, &PrecisionPolicy::default())).expect("it loads")));
    let left = (HELD.load(Ordering::Relaxed) - before) as f64;
    assert!(left < MIB, "{left} bytes are left of a load");
}
