//! Binary bodies: parts share bytes, lying headers are refused.

use bytes::Bytes;

use super::{encode, npy, submission};
use crate::task::{Dtype, Part, Parts};

const SPEC: &str = r#"{"type": "vector_computation", "data": {"operation": "norm", "vectors": {"$part": "a"}}}"#;

/// A body with this header and this much data.
fn body(header: &str, data_bytes: usize) -> Bytes {
    let mut body = (header.len() as u64).to_le_bytes().to_vec();
    body.extend_from_slice(header.as_bytes());
    body.extend(std::iter::repeat_n(7u8, data_bytes));
    body.into()
}

fn metadata() -> String {
    format!(r#""__metadata__": {{"submission": {}}}"#, serde_json::Value::from(SPEC))
}

#[test]
fn tensors_become_parts_that_share_the_body() {
    let header = format!(
        r#"{{{}, "b": {{"dtype": "U8", "shape": [3], "data_offsets": [16, 19]}}, "a": {{"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}}}}"#,
        metadata()
    );
    let body = body(&header, 19);
    let spec = submission(&body).unwrap();
    assert_eq!(spec.parts["a"].shape(), [2, 2]);
    assert_eq!(spec.parts["a"].dtype(), Dtype::F32);
    assert_eq!(spec.parts["b"].bytes().as_ref(), [7, 7, 7]);
    let start = body.as_ptr() as usize;
    assert!((start..start + body.len()).contains(&(spec.parts["a"].bytes().as_ptr() as usize)), "the bytes were copied");
}

#[test]
fn a_header_that_lies_is_refused() {
    let good = metadata();
    let entry = |entry: &str| body(&format!("{{{good}, {entry}}}"), 16);
    let cases: Vec<(&str, Bytes)> = vec![
        ("empty", Bytes::new()),
        ("7 bytes", Bytes::from_static(&[0; 7])),
        ("length 0", Bytes::from_static(&[0; 8])),
        ("length 2^63", Bytes::from_static(&[0, 0, 0, 0, 0, 0, 0, 0x80, 1, 2])),
        ("length past the end", Bytes::from_static(&[9, 0, 0, 0, 0, 0, 0, 0, b'{', b'}'])),
        ("not JSON", body("nonsense", 0)),
        ("not UTF-8", Bytes::from_static(&[2, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xfe])),
        ("an array", body("[]", 0)),
        ("no metadata", body(r#"{"a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}}"#, 1)),
        ("metadata of another kind", body(r#"{"__metadata__": {"submission": 3}}"#, 0)),
        ("unknown metadata", body(r#"{"__metadata__": {"submission": "{}", "evil": "x"}}"#, 0)),
        ("a broken submission", body(r#"{"__metadata__": {"submission": "{"}}"#, 0)),
        ("a gap", entry(r#""a": {"dtype": "U8", "shape": [8], "data_offsets": [8, 16]}"#)),
        ("trailing bytes", entry(r#""a": {"dtype": "U8", "shape": [8], "data_offsets": [0, 8]}"#)),
        ("past the end", entry(r#""a": {"dtype": "U8", "shape": [32], "data_offsets": [0, 32]}"#)),
        ("backwards", entry(r#""a": {"dtype": "U8", "shape": [8], "data_offsets": [8, 0]}"#)),
        (
            "overlap",
            entry(
                r#""a": {"dtype": "U8", "shape": [12], "data_offsets": [0, 12]}, "b": {"dtype": "U8", "shape": [8], "data_offsets": [8, 16]}"#,
            ),
        ),
        (
            "a duplicate name",
            entry(
                r#""a": {"dtype": "U8", "shape": [16], "data_offsets": [0, 16]}, "a": {"dtype": "U8", "shape": [16], "data_offsets": [0, 16]}"#,
            ),
        ),
        ("an unknown dtype", entry(r#""a": {"dtype": "F4", "shape": [16], "data_offsets": [0, 16]}"#)),
        ("shape and bytes differ", entry(r#""a": {"dtype": "F32", "shape": [5], "data_offsets": [0, 16]}"#)),
        ("shape overflows", entry(r#""a": {"dtype": "F32", "shape": [4294967296, 4294967296], "data_offsets": [0, 16]}"#)),
        ("negative dimension", entry(r#""a": {"dtype": "F32", "shape": [-4], "data_offsets": [0, 16]}"#)),
        ("nine dimensions", entry(r#""a": {"dtype": "U8", "shape": [1,1,1,1,1,1,1,1,16], "data_offsets": [0, 16]}"#)),
        ("an unknown field", entry(r#""a": {"dtype": "U8", "shape": [16], "data_offsets": [0, 16], "x": 1}"#)),
        ("a name with a newline", entry(r#""a\nb": {"dtype": "U8", "shape": [16], "data_offsets": [0, 16]}"#)),
    ];
    let accepted: Vec<&str> = cases.into_iter().filter(|(_, body)| submission(body).is_ok()).map(|(name, _)| name).collect();
    assert!(accepted.is_empty(), "accepted: {accepted:?}");
}

#[test]
fn what_is_encoded_has_aligned_tensors_and_no_gaps() {
    let mut parts = Parts::new();
    parts.insert("bytes".into(), Part::new(Dtype::U8, vec![3], Bytes::from_static(&[1, 2, 3])).unwrap());
    parts.insert("vectors".into(), Part::from_f32(vec![1, 2], &[1.0, -2.0]).unwrap());
    let body: Vec<u8> = encode(&parts).concat();
    let header_bytes = usize::try_from(u64::from_le_bytes(body[..8].try_into().unwrap())).unwrap();
    assert_eq!(header_bytes % 8, 0);
    let header: serde_json::Value = serde_json::from_slice(&body[8..8 + header_bytes]).unwrap();
    assert_eq!(header["vectors"]["data_offsets"], serde_json::json!([0, 8]));
    assert_eq!(header["bytes"]["data_offsets"], serde_json::json!([8, 11]));
    assert_eq!(body.len(), 8 + header_bytes + 11);
}

#[test]
fn npy_headers_are_those_of_numpy() {
    let part = Part::from_f32(vec![2, 1], &[1.5, 2.5]).unwrap();
    let [head, data] = npy(&part).unwrap();
    assert_eq!(head.len() % 64, 0);
    assert!(head.starts_with(b"\x93NUMPY\x01\x00\x76\x00{'descr': '<f4', 'fortran_order': False, 'shape': (2,1,), }"), "{head:?}");
    assert!(head.ends_with(b" \n"));
    assert_eq!(data.as_ref(), [1.5f32.to_le_bytes(), 2.5f32.to_le_bytes()].concat());
    let half = Part::new(Dtype::Bf16, vec![1], Bytes::from_static(&[0, 0])).unwrap();
    assert!(npy(&half).is_err(), "npy has no bf16");
}
