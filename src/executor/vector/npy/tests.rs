//! Documents in the `.npy` format, good and broken.

use super::*;
use proptest::prelude::*;

fn document(version: u8, header: &str, data: &[u8]) -> Vec<u8> {
    let mut out = [MAGIC, &[version, 0]].concat();
    if version == 1 {
        out.extend((header.len() as u16).to_le_bytes());
    } else {
        out.extend((header.len() as u32).to_le_bytes());
    }
    out.extend(header.as_bytes());
    out.extend(data);
    out
}

fn header(descr: &str, fortran_order: &str, shape: &str) -> String {
    format!("{{'descr': '{descr}', 'fortran_order': {fortran_order}, 'shape': {shape}, }}\n")
}

#[test]
fn documents_of_every_version_and_order_give_the_same_part() {
    let want = Part::from_f32(vec![2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap();
    let bytes = |values: [f32; 6], big: bool| -> Vec<u8> {
        values.iter().flat_map(|v| if big { v.to_be_bytes() } else { v.to_le_bytes() }).collect()
    };
    let rows = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
    let columns = [1.0, 4.0, 2.0, 5.0, 3.0, 6.0];
    for version in [1, 2, 3] {
        assert_eq!(parse_npy(&document(version, &header("<f4", "False", "(2, 3)"), &bytes(rows, false))), Ok(want.clone()));
        assert_eq!(parse_npy(&document(version, &header(">f4", "False", "(2L, 3L)"), &bytes(rows, true))), Ok(want.clone()));
        assert_eq!(parse_npy(&document(version, &header("<f4", "True", "(2, 3,)"), &bytes(columns, false))), Ok(want.clone()));
        assert_eq!(parse_npy(&document(version, &header(">f4", "True", "( 2 , 3 )"), &bytes(columns, true))), Ok(want.clone()));
    }
}

#[test]
fn a_document_written_by_numpy_is_read_and_written_back_to_the_byte() {
    // numpy.save of numpy.arange(3, dtype="<f4"), version 2.4.
    let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }                                                            \n";
    let mut bytes = [0.0f32, 1.0, 2.0].iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
    bytes = document(1, header, &bytes);
    assert_eq!(bytes.len(), 128 + 12);
    let part = parse_npy(&bytes).unwrap();
    assert_eq!((part.shape(), part.to_f32().unwrap()), (&[3][..], vec![0.0, 1.0, 2.0]));
    assert_eq!(write_npy(&part).unwrap(), bytes);
}

#[test]
fn hostile_and_foreign_documents_are_refused_with_a_reason() {
    let good = header("<f4", "False", "(1,)");
    let long_claim = [MAGIC, &[2, 0], &u32::MAX.to_le_bytes()].concat();
    for (bytes, reason) in [
        (Vec::new(), "first bytes"),
        (b"PK\x03\x04rest".to_vec(), "zip archive"),
        (MAGIC.to_vec(), "ends inside the version"),
        (document(9, &good, &[0; 4]), "version 9"),
        ([MAGIC, &[1, 0, 5]].concat(), "ends inside the header's length"),
        (long_claim, "at most 65536"),
        ([MAGIC, &[1, 0, 200, 0]].concat(), "ends inside the header"),
        (document(1, &good, &[0; 3]), "needs 4 bytes of data, found 3"),
        (document(1, &good, &[0; 5]), "needs 4 bytes of data, found 5"),
        (document(1, &header("|O", "False", "(1,)"), &[0; 8]), "no pickles"),
        (document(1, &header("|b1", "False", "(1,)"), &[0]), "is not read"),
        (document(1, &header("|f4", "False", "(1,)"), &[0; 4]), "is not read"),
        (document(1, &header("é4", "False", "(1,)"), &[0; 4]), "is not read"),
        (document(1, &header("", "False", "(1,)"), &[0; 4]), "is not read"),
        (document(1, &header("<f4", "Maybe", "(1,)"), &[0; 4]), "expected True or False"),
        (document(1, &header("<f4", "False", "(-1,)"), &[0; 4]), "expected a length"),
        (document(1, &header("<f4", "False", "(18446744073709551615, 2)"), &[0; 4]), "too many"),
        (document(1, &header("<f4", "False", "(99999999999999999999,)"), &[0; 4]), "expected a length"),
        (document(1, &header("<f4", "True", "(18446744073709551615, 0)"), &[0; 4]), "found 4"),
        (document(1, &header("<f4", "False", &format!("({})", "1,".repeat(33))), &[0; 4]), "more than 32"),
        (document(1, "{'descr': '<f4', 'shape': (1,)}", &[0; 4]), "needs the entries"),
        (document(1, "{'descr': '<f4', 'descr': '<f4'}", &[0; 4]), "appears twice"),
        (document(1, "{'other': '<f4'}", &[0; 4]), "unknown header entry"),
        (document(1, "{'descr': '<f", &[0; 4]), "does not end"),
        (document(1, "__import__('os')", &[0; 4]), "expected `{`"),
        (document(1, &format!("{} + 1", good.trim_end()), &[0; 4]), "expected the end"),
    ] {
        let error = parse_npy(&bytes).expect_err(reason).to_string();
        assert!(error.contains(reason), "{reason}: {error}");
    }
}

#[test]
fn zero_lengths_and_scalars_are_read() {
    let empty = parse_npy(&document(1, &header("<f8", "True", "(0, 5)"), &[])).unwrap();
    assert_eq!(empty.shape(), [0, 5]);
    let scalar = parse_npy(&document(1, &header("|u1", "False", "()"), &[7])).unwrap();
    assert_eq!((scalar.shape(), &scalar.bytes()[..]), (&[][..], &[7][..]));
    assert_eq!(parse_npy(&write_npy(&scalar).unwrap()), Ok(scalar));
    assert!(write_npy(&Part::new(Dtype::Bf16, vec![0], Bytes::new()).unwrap()).is_err());
}

#[test]
fn real_documents_of_the_field_are_read() {
    let Some(folder) = std::env::var_os("TALLOW_TEST_DATA") else {
        eprintln!("skipped: TALLOW_TEST_DATA is not set");
        return;
    };
    let folder = std::path::Path::new(&folder).join("npy-real");
    let read = |name: &str| std::fs::read(folder.join(name)).expect("the folder has this file");
    let hang = parse_npy(&read("cosine_hang.npy")).unwrap();
    assert_eq!((hang.dtype(), hang.shape()), (Dtype::F64, &[4400, 50][..]));
    let near = parse_npy(&read("cosine_near_duplicates.npy")).unwrap();
    assert_eq!((near.dtype(), near.shape()), (Dtype::F32, &[32, 2][..]));
    assert_eq!(parse_npy(&write_npy(&near).unwrap()), Ok(near));
    assert!(parse_npy(&read("pynndescent_bug_np.npz")).is_err());
}

proptest! {
    #[test]
    fn any_part_survives_the_round_trip(shape in prop::collection::vec(0usize..5, 0..4), dtype in 0usize..8) {
        let dtype = [Dtype::F32, Dtype::F64, Dtype::F16, Dtype::I8, Dtype::U8, Dtype::I32, Dtype::U32, Dtype::I64][dtype];
        let bytes: Vec<u8> = (0..shape.iter().product::<usize>() * dtype.size_bytes()).map(|i| i as u8).collect();
        let part = Part::new(dtype, shape, bytes.into()).unwrap();
        let document = write_npy(&part).unwrap();
        prop_assert_eq!(parse_npy(&document), Ok(part));
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _any_answer_is_fine = parse_npy(&bytes);
        let _any_answer_is_fine = parse_npy(&[MAGIC, &[1, 0], &bytes].concat());
    }

    #[test]
    fn no_header_panics(text in "[{}()':,<>|a-z0-9 TrueFals\\\\]{0,120}") {
        let _any_answer_is_fine = parse_npy(&document(1, &text, &[0; 8]));
    }

    #[test]
    fn a_damaged_document_never_panics(at in 0usize..140, byte in any::<u8>(), cut in 0usize..141) {
        let mut bytes = write_npy(&Part::from_f32(vec![3], &[1.0, 2.0, 3.0]).unwrap()).unwrap();
        bytes[at] = byte;
        bytes.truncate(cut);
        let _any_answer_is_fine = parse_npy(&bytes);
    }
}
