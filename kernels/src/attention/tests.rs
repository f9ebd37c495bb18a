//! Every level of instructions and precision, every length, masks, shared heads, biases and special values, against the reference in f64.

use super::*;
use crate::noise;
use crate::{never_stop, tolerance};

/// Numbers within ±2.
fn noise(seed: u64, count: usize) -> Vec<f32> {
    noise::noise(seed, count).iter().map(|value| 2.0 * value).collect()
}

const PLAIN: AttentionSpec<'static> = AttentionSpec {
    heads: 2,
    kv_heads: 2,
    head_dim: 32,
    scale: 0.176_776_7,
    mask: Mask::Full,
    softcap: None,
    distance_bias: None,
    precision: Precision::Exact,
};

fn check(offsets: &[usize], spec: &AttentionSpec<'_>) {
    let tokens = offsets[offsets.len() - 1];
    let qkv = noise(tokens as u64 + 3, tokens * spec.row());
    let truth = reference_attention(&qkv, offsets, spec);
    for isa in Isa::available() {
        for precision in [Precision::Exact, Precision::Bf16] {
            let spec = AttentionSpec { precision, ..*spec };
            let mut out = vec![f32::NAN; tokens * spec.heads * spec.head_dim];
            attention_on(isa, (Input::F32(&qkv), offsets), &spec, (Output::F32(&mut out), &never_stop)).unwrap();
            let bound = tolerance::attention(precision == Precision::Exact);
            if tokens > 500 {
                let errors = out.iter().zip(&truth).map(|(got, exact)| (f64::from(*got) - exact).abs());
                println!("{isa} {precision:?} {:?}: worst error {:.2e}", spec.mask, errors.fold(0.0, f64::max));
            }
            for (at, (got, exact)) in out.iter().zip(&truth).enumerate() {
                assert!((f64::from(*got) - exact).abs() <= bound, "{isa} {spec:?} {offsets:?} number {at}: {got}, exactly {exact}");
            }
        }
    }
}

#[test]
fn every_length_agrees_with_the_reference() {
    for tokens in 1..=67 {
        check(&[0, tokens], &PLAIN);
    }
    check(&[0, 200], &PLAIN);
}

#[test]
fn every_head_size_agrees_with_the_reference() {
    for head_dim in [1, 2, 7, 16, 31, 33, 64, 80, 128] {
        check(&[0, 19], &AttentionSpec { head_dim, scale: 1.0 / (head_dim as f32).sqrt(), ..PLAIN });
    }
}

#[test]
fn sequences_see_themselves_alone() {
    check(&[0, 5, 5, 6, 40, 107], &PLAIN);
}

#[test]
fn masks_shared_heads_caps_and_biases_agree_with_the_reference() {
    let bias = noise(9, 4 * 21);
    for mask in [Mask::Full, Mask::Causal, Mask::Window { left: 3, right: 0 }, Mask::Window { left: 64, right: 64 }] {
        for kv_heads in [1, 2, 4] {
            let spec = AttentionSpec { heads: 4, kv_heads, mask, ..PLAIN };
            check(&[0, 70, 73], &spec);
            check(&[0, 70, 73], &AttentionSpec { softcap: Some(3.0), ..spec });
            check(&[0, 70, 73], &AttentionSpec { distance_bias: Some(&bias), ..spec });
        }
    }
}

#[test]
fn a_sequence_is_the_same_in_any_batch_and_on_any_number_of_threads() {
    for isa in Isa::available() {
        let qkv = noise(5, 100 * PLAIN.row());
        let run = |qkv: &[f32], offsets: &[usize], threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let mut out = vec![0f32; offsets[offsets.len() - 1] * 64];
            pool.install(|| attention_on(isa, (Input::F32(qkv), offsets), &PLAIN, (Output::F32(&mut out), &never_stop))).unwrap();
            out
        };
        let together = run(&qkv, &[0, 33, 40, 100], 1);
        assert_eq!(together, run(&qkv, &[0, 33, 40, 100], 4), "{isa}");
        assert_eq!(together[33 * 64..40 * 64], run(&qkv[33 * PLAIN.row()..40 * PLAIN.row()], &[0, 7], 2), "{isa}");
    }
}

#[test]
fn long_sequences_agree_with_the_reference() {
    let bias = noise(9, 2 * 41);
    for mask in [Mask::Full, Mask::Causal, Mask::Window { left: 150, right: 10 }] {
        check(&[0, 530], &AttentionSpec { mask, distance_bias: Some(&bias), ..PLAIN });
    }
}

#[test]
fn what_comes_later_does_not_change_what_causal_queries_saw() {
    let qkv = noise(5, 530 * PLAIN.row());
    for isa in Isa::available() {
        for precision in [Precision::Exact, Precision::Bf16] {
            let spec = AttentionSpec { mask: Mask::Causal, precision, ..PLAIN };
            let run = |tokens: usize| {
                let mut out = vec![0f32; tokens * 64];
                let input = Input::F32(&qkv[..tokens * PLAIN.row()]);
                attention_on(isa, (input, &[0, tokens]), &spec, (Output::F32(&mut out), &never_stop)).unwrap();
                out
            };
            let whole = run(530);
            for tokens in [65, 130, 300, 513] {
                assert_eq!(run(tokens), whole[..tokens * 64], "{isa} {precision:?} {tokens}");
            }
        }
    }
}

