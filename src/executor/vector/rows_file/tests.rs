//! Files of rows: where they say that their rows are, and what they cannot claim.

use super::*;

fn refused(format: RowsFormat, bytes: &[u8], tensor: &str) -> String {
    match layout(format, (bytes, bytes.len() as u64), tensor) {
        Err(TaskError::InvalidPayload { field, reason }) if field == "file" => reason,
        other => panic!("{format:?} {bytes:?}: {other:?}"),
    }
}

fn safetensors(header: &str, data: usize) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &vec![0; data]].concat()
}

#[test]
fn every_format_says_where_its_rows_are() {
    let found = |format, bytes: &[u8]| layout(format, (bytes, bytes.len() as u64), "vectors").unwrap();
    let npy = [npy::npy_head(Dtype::F16, &[5, 3]).unwrap(), vec![0; 30]].concat();
    let want = RowsLayout { dtype: Dtype::F16, rows: 5, dim: 3, start: npy.len() as u64 - 30, lead: 0 };
    assert_eq!(found(RowsFormat::Npy, &npy), (want, None));
    let names = [npy::npy_head(Dtype::I64, &[4]).unwrap(), vec![0; 32]].concat();
    let (names, _) = found(RowsFormat::Npy, &names);
    assert_eq!((names.rows, names.dim, names.dtype), (4, 1, Dtype::I64));
    let fvecs = [2i32.to_le_bytes(), [0; 4], [0; 4], 2i32.to_le_bytes(), [0; 4], [0; 4]].concat();
    assert_eq!(found(RowsFormat::Fvecs, &fvecs).0, RowsLayout { dtype: Dtype::F32, rows: 2, dim: 2, start: 0, lead: 4 });
    assert_eq!(found(RowsFormat::Ivecs, &fvecs).0.dtype, Dtype::I32);
    let header =
        r#"{"ids":{"dtype":"I64","shape":[2],"data_offsets":[0,16]},"vectors":{"dtype":"BF16","shape":[2,3],"data_offsets":[16,28]}}"#;
    let tensors = safetensors(header, 28);
    let start = 8 + header.len() as u64;
    let rows = RowsLayout { dtype: Dtype::Bf16, rows: 2, dim: 3, start: start + 16, lead: 0 };
    let ids = RowsLayout { dtype: Dtype::I64, rows: 2, dim: 1, start, lead: 0 };
    assert_eq!(found(RowsFormat::Safetensors, &tensors), (rows, Some(ids)));
}

#[test]
fn files_that_lie_are_refused() {
    let npy = |descr: &str, shape: &str, data: usize| {
        let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}");
        [b"\x93NUMPY\x01\x00".as_slice(), &(header.len() as u16).to_le_bytes(), header.as_bytes(), &vec![0; data]].concat()
    };
    let ids = |dtype: &str, shape: &str| {
        let header = format!(
            r#"{{"ids":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[0,8]}},"vectors":{{"dtype":"F32","shape":[2,1],"data_offsets":[8,16]}}}}"#
        );
        safetensors(&header, 16)
    };
    let lengths = |length: i32, bytes: usize| [&length.to_le_bytes()[..], &vec![0; bytes]].concat();
    for (format, bytes, reason) in [
        (RowsFormat::Npy, b"nothing".to_vec(), "first bytes"),
        (RowsFormat::Npy, npy("<f4", "(2, 3)", 20), "need a file of"),
        (RowsFormat::Npy, npy("<f4", "(2, 3)", 28), "need a file of"),
        (RowsFormat::Npy, npy("<f4", "(18446744073709551615, 2)", 8), "too many"),
        (RowsFormat::Npy, npy("<f4", "(1, 65537)", 4 * 65537), "allowed: 1 to 65536"),
        (RowsFormat::Npy, npy("<f4", "(2, 0)", 0), "0 dimensions"),
        (RowsFormat::Npy, npy("<f4", "(1, 1, 1)", 4), "[rows, dim]"),
        (RowsFormat::Npy, npy(">f4", "(1, 1)", 4), "big-endian"),
        (RowsFormat::Fvecs, vec![1, 0], "shorter than"),
        (RowsFormat::Fvecs, lengths(-1, 8), "claims -1"),
        (RowsFormat::Fvecs, lengths(i32::MAX, 8), "allowed: 1 to 65536"),
        (RowsFormat::Fvecs, lengths(2, 9), "need a file of"),
        (RowsFormat::Safetensors, vec![255; 20], "header"),
        (RowsFormat::Safetensors, safetensors("{}", 0), "no tensor is named `vectors`"),
        (RowsFormat::Safetensors, ids("I64", "[1]"), "1 names for 2 rows"),
        (RowsFormat::Safetensors, ids("F32", "[2]"), "names are I64"),
    ] {
        let found = refused(format, &bytes, "vectors");
        assert!(found.contains(reason), "{reason}: {found}");
    }
}
