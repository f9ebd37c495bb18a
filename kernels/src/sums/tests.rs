//! Every level of instructions against the reference, to the last bit.

use super::*;
use crate::noise::noise;

#[test]
fn sums_are_the_references_on_every_level_for_every_length() {
    for dim in 1..=67 {
        let values = noise(dim as u64, 50 * dim);
        let rows = Rows::new(&values, dim).unwrap();
        let scales: Vec<f64> = (0..50).map(|row| 1.0 / f64::from(row + 1)).collect();
        for count in [0u32, 1, 2, 3, 4, 50] {
            let members: Vec<u32> = (0..count).map(|at| at * 7 % 50).collect();
            for scales in [None, Some(&scales[..])] {
                let want = reference::sums(rows, &members, scales);
                for isa in Isa::available() {
                    let mut out = vec![0.0; dim];
                    sums_on(isa, (rows, &members), scales, &mut out).unwrap();
                    assert_eq!(out, want, "{isa} {dim} {count}");
                }
            }
        }
    }
}

#[test]
fn special_values_pass_through_and_a_sum_is_added_to_what_is_there() {
    let values = [f32::NAN, 1.0, f32::INFINITY, 2.0, f32::MAX, -0.0, f32::MAX, 3.0];
    let rows = Rows::new(&values, 2).unwrap();
    for isa in Isa::available() {
        let mut out = vec![1.0, 1.0];
        sums_on(isa, (rows, &[2, 3, 3]), None, &mut out).unwrap();
        assert_eq!(out, [3.0 * f64::from(f32::MAX) + 1.0, 7.0]);
        sums_on(isa, (rows, &[1]), None, &mut out).unwrap();
        assert_eq!(out, [f64::INFINITY, 9.0]);
        sums_on(isa, (rows, &[0]), None, &mut out).unwrap();
        assert!(out[0].is_nan() && out[1] == 10.0);
    }
}

#[test]
fn what_does_not_fit_is_refused_and_nothing_is_added() {
    let values = [1.0f32; 6];
    let rows = Rows::new(&values, 2).unwrap();
    let mut out = [0.0; 2];
    assert!(matches!(sums(rows, &[0, 3], None, &mut out), Err(KernelError::OutOfRange { .. })));
    assert!(matches!(sums(rows, &[0], Some(&[1.0]), &mut out), Err(KernelError::Mismatch { .. })));
    assert!(matches!(sums(rows, &[0], None, &mut out[..1]), Err(KernelError::Mismatch { .. })));
    assert_eq!(out, [0.0; 2]);
}
