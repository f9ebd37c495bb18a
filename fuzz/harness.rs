//! Runs one target for a bounded time. Input is a function of two numbers, a seed and how often it is mutated, so that proptest can shrink it.

use std::fmt::Debug;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};
use rand::SeedableRng as _;
use rand::rngs::StdRng;

const SECONDS_DEFAULT: f64 = 1.0;
const MUTATIONS_MAX: usize = 8;
/// No input of a target is large; one that takes this long found a hang. Generous, for machines that are busy.
const CASE_TIME_MAX: Duration = Duration::from_secs(20);
/// Characters of a failing input that are shown.
const SHOWN_MAX: usize = 4000;

/// Makes inputs with `make` (from randomness and a count of mutations) and gives them to `check` until the time is up.
pub(crate) fn fuzz<I: Debug>(target: &str, make: impl Fn(&mut StdRng, usize) -> I, check: impl Fn(&I) -> Result<(), String>) {
    let seed = base_seed();
    let until = Instant::now() + Duration::from_secs_f64(seconds());
    let input_of = |(seed, mutations): (u64, usize)| make(&mut StdRng::seed_from_u64(seed), mutations);
    let mut case_count = 0u64;
    for round in 0u64.. {
        let config = Config { cases: 32, failure_persistence: None, max_shrink_iters: 256, ..Config::default() };
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        bytes[8..16].copy_from_slice(&round.to_le_bytes());
        let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
        let outcome = runner.run(&(any::<u64>(), 0..MUTATIONS_MAX), |numbers| {
            let input = input_of(numbers);
            let begun = Instant::now();
            check(&input).map_err(TestCaseError::fail)?;
            prop_assert!(begun.elapsed() < CASE_TIME_MAX, "took {:?}", begun.elapsed());
            Ok(())
        });
        case_count += 32;
        match outcome {
            Ok(()) if Instant::now() < until => {}
            Ok(()) => break,
            Err(TestError::Fail(reason, numbers)) => {
                let shown: String = format!("{:?}", input_of(numbers)).chars().take(SHOWN_MAX).collect();
                panic!("{target}: {reason}\nrepeat with TALLOW_FUZZ_SEED={seed}\ninput: {shown}");
            }
            Err(TestError::Abort(reason)) => panic!("{target}: aborted: {reason}; seed {seed}"),
        }
    }
    println!("fuzz {target}: {case_count} inputs, seed {seed}");
}

fn seconds() -> f64 {
    let Ok(text) = std::env::var("TALLOW_FUZZ_SECONDS") else { return SECONDS_DEFAULT };
    let parsed = text.parse::<f64>().ok().filter(|seconds| (0.0..86_400.0).contains(seconds));
    parsed.unwrap_or_else(|| panic!("TALLOW_FUZZ_SECONDS=`{text}`: expected seconds, 0 to 86400"))
}

fn base_seed() -> u64 {
    match std::env::var("TALLOW_FUZZ_SEED") {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("TALLOW_FUZZ_SEED=`{text}`: expected a whole number")),
        Err(_) => rand::random(),
    }
}
