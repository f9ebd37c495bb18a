//! Every level of instructions, every precision, odd sizes and special values, against the reference in f64.

use super::*;
use crate::activation::Activation;
use crate::noise::noise;
use crate::{never_stop, tolerance};

struct Case {
    x: Vec<f32>,
    w: Vec<f32>,
    shape: (usize, usize, usize),
}

impl Case {
    fn new(rows: usize, columns: usize, inner: usize) -> Self {
        Self { x: noise(1 + rows as u64, rows * inner), w: noise(2 + columns as u64, columns * inner), shape: (rows, columns, inner) }
    }

    fn run(&self, (isa, precision): (Isa, Precision), epilogue: &Epilogue<'_>) -> Vec<f32> {
        let (rows, columns, inner) = self.shape;
        let weights = PackedWeights::pack_on(isa, &self.w, (columns, inner), precision).unwrap();
        let mut out = vec![f32::NAN; rows * columns];
        gemm(Input::F32(&self.x), &weights, epilogue, Output::F32(&mut out), &never_stop).unwrap();
        out
    }

    /// Compares with the reference for rounded operands: what is left is the accumulation.
    fn check(&self, (isa, precision): (Isa, Precision), epilogue: &Epilogue<'_>) {
        let (rows, columns, inner) = self.shape;
        let out = self.run((isa, precision), epilogue);
        let truth = reference_gemm(&self.x, &self.w, (inner, precision), epilogue);
        for row in 0..rows {
            for column in 0..columns {
                let at = row * columns + column;
                let magnitude: f64 =
                    (0..inner).map(|k| f64::from(self.x[row * inner + k].abs()) * f64::from(self.w[column * inner + k].abs())).sum::<f64>()
                        + 1.0;
                let bound = tolerance::packed_product(inner, magnitude, precision == Precision::Exact);
                let error = (f64::from(out[at]) - truth[at]).abs();
                assert!(
                    error <= bound,
                    "{isa} {precision:?} {:?} row {row} column {column}: {} for {}, {error:e} beyond {bound:e}",
                    self.shape,
                    out[at],
                    truth[at]
                );
            }
        }
    }
}

fn every_level(check: impl Fn(Isa, Precision)) {
    for isa in Isa::available() {
        for precision in Precision::ALL {
            check(isa, precision);
        }
    }
}

#[test]
fn weights_that_lie_the_other_way_make_the_same_products() {
    for (columns, inner) in [(1, 1), (3, 67), (31, 2), (32, 33), (70, 64), (129, 95)] {
        let case = Case::new(5, columns, inner);
        let turned: Vec<f32> = (0..inner * columns).map(|at| case.w[at % columns * inner + at / columns]).collect();
        every_level(|isa, precision| {
            let weights = PackedWeights::pack_transposed_on(isa, &turned, (columns, inner), precision).unwrap();
            let mut out = vec![f32::NAN; 5 * columns];
            gemm(Input::F32(&case.x), &weights, &Epilogue::default(), Output::F32(&mut out), &never_stop).unwrap();
            assert_eq!(out, case.run((isa, precision), &Epilogue::default()), "{isa} {precision:?} {columns} {inner}");
        });
    }
    assert!(PackedWeights::pack_transposed(&[1.0; 5], (2, 3), Precision::Exact).is_err());
}

#[test]
fn every_inner_length_agrees_with_the_reference() {
    every_level(|isa, precision| {
        for inner in 1..=67 {
            Case::new(3, 5, inner).check((isa, precision), &Epilogue::default());
        }
    });
}

#[test]
fn every_number_of_rows_and_columns_agrees_with_the_reference() {
    every_level(|isa, precision| {
        for size in 1..=67 {
            Case::new(size, 33, 40).check((isa, precision), &Epilogue::default());
            Case::new(33, size, 40).check((isa, precision), &Epilogue::default());
        }
    });
}

#[test]
fn long_inner_dimensions_are_summed_in_blocks() {
    every_level(|isa, precision| {
        for inner in [512, 700, 1024, 1536, 3072] {
            Case::new(35, 70, inner).check((isa, precision), &Epilogue::default());
        }
    });
}

#[test]
fn bias_activation_and_residual_come_in_this_order() {
    every_level(|isa, precision| {
        let case = Case::new(37, 45, 64);
        let (bias, residual) = (noise(8, 45), noise(9, 37 * 45));
        let epilogue = Epilogue { bias: Some(&bias), activation: Activation::Relu, residual: Some(&residual) };
        case.check((isa, precision), &epilogue);
    });
}

