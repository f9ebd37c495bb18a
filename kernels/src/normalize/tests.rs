//! Normalised rows against the plain version.

use super::*;
use crate::tolerance;
use proptest::prelude::*;

fn check(kind: Norm, row: &[f32]) {
    let mut got = row.to_vec();
    normalize(kind, &mut got, row.len()).expect("a row");
    let want = reference::normalize(kind, row);
    for (got, want) in got.iter().zip(&want) {
        let close = (f64::from(*got) - f64::from(*want)).abs() <= 2.0 * tolerance::rounded(f64::from(want.abs()));
        assert!(close || (got.is_nan() && want.is_nan()) || got == want, "{kind:?} {got} {want}");
    }
}

#[test]
fn every_length_agrees_with_the_reference() {
    for kind in [Norm::L2, Norm::L1, Norm::Max] {
        for dim in (1..=67).chain([4097]) {
            check(kind, &(0..dim).map(|i| (i as f32 * 0.7).sin() * 3.0).collect::<Vec<_>>());
        }
    }
}

#[test]
fn special_values_agree_with_the_reference() {
    for kind in [Norm::L2, Norm::L1, Norm::Max] {
        for special in [f32::NAN, f32::INFINITY, f32::MAX, 1e-45, -1e-40, -0.0] {
            check(kind, &[special; 9]);
            check(kind, &[special, 1.0, 0.0]);
            check(kind, &[0.5, special]);
        }
    }
}

#[test]
fn huge_and_tiny_rows_reach_length_one() {
    for value in [1e-45f32, 1e-38, 1e30, f32::MAX] {
        let mut row = vec![value; 16];
        assert_eq!(normalize(Norm::L2, &mut row, 16), Ok(0));
        assert_eq!(row, vec![0.25; 16], "{value}");
    }
}

#[test]
fn zero_rows_are_counted_and_stay() {
    let mut rows = [0.0, 0.0, 3.0, 4.0, -0.0, 0.0];
    assert_eq!(normalize(Norm::L2, &mut rows, 2), Ok(2));
    assert_eq!(rows, [0.0, 0.0, 0.6, 0.8, -0.0, 0.0]);
    assert!(normalize(Norm::L2, &mut rows, 4).is_err());
}

proptest! {
    #[test]
    fn a_row_does_not_depend_on_its_batch(values in prop::collection::vec(-1e3f32..1e3, 30)) {
        let mut whole = values.clone();
        normalize(Norm::L2, &mut whole, 10).unwrap();
        for (row, whole) in values.chunks(10).zip(whole.chunks(10)) {
            let mut single = row.to_vec();
            normalize(Norm::L2, &mut single, 10).unwrap();
            prop_assert_eq!(single, whole);
        }
    }
}
