//! Every level of instructions and every length, against the reference in f64.

use candle_core::{Device, Tensor};

use super::*;
use crate::noise::spread;
use crate::tolerance;

#[test]
fn every_length_agrees_with_the_reference() {
    for isa in Isa::available() {
        for dim in (1..=67).chain([384, 1000]) {
            let (first, second) = (spread(5 * dim), spread(3 * dim));
            let parts = [
                Picked { table: &first, ids: &[4, 0, 4, 2], factor: 1.5 },
                Picked { table: &second, ids: &[2, 2, 1, 0], factor: 1.0 },
                Picked { table: &second, ids: &[0; 4], factor: -0.25 },
            ];
            for parts in [&parts[..], &parts[..1]] {
                let mut out = vec![f32::NAN; 4 * dim];
                gather_on(isa, parts, dim, &mut out).unwrap();
                for (got, exact) in out.iter().zip(reference_gather(parts, dim)) {
                    let bound = parts.len() as f64 * tolerance::rounded(4.0);
                    assert!((f64::from(*got) - exact).abs() <= bound, "{isa} {dim}: {got}, exactly {exact}");
                }
            }
        }
    }
}

#[test]
fn pieces_of_threads_are_the_whole() {
    let (dim, table) = (384, spread(384 * 7));
    let ids: Vec<u32> = (0..3000).map(|at| at % 7).collect();
    let run = |threads| {
        let mut out = vec![0f32; ids.len() * dim];
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| gather(&[Picked { table: &table, ids: &ids, factor: 1.0 }], dim, &mut out)).unwrap();
        out
    };
    let alone = run(1);
    assert_eq!(alone[2999 * dim..], table[2999 % 7 * dim..][..dim], "the last row is its table's");
    assert_eq!(alone, run(3));
}

#[test]
fn special_values_stay_in_their_numbers() {
    for isa in Isa::available() {
        let table = [1.0, f32::NAN, f32::INFINITY, 2.0];
        let mut out = [0f32; 4];
        gather_on(isa, &[Picked { table: &table, ids: &[1, 0], factor: 1.0 }], 2, &mut out).unwrap();
        assert_eq!([out[0], out[1], out[2]], [f32::INFINITY, 2.0, 1.0], "{isa}");
        assert!(out[3].is_nan(), "{isa}");
    }
}

#[test]
fn what_does_not_fit_is_refused_and_nothing_written() {
    let table = [1f32; 8];
    let mut out = [7f32; 4];
    let picked = |ids| Picked { table: &table, ids, factor: 1.0 };
    assert!(gather(&[], 2, &mut out).is_err());
    assert!(gather(&[picked(&[0, 4])], 2, &mut out).is_err(), "an id without a row");
    assert!(gather(&[picked(&[0])], 2, &mut out).is_err(), "rows for half of the output");
    assert!(gather(&[picked(&[0, 1])], 0, &mut out).is_err());
    assert!(gather(&[picked(&[0, 1])], 3, &mut out).is_err());
    assert_eq!(out, [7.0; 4]);
}

#[test]
fn tensors_agree_with_slices() {
    let words = Tensor::from_vec(spread(12), (4, 3), &Device::Cpu).unwrap();
    let other = Tensor::from_vec(spread(6), (2, 3), &Device::Cpu).unwrap();
    let sum = tensor::gather(&[(&words, &[3, 1], 2.0), (&other, &[0, 0], 1.0)]).unwrap().to_vec2::<f32>().unwrap();
    let (a, b) = (spread(12), spread(6));
    assert_eq!(sum[0], (0..3).map(|at| a[9 + at] * 2.0 + b[at]).collect::<Vec<_>>());
    assert!(tensor::gather(&[(&words.t().unwrap(), &[0], 1.0)]).is_err(), "rows that are not contiguous");
    assert!(
        tensor::gather(&[(&words, &[0], 1.0), (&Tensor::zeros((2, 4), candle_core::DType::F32, &Device::Cpu).unwrap(), &[0], 1.0)])
            .is_err()
    );
}