#[test]
fn bf16_is_read_as_it_is_and_written_rounded() {
    use half::bf16;
    for isa in Isa::available() {
        let halves: Vec<bf16> = noise(8, 40 * PLAIN.row()).iter().map(|value| bf16::from_f32(*value)).collect();
        let wide: Vec<f32> = halves.iter().map(|value| value.to_f32()).collect();
        let (mut out, mut out_half) = (vec![0f32; 40 * 64], vec![bf16::ZERO; 40 * 64]);
        attention_on(isa, (Input::F32(&wide), &[0, 40]), &PLAIN, (Output::F32(&mut out), &never_stop)).unwrap();
        attention_on(isa, (Input::Bf16(&halves), &[0, 40]), &PLAIN, (Output::Bf16(&mut out_half), &never_stop)).unwrap();
        for (out, half) in out.iter().zip(&out_half) {
            assert_eq!(bf16::from_f32(*out), *half, "{isa}");
        }
    }
}

#[test]
fn special_values_stay_in_their_sequence() {
    for isa in Isa::available() {
        let clean = noise(6, 20 * PLAIN.row());
        let run = |qkv: &[f32]| {
            let mut out = vec![0f32; 20 * 64];
            attention_on(isa, (Input::F32(qkv), &[0, 10, 20]), &PLAIN, (Output::F32(&mut out), &never_stop)).unwrap();
            out
        };
        let expected = run(&clean);
        let mut broken = clean.clone();
        broken[12 * PLAIN.row() + 70] = f32::NAN;
        let out = run(&broken);
        assert_eq!(out[..10 * 64], expected[..10 * 64], "{isa}");
        assert!(out[10 * 64..].chunks(64).all(|row| row[..32].iter().all(|value| value.is_nan())), "{isa}: a NaN key is seen by all");
        // Scores far beyond what the exponential of f32 can hold.
        let large: Vec<f32> = clean.iter().map(|value| value * 300.0).collect();
        assert!(run(&large).iter().all(|value| value.is_finite()), "{isa}");
    }
}

#[test]
fn hidden_keys_weigh_nothing_however_large_their_values() {
    let clean = noise(7, 70 * PLAIN.row());
    let mut huge = clean.clone();
    huge[69 * PLAIN.row() + 128..].fill(1e30);
    for isa in Isa::available() {
        for precision in [Precision::Exact, Precision::Bf16] {
            let run = |qkv: &[f32]| {
                let spec = AttentionSpec { mask: Mask::Causal, precision, ..PLAIN };
                let mut out = vec![0f32; 70 * 64];
                attention_on(isa, (Input::F32(qkv), &[0, 70]), &spec, (Output::F32(&mut out), &never_stop)).unwrap();
                out
            };
            assert_eq!(run(&huge)[..69 * 64], run(&clean)[..69 * 64], "{isa} {precision:?}");
        }
    }
}

#[test]
fn a_scale_may_have_either_sign_and_any_size() {
    check(&[0, 40], &AttentionSpec { scale: -PLAIN.scale, ..PLAIN });
    check(&[0, 40], &AttentionSpec { scale: 0.0, ..PLAIN });
    let qkv = noise(7, 40 * PLAIN.row());
    for isa in Isa::available() {
        for (scale, precision) in
            [(300.0, Precision::Exact), (-300.0, Precision::Exact), (300.0, Precision::Bf16), (-300.0, Precision::Bf16)]
        {
            let spec = AttentionSpec { scale, precision, ..PLAIN };
            let mut out = vec![f32::NAN; 40 * 64];
            attention_on(isa, (Input::F32(&qkv), &[0, 40]), &spec, (Output::F32(&mut out), &never_stop)).unwrap();
            assert!(out.iter().all(|value| value.abs() <= 2.01), "{isa} {spec:?}: a mixture lies between its values");
        }
    }
}

#[test]
fn sizes_that_do_not_fit_are_refused() {
    let qkv = noise(1, 4 * PLAIN.row());
    let run = |qkv: &[f32], offsets: &[usize], spec: &AttentionSpec<'_>, out: usize| {
        attention(Input::F32(qkv), offsets, spec, (Output::F32(&mut vec![0f32; out]), &never_stop)).is_err()
    };
    assert!(run(&qkv[1..], &[0, 4], &PLAIN, 256));
    assert!(run(&qkv, &[0, 4], &PLAIN, 255));
    for offsets in [&[][..], &[0, 3], &[1, 4], &[0, 3, 2, 4], &[0, 5]] {
        assert!(run(&qkv, offsets, &PLAIN, 256), "{offsets:?}");
    }
    assert!(run(&qkv, &[0, 4], &AttentionSpec { heads: 0, ..PLAIN }, 0));
    assert!(run(&qkv, &[0, 4], &AttentionSpec { kv_heads: 3, ..PLAIN }, 256));
    assert!(run(&qkv, &[0, 4], &AttentionSpec { distance_bias: Some(&[1.0; 4]), ..PLAIN }, 256));
    let stopped = attention(Input::F32(&qkv), &[0, 4], &PLAIN, (Output::F32(&mut [0.0; 256]), &|| true));
    assert_eq!(stopped, Err(KernelError::Stopped));
}
