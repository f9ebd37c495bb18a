//! Matrix products against the plain one.

use super::*;
use crate::{never_stop, tolerance};

fn noise(seed: u32, count: usize) -> Vec<f32> {
    (0..count as u32)
        .map(|i| ((i.wrapping_add(seed).wrapping_mul(2_654_435_761) ^ (seed << 7)) >> 8) as f32 / (1 << 23) as f32 - 1.0)
        .collect()
}

fn product(a: Rows<'_>, b: Rows<'_>, layout: RightLayout) -> Vec<f32> {
    let columns = if layout == RightLayout::AsIs { b.dim() } else { b.len() };
    let mut out = vec![f32::NAN; a.len() * columns];
    matmul(a, (b, layout), &mut out, &never_stop).expect("valid operands");
    out
}

#[test]
fn every_shape_agrees_with_the_reference() {
    for (rows, inner, columns) in
        [(1, 1, 1), (1, 2, 3), (3, 1, 2), (2, 3, 1), (7, 16, 5), (64, 64, 64), (65, 33, 17), (130, 600, 31), (1, 1025, 9), (5, 513, 1)]
    {
        let (a, b) = (noise(1, rows * inner), noise(2, inner * columns));
        let a = Rows::new(&a, inner).unwrap();
        for layout in [RightLayout::AsIs, RightLayout::Transposed] {
            let b = Rows::new(&b, if layout == RightLayout::AsIs { columns } else { inner }).unwrap();
            let (want, magnitude) = reference::matmul(a, b, layout);
            for ((got, want), magnitude) in product(a, b, layout).iter().zip(want).zip(magnitude) {
                let allowed = tolerance::chain_sum(inner, magnitude);
                assert!((f64::from(*got) - want).abs() <= allowed, "{rows}x{inner}x{columns} {layout:?}: {got} {want} {allowed}");
            }
        }
    }
}

#[test]
fn every_inner_length_agrees_with_the_reference() {
    for inner in 1..=67 {
        let (a, b) = (noise(3, 3 * inner), noise(4, inner * 4));
        let (a, b) = (Rows::new(&a, inner).unwrap(), Rows::new(&b, 4).unwrap());
        let (want, magnitude) = reference::matmul(a, b, RightLayout::AsIs);
        for ((got, want), magnitude) in product(a, b, RightLayout::AsIs).iter().zip(want).zip(magnitude) {
            assert!((f64::from(*got) - want).abs() <= tolerance::chain_sum(inner, magnitude), "{inner}");
        }
    }
}

#[test]
fn a_row_does_not_depend_on_its_batch() {
    for (inner, columns) in [(384, 100), (1000, 16), (2, 300), (700, 1)] {
        let (a, b) = (noise(5, 200 * inner), noise(6, inner * columns));
        let a = Rows::new(&a, inner).unwrap();
        for layout in [RightLayout::AsIs, RightLayout::Transposed] {
            let b = Rows::new(&b, if layout == RightLayout::AsIs { columns } else { inner }).unwrap();
            let whole = product(a, b, layout);
            for row in [0, 3, 63, 64, 127, 199] {
                let single = product(a.slice(row..row + 1), b, layout);
                assert_eq!(single, whole[row * columns..][..columns], "{inner}x{columns} {layout:?} row {row}");
            }
        }
    }
}

#[test]
fn not_a_number_stays_in_its_row() {
    let a = [f32::NAN, 1.0, 1.0, 2.0];
    let got = product(Rows::new(&a, 2).unwrap(), Rows::new(&[1.0, 2.0, 3.0, 4.0], 2).unwrap(), RightLayout::AsIs);
    assert!(got[0].is_nan() && got[1].is_nan());
    assert_eq!(got[2..], [7.0, 10.0]);
}

#[test]
fn shapes_that_do_not_fit_are_refused() {
    let values = [0.0; 6];
    let (two, three) = (Rows::new(&values, 2).unwrap(), Rows::new(&values, 3).unwrap());
    let mut out = [0.0; 9];
    assert!(matches!(matmul(two, (two, RightLayout::AsIs), &mut out, &never_stop), Err(KernelError::Mismatch { .. })));
    assert!(matches!(matmul(two, (three, RightLayout::AsIs), &mut out[..8], &never_stop), Err(KernelError::Mismatch { .. })));
    assert_eq!(matmul(two, (three, RightLayout::AsIs), &mut out, &|| true), Err(KernelError::Stopped));
}
