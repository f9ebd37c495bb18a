//! Every way to compute a distance against the plain one.

use super::*;
use crate::noise::noise;
use crate::{BitRows, never_stop, tolerance};
use proptest::prelude::*;

/// Values without pattern, the same on every run.
/// Bound on the difference to the reference for these two rows.
fn allowed(metric: Metric, a: &[f32], b: &[f32]) -> f64 {
    let pairs = || a.iter().zip(b).map(|(a, b)| (f64::from(*a), f64::from(*b)));
    let squares = || pairs().map(|(a, b)| (a - b) * (a - b)).sum::<f64>();
    match metric {
        Metric::Dot => tolerance::lane_sum(a.len(), pairs().map(|(a, b)| (a * b).abs()).sum()),
        Metric::Cosine => tolerance::cosine(a.len()),
        Metric::L2Squared => tolerance::lane_sum(a.len(), squares()),
        Metric::L2 => tolerance::lane_sum(a.len(), squares().sqrt()),
        Metric::L1 => tolerance::lane_sum(a.len(), pairs().map(|(a, b)| (a - b).abs()).sum()),
        Metric::Hamming | Metric::Jaccard => 0.0,
    }
}

fn matrix(isa: Isa, metric: Metric, a: Rows<'_>, b: Rows<'_>) -> Vec<f64> {
    let mut out = vec![f64::NAN; a.len() * b.len()];
    scores_on(isa, metric, (a.into(), b.into()), &mut out, &never_stop).expect("valid operands");
    out
}

fn check(isa: Isa, metric: Metric, a: &[f32], b: &[f32]) {
    let got = matrix(isa, metric, Rows::new(a, a.len()).unwrap(), Rows::new(b, b.len()).unwrap())[0];
    let want = reference::score(metric, a, b);
    let same = (got.is_nan() && want.is_nan()) || (got == want) || (got - want).abs() <= allowed(metric, a, b);
    assert!(same, "{isa} {metric:?} dim {}: got {got}, want {want}, allowed {}", a.len(), allowed(metric, a, b));
}

#[test]
fn every_length_on_every_level_agrees_with_the_reference() {
    for isa in Isa::available() {
        for metric in Metric::ALL {
            for dim in (1..=67).chain([255, 1023, 1024, 1025, 4097]) {
                check(isa, metric, &noise(dim as u64, dim), &noise(77 + dim as u64, dim));
            }
        }
    }
}

#[test]
fn special_values_agree_with_the_reference_on_every_level() {
    let specials =
        [0.0, -0.0, 1.0, f32::MIN_POSITIVE, 1e-45, -1e-42, 1e-30, 1e20, -3e38, f32::MAX, f32::INFINITY, f32::NEG_INFINITY, f32::NAN];
    for isa in Isa::available() {
        for metric in Metric::ALL {
            for x in specials {
                for y in specials {
                    for dim in [1, 15, 16, 17, 40] {
                        let (mut a, mut b) = (vec![x; dim], vec![y; dim]);
                        check(isa, metric, &a, &b);
                        a[dim - 1] = 0.5;
                        b[0] = -0.25;
                        check(isa, metric, &a, &b);
                    }
                }
            }
        }
    }
}

#[test]
fn levels_with_fused_multiply_add_agree_bit_for_bit() {
    let fused: Vec<_> = Isa::available().into_iter().filter(|isa| *isa != Isa::Portable).collect();
    let (a, b) = (noise(1, 9 * 1100), noise(2, 7 * 1100));
    let (a, b) = (Rows::new(&a, 1100).unwrap(), Rows::new(&b, 1100).unwrap());
    for metric in Metric::ALL {
        let answers: Vec<_> = fused.iter().map(|isa| matrix(*isa, metric, a, b)).collect();
        assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{metric:?}");
    }
}

#[test]
fn a_score_does_not_depend_on_the_batch_the_tile_or_the_threads() {
    let (a, b) = (noise(3, 75 * 131), noise(4, 211 * 131));
    let (a, b) = (Rows::new(&a, 131).unwrap(), Rows::new(&b, 131).unwrap());
    let one_thread = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let many_threads = rayon::ThreadPoolBuilder::new().num_threads(5).build().unwrap();
    for isa in Isa::available() {
        for metric in Metric::ALL {
            let whole = many_threads.install(|| matrix(isa, metric, a, b));
            assert_eq!(whole, one_thread.install(|| matrix(isa, metric, a, b)));
            for (row, column) in [(0, 0), (31, 63), (32, 64), (74, 210), (5, 130)] {
                let single = matrix(isa, metric, a.slice(row..row + 1), b.slice(column..column + 1));
                assert_eq!(single[0], whole[row * 211 + column], "{isa} {metric:?} {row} {column}");
            }
            let stripe = matrix(isa, metric, a.slice(7..8), b);
            assert_eq!(stripe, whole[7 * 211..8 * 211]);
        }
    }
}

