//! Quantised values against the plain version, and back.

use super::*;
use proptest::prelude::*;

fn rows(values: &[f32], dim: usize) -> Rows<'_> {
    Rows::new(values, dim).expect("whole rows")
}

#[test]
fn half_precision_round_trips_and_refuses_what_it_cannot_hold() {
    let values = [0.0, -0.0, 1.0, 65504.0, -65504.0, 6.0e-8, 0.333_333_34];
    let halves = to_f16(rows(&values, 7)).unwrap();
    assert_eq!(halves, values.map(f16::from_f32));
    assert_eq!(from_f16(&halves), values.map(|v| f16::from_f32(v).to_f32()));
    let error = to_f16(rows(&[1.0, 2.0, 3.0, 65520.0], 2)).unwrap_err();
    assert_eq!(error, KernelError::NotRepresentable { op: "quantize to f16", row: 1, column: 1, value: 65520.0 });
    assert!(to_bf16(rows(&[f32::MAX], 1)).is_err());
    assert!(to_bf16(rows(&[f32::NAN], 1)).is_err());
    let brains = to_bf16(rows(&[1.0, 3.0e38, 1e-40], 3)).unwrap();
    assert_eq!(from_bf16(&brains), [1.0, 3.0e38, 1e-40].map(|v| bf16::from_f32(v).to_f32()));
}

#[test]
fn every_length_of_int8_rows_agrees_with_the_reference() {
    for dim in (1..=67).chain([4097]) {
        let values: Vec<f32> = (0..dim * 2).map(|i| (i as f32 * 1.3).cos() * 5.0).collect();
        let got = to_int8(rows(&values, dim)).unwrap();
        for (row, values) in values.chunks(dim).enumerate() {
            let (want, scale) = reference::int8_row(values);
            assert_eq!((&got.values[row * dim..][..dim], got.scales[row]), (&want[..], scale), "{dim}");
        }
    }
}

#[test]
fn int8_special_rows() {
    let got = to_int8(rows(&[0.0, -0.0, 1e-45, 0.0, f32::MAX, -f32::MAX, 1e-43, -1e-43], 2)).unwrap();
    assert_eq!(got.values[..6], [0, 0, 0, 0, 127, -127]);
    assert_eq!(got.scales[..2], [0.0, 0.0]);
    assert!(to_int8(rows(&[f32::INFINITY], 1)).is_err());
    assert!(from_int8(&[1, 2, 3], &[1.0], 2).is_err());
    assert!(from_int8(&[], &[], 0).is_err());
}

#[test]
fn bits_are_written_most_significant_first_and_padded_with_zeros() {
    let values = [1.0, -1.0, 0.5, 0.0, -0.0, 2.0, 3.0, -4.0, 1.0, 1.0];
    let bytes = to_bits(rows(&values, 10)).unwrap();
    assert_eq!(bytes, [0b1010_0110, 0b1100_0000]);
    let back = from_bits(BitRows::new(&bytes, 10).unwrap());
    assert_eq!(back, [1.0, -1.0, 1.0, -1.0, -1.0, 1.0, 1.0, -1.0, 1.0, 1.0]);
    assert!(to_bits(rows(&[f32::NAN], 1)).is_err());
}

proptest! {
    #[test]
    fn an_int8_value_is_within_half_a_step(values in prop::collection::vec(-1e6f32..1e6, 1..100)) {
        let got = to_int8(rows(&values, values.len())).unwrap();
        let back = from_int8(&got.values, &got.scales, values.len()).unwrap();
        let step = f64::from(got.scales[0]);
        for (value, back) in values.iter().zip(back) {
            let slack = crate::tolerance::rounded(f64::from(value.abs())) * 2.0;
            prop_assert!((f64::from(*value) - f64::from(back)).abs() <= step / 2.0 + slack);
        }
    }
}