#[test]
fn a_row_is_the_same_for_any_batch_and_any_number_of_threads() {
    every_level(|isa, precision| {
        let case = Case::new(200, 300, 160);
        let whole = case.run((isa, precision), &Epilogue::default());
        for threads in [1, 2, 5] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let split = pool.install(|| case.run((isa, precision), &Epilogue::default()));
            assert_eq!(split, whole, "{isa} {precision:?} on {threads} threads");
        }
        for row in [0, 31, 32, 199] {
            let alone = Case { x: case.x[row * 160..][..160].to_vec(), w: case.w.clone(), shape: (1, 300, 160) };
            assert_eq!(alone.run((isa, precision), &Epilogue::default()), whole[row * 300..][..300], "{isa} {precision:?} row {row}");
        }
    });
}

#[test]
fn bf16_in_and_out_are_rounded_once() {
    every_level(|isa, precision| {
        let case = Case::new(50, 64, 96);
        let halves: Vec<bf16> = case.x.iter().map(|&x| bf16::from_f32(x)).collect();
        let rounded = Case { x: halves.iter().map(|x| x.to_f32()).collect(), w: case.w.clone(), shape: case.shape };
        let weights = PackedWeights::pack_on(isa, &case.w, (64, 96), precision).unwrap();
        let mut out = vec![bf16::ZERO; 50 * 64];
        gemm(Input::Bf16(&halves), &weights, &Epilogue::default(), Output::Bf16(&mut out), &never_stop).unwrap();
        let expected: Vec<bf16> = rounded.run((isa, precision), &Epilogue::default()).into_iter().map(bf16::from_f32).collect();
        assert_eq!(out, expected, "{isa} {precision:?}");
    });
}

#[test]
fn special_values_stay_in_their_rows() {
    every_level(|isa, precision| {
        for special in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut case = Case::new(40, 34, 70);
            let clean = case.run((isa, precision), &Epilogue::default());
            case.x[33 * 70 + 7] = special;
            let out = case.run((isa, precision), &Epilogue::default());
            for (row, (out, clean)) in out.chunks(34).zip(clean.chunks(34)).enumerate() {
                if row == 33 {
                    assert!(out.iter().all(|value| !value.is_finite()), "{isa} {precision:?} {special}: {out:?}");
                } else {
                    assert_eq!(out, clean, "{isa} {precision:?} {special}: row {row}");
                }
            }
        }
        let zeros = Case { x: vec![0.0; 4 * 70], w: noise(1, 3 * 70), shape: (4, 3, 70) };
        assert!(zeros.run((isa, precision), &Epilogue::default()).iter().all(|&value| value == 0.0));
        let tiny = Case { x: vec![1e-42; 70], w: noise(1, 70), shape: (1, 1, 70) };
        assert!(tiny.run((isa, precision), &Epilogue::default())[0].abs() < 1e-38, "{isa} {precision:?}");
    });
}

#[test]
fn sizes_that_do_not_fit_are_refused() {
    let weights = PackedWeights::pack(&[1.0; 6], (2, 3), Precision::Exact).unwrap();
    let mut out = [0f32; 4];
    let run = |x: &[f32], epilogue: &Epilogue<'_>, out: &mut [f32]| gemm(Input::F32(x), &weights, epilogue, Output::F32(out), &never_stop);
    let refused = |result: Result<(), KernelError>| assert!(matches!(result, Err(KernelError::Mismatch { .. })), "{result:?}");
    refused(run(&[1.0; 5], &Epilogue::default(), &mut out));
    refused(run(&[1.0; 6], &Epilogue::default(), &mut out[..3]));
    refused(run(&[1.0; 6], &Epilogue { bias: Some(&[1.0]), ..Epilogue::default() }, &mut out));
    refused(run(&[1.0; 6], &Epilogue { residual: Some(&[1.0]), ..Epilogue::default() }, &mut out));
    assert!(PackedWeights::pack(&[], (0, 3), Precision::Bf16).is_err());
    assert!(PackedWeights::pack(&[1.0], (1, 2), Precision::Bf16).is_err());
    assert_eq!(run(&[], &Epilogue::default(), &mut []), Ok(()));
    assert_eq!(run(&[1.0; 6], &Epilogue::default(), &mut out), Ok(()));
    assert_eq!(out, [3.0; 4]);
}

#[test]
fn a_stop_ends_it() {
    let weights = PackedWeights::pack(&[1.0; 6], (2, 3), Precision::Exact).unwrap();
    let stopped = gemm(Input::F32(&[1.0; 3]), &weights, &Epilogue::default(), Output::F32(&mut [0.0; 2]), &|| true);
    assert_eq!(stopped, Err(KernelError::Stopped));
}

#[test]
fn packed_weights_hold_what_was_announced() {
    every_level(|isa, precision| {
        for (columns, inner) in [(1, 1), (33, 65), (384, 384)] {
            let packed = PackedWeights::pack_on(isa, &noise(1, columns * inner), (columns, inner), precision).unwrap();
            assert!(packed.bytes() <= PackedWeights::bytes_for((columns, inner), precision), "{packed:?}");
        }
    });
}
