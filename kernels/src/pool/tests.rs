//! Pooling against the plain version.

use super::*;

fn check(pooling: Pooling, want: [f32; 2]) {
    let rows = Rows::new(&[1.0, 2.0, 3.0, -4.0, 5.0, 5.0], 2).unwrap();
    let mut out = [0.0; 2];
    pool(pooling, rows, &mut out).expect("valid operands");
    assert_eq!(out, want, "{pooling:?}");
}

#[test]
fn each_pooling_takes_what_its_name_says() {
    check(Pooling::Mean, [3.0, 1.0]);
    check(Pooling::First, [1.0, 2.0]);
    check(Pooling::Last, [5.0, 5.0]);
    check(Pooling::Max, [5.0, 5.0]);
}

#[test]
fn a_mean_of_many_large_and_small_values_keeps_its_digits() {
    let mut values = vec![1e8f32];
    values.extend(std::iter::repeat_n(1.0f32, 999));
    let mut out = [0.0];
    pool(Pooling::Mean, Rows::new(&values, 1).unwrap(), &mut out).unwrap();
    assert_eq!(out[0], ((1e8 + 999.0) / 1000.0) as f32);
}

#[test]
fn nan_wins_a_maximum_and_nothing_pools_from_no_rows() {
    let mut out = [0.0];
    pool(Pooling::Max, Rows::new(&[1.0, f32::NAN, 2.0], 1).unwrap(), &mut out).unwrap();
    assert!(out[0].is_nan());
    assert!(pool(Pooling::Mean, Rows::new(&[], 1).unwrap(), &mut out).is_err());
    assert!(pool(Pooling::Mean, Rows::new(&[1.0, 2.0], 2).unwrap(), &mut out).is_err());
    assert!(weighted_sum(Rows::new(&[1.0], 1).unwrap(), Some(&[1.0, 2.0]), &mut [0.0]).is_err());
}