#[test]
fn a_row_at_any_address_scores_the_same() {
    let (a, b) = (noise(5, 100), noise(6, 100));
    for isa in Isa::available() {
        for offset in 0..16 {
            let (left, right) = (&a[offset..offset + 50], &b[16 - offset..66 - offset]);
            check(isa, Metric::Cosine, left, right);
            let copy = left.to_vec();
            let rows = |v| Rows::new(v, 50).unwrap();
            let here = matrix(isa, Metric::Dot, rows(left), rows(right));
            assert_eq!(here, matrix(isa, Metric::Dot, rows(&copy), rows(right)));
        }
    }
}

#[test]
fn a_row_is_exactly_similar_to_itself_and_zero_scores_zero() {
    for scale in [1.0f32, 1e-30, 1e30, 1e-44] {
        let a: Vec<f32> = noise(9, 384).iter().map(|v| v * scale).collect();
        assert_eq!(pair(Metric::Cosine, &a, &a), Ok(1.0), "scale {scale}");
        let opposite: Vec<f32> = a.iter().map(|v| -v).collect();
        assert_eq!(pair(Metric::Cosine, &a, &opposite), Ok(-1.0), "scale {scale}");
        assert_eq!(pair(Metric::Cosine, &a, &[0.0; 384]), Ok(0.0));
        assert_eq!(pair(Metric::L2, &a, &a), Ok(0.0));
    }
}

#[test]
fn operands_that_do_not_fit_are_refused() {
    let values = [1.0f32; 6];
    let bytes = [0u8; 6];
    let (three, two) = (Rows::new(&values, 3).unwrap(), Rows::new(&values, 2).unwrap());
    let bits = BitRows::new(&bytes, 3).unwrap();
    let mut out = [0.0; 6];
    let mut try_scores = |metric, a: Operand<'_>, b: Operand<'_>, len: usize| scores(metric, a, b, &mut out[..len], &never_stop);
    assert!(matches!(try_scores(Metric::Dot, three.into(), two.into(), 6), Err(KernelError::Mismatch { what: "dimensions", .. })));
    assert!(matches!(try_scores(Metric::Dot, three.into(), three.into(), 5), Err(KernelError::Mismatch { what: "outputs", .. })));
    assert!(matches!(try_scores(Metric::Hamming, three.into(), bits.into(), 6), Err(KernelError::Unsupported { .. })));
    assert!(matches!(try_scores(Metric::Dot, bits.into(), bits.into(), 6), Err(KernelError::Unsupported { .. })));
    assert!(matches!(Rows::new(&values, 0), Err(KernelError::OutOfRange { .. })));
    assert!(matches!(Rows::new(&values, 4), Err(KernelError::Mismatch { .. })));
    assert!(matches!(BitRows::new(&[0b0001_0000], 3), Err(KernelError::Unsupported { .. })));
    assert!(pair(Metric::Dot, &[], &[]).is_err());
}

#[test]
fn the_first_value_that_is_not_finite_is_found_wherever_it_is() {
    let mut values = noise(1, 40_000);
    values[7] = f32::MAX;
    values[8] = -0.0;
    assert_eq!(crate::first_non_finite(&values), None);
    for (index, special) in [(39_999, f32::NAN), (20_000, f32::INFINITY), (16_384, -f32::NAN), (16_383, f32::NEG_INFINITY), (0, f32::NAN)] {
        values[index] = special;
        assert_eq!(crate::first_non_finite(&values), Some(index));
    }
}

#[test]
fn a_stop_ends_a_matrix_between_blocks() {
    let values = noise(1, 4000);
    let rows = Rows::new(&values, 4).unwrap();
    let mut out = vec![0.0; 1_000_000];
    assert_eq!(scores(Metric::Dot, rows.into(), rows.into(), &mut out, &|| true), Err(KernelError::Stopped));
}

proptest! {
    #[test]
    fn packed_bits_count_like_values(dim in 1usize..300, seed in any::<u64>()) {
        let values: Vec<f32> = noise(seed, dim * 5).iter().map(|v| f32::from(u8::from(*v > 0.2))).collect();
        let rows = Rows::new(&values, dim).unwrap();
        let bytes = crate::quantize::to_bits(rows).unwrap();
        let bits = BitRows::new(&bytes, dim).unwrap();
        for isa in Isa::available() {
            for metric in [Metric::Hamming, Metric::Jaccard] {
                let mut out = vec![0.0; 25];
                scores_on(isa, metric, (bits.into(), bits.into()), &mut out, &never_stop).unwrap();
                prop_assert_eq!(&out, &matrix(isa, metric, rows, rows));
            }
        }
    }

    #[test]
    fn any_two_rows_agree_with_the_reference(pairs in prop::collection::vec((-1e30f32..1e30, -1e30f32..1e30), 1..200)) {
        let (a, b): (Vec<f32>, Vec<f32>) = pairs.into_iter().unzip();
        for isa in Isa::available() {
            Metric::ALL.into_iter().for_each(|metric| check(isa, metric, &a, &b));
        }
    }
}
