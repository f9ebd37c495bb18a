//! Vector requests as JSON.

use super::*;
use crate::task::{Dtype, Part};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Debug, Deserialize)]
struct Holder {
    vectors: VectorInput,
}

fn parse(vectors: Value) -> Result<VectorInput, (String, String)> {
    let value = json!({ "vectors": vectors });
    let parsed: Result<Holder, _> = serde_path_to_error::deserialize(&value);
    parsed.map(|holder| holder.vectors).map_err(|error| (error.path().to_string(), error.inner().to_string()))
}

#[test]
fn every_form_of_input_is_read() {
    let values = |values: &[f32], shape: &[usize]| Ok(VectorInput::Values { values: values.to_vec(), shape: shape.to_vec() });
    assert_eq!(parse(json!([1, -2, 0.5])), values(&[1.0, -2.0, 0.5], &[3]));
    assert_eq!(parse(json!([[1, 2], [3, 4], [5, 6]])), values(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &[3, 2]));
    assert_eq!(parse(json!({"$part": "x"})), Ok(VectorInput::Named("x".into())));
    let part = Part::from_f32(vec![1, 2], &[1.0, 2.0]).unwrap();
    assert_eq!(parse(json!({"base64": "AACAPwAAAEA=", "dtype": "f32", "shape": [1, 2]})), Ok(VectorInput::Bytes(part)));
    let part = Part::new(Dtype::F32, vec![2], vec![0, 0, 128, 63, 0, 0, 0, 64].into()).unwrap();
    assert_eq!(parse(json!({"base64": "AACAPwAAAEA="})), Ok(VectorInput::Bytes(part)));
}

#[test]
fn a_bad_input_is_refused_with_its_path_and_reason() {
    let many = vec![0.0; VECTOR_DIM_MAX + 1];
    for (input, path, reason) in [
        (json!([[1, 2], [3, 4], [5, 6], [7]]), "vectors[3]", "found a row of 1 numbers"),
        (json!([[1, 2], 3]), "vectors[1]", "found a number among rows"),
        (json!([1, [2]]), "vectors[1]", "found an array among numbers"),
        (json!([1, null]), "vectors[1]", "null"),
        (json!([[1, "2"]]), "vectors[0][1]", "expected a number"),
        (json!([[1, 1e39]]), "vectors[0][1]", "does not fit f32"),
        (json!([-1e39]), "vectors[0]", "does not fit f32"),
        (json!([]), "vectors", "empty array"),
        (json!([[]]), "vectors[0]", "empty row"),
        (json!(many), "vectors[65536]", "at most 65536 dimensions"),
        (json!([many]), "vectors[0][65536]", "at most 65536 dimensions"),
        (json!("text"), "vectors", "expected an array of numbers"),
        (json!(7), "vectors", "expected an array of numbers"),
        (json!({}), "vectors", "expected `base64` or `$part`"),
        (json!({"base64": "AACAPw=="}), "", ""),
        (json!({"base64": "AACAPw==", "shape": [2]}), "vectors", "needs 8 bytes, found 4"),
        (json!({"base64": "AACA"}), "vectors", "no whole number of f32 values"),
        (json!({"base64": "!!!!"}), "vectors", "base64"),
        (json!({"base64": "AACAPw==", "dtype": "f99"}), "vectors.dtype", "unknown variant"),
        (json!({"base64": "", "shape": [u64::MAX, 2]}), "vectors", "too many"),
        (json!({"$part": "x", "dtype": "f32"}), "vectors", "stands alone"),
        (json!({"$from": "x"}), "vectors", "unknown field"),
    ] {
        if path.is_empty() {
            assert!(parse(input).is_ok());
            continue;
        }
        let (found_path, found) = parse(input.clone()).expect_err(&format!("{input}"));
        assert!(found_path.starts_with(path) && found.contains(reason), "{path}: {found_path}: {found}");
    }
}

#[test]
fn arrays_are_written_in_their_shape_and_nan_as_null() {
    let array = ArrayOutput::new(Numbers::F32(vec![1.0, f32::NAN, 0.5, 2.0]), vec![2, 2]);
    assert_eq!(serde_json::to_value(&array).unwrap(), json!([[1.0, null], [0.5, 2.0]]));
    let flat = ArrayOutput::new(Numbers::I64(vec![3, -1]), vec![2]);
    assert_eq!(serde_json::to_value(&flat).unwrap(), json!([3, -1]));
    let bytes = ArrayOutput::new(Numbers::F32(vec![1.0, 2.0]), vec![1, 2]).into_base64();
    let document = serde_json::to_value(&bytes).unwrap();
    assert_eq!(document, json!({"base64": "AACAPwAAAEA=", "dtype": "f32", "shape": [1, 2]}));
    assert!(matches!(parse(document), Ok(VectorInput::Bytes(_))));
    let half = ArrayOutput::new(Numbers::Half(Dtype::Bf16, vec![0x80, 0x3f]), vec![1]);
    assert_eq!(serde_json::to_value(&half).unwrap(), json!([1.0]));
}
