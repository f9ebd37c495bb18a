//! Files that lie about themselves are refused; what is read is what the file holds.

use proptest::prelude::*;

use super::*;

fn file(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    bytes.resize(bytes.len() + data, 0);
    bytes
}

fn read(bytes: &[u8]) -> Result<Header, ModelError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    std::fs::write(&path, bytes).unwrap();
    read_header(&path)
}

#[test]
fn headers_that_lie_are_refused_by_name() {
    let one = |entry: &str| format!(r#"{{"a":{entry}}}"#);
    let good = r#"{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}"#;
    let deep = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
    let mut long_length = file("{}", 0);
    long_length[..8].copy_from_slice(&(1u64 << 63).to_le_bytes());
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("no bytes", vec![], "cannot hold"),
        ("seven bytes", vec![0; 7], "cannot hold"),
        ("eight bytes", vec![0; 8], "header length"),
        ("giant length", long_length, "at most"),
        ("length beyond the file", (100u64).to_le_bytes().iter().copied().chain([b'{'; 20]).collect(), "header length"),
        ("no JSON", file("not json at all", 0), "header"),
        (
            "no UTF-8",
            {
                let mut bytes = file("{\"a\":1}", 0);
                bytes[10] = 0xff;
                bytes
            },
            "header",
        ),
        ("deep nesting", file(&one(&deep), 0), "header"),
        ("twice the same name", file(&format!(r#"{{"a":{good},"a":{good}}}"#), 16), "twice"),
        ("unknown dtype", file(&one(r#"{"dtype":"F33","shape":[4],"data_offsets":[0,16]}"#), 16), "unknown dtype"),
        ("unknown field", file(&one(r#"{"dtype":"F32","shape":[4],"data_offsets":[0,16],"x":1}"#), 16), "unknown field"),
        ("overflow", file(&one(r#"{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,16]}"#), 16), "overflows"),
        ("negative dim", file(&one(r#"{"dtype":"F32","shape":[-1],"data_offsets":[0,16]}"#), 16), "header"),
        ("rank", file(&one(r#"{"dtype":"F32","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,4]}"#), 4), "dimensions"),
        ("shape and bytes", file(&one(r#"{"dtype":"F32","shape":[5],"data_offsets":[0,16]}"#), 16), "needs 20 bytes"),
        ("end before begin", file(&one(r#"{"dtype":"F32","shape":[4],"data_offsets":[16,0]}"#), 16), "out of order"),
        ("beyond the data", file(&one(good), 8), "truncated"),
        ("trailing bytes", file(&one(good), 17), "trailing"),
        ("gap", file(&one(r#"{"dtype":"F32","shape":[1],"data_offsets":[4,8]}"#), 8), "gap"),
        (
            "overlap",
            file(r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}"#, 12),
            "overlaps",
        ),
    ];
    for (what, bytes, words) in cases {
        let error = read(&bytes).err().unwrap_or_else(|| panic!("{what} was accepted")).to_string();
        assert!(error.contains(words), "{what}: {error}");
    }
    assert_eq!(read(&file(&one(good), 16)).unwrap().tensors[0].shape, [2, 2]);
}

#[test]
fn too_many_tensors_are_refused() {
    let entries: Vec<String> =
        (0..=TENSOR_COUNT_MAX).map(|n| format!(r#""{n}":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}"#)).collect();
    let error = read(&file(&format!("{{{}}}", entries.join(",")), 0)).unwrap_err().to_string();
    assert!(error.contains("more than"), "{error}");
}

#[test]
fn what_is_no_file_is_refused_and_never_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(read_header(folder.path()), Err(ModelError::Corrupt { .. })));
    assert!(matches!(read_header(Path::new("/dev/zero")), Err(ModelError::Corrupt { .. } | ModelError::Missing { .. })));
    assert!(matches!(read_header(&folder.path().join("none")), Err(ModelError::Missing { .. })));
}

#[test]
fn halves_are_widened_and_the_digest_is_that_of_the_file() {
    use sha2::Digest as _;
    let header = r#"{"h":{"dtype":"F16","shape":[2],"data_offsets":[0,4]},"b":{"dtype":"BF16","shape":[1],"data_offsets":[4,6]},"i":{"dtype":"I64","shape":[1],"data_offsets":[6,14]}}"#;
    let mut bytes = file(header, 0);
    bytes.extend_from_slice(&half::f16::from_f32(1.5).to_le_bytes());
    bytes.extend_from_slice(&half::f16::from_f32(-2.0).to_le_bytes());
    bytes.extend_from_slice(&half::bf16::from_f32(0.25).to_le_bytes());
    bytes.extend_from_slice(&7i64.to_le_bytes());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    std::fs::write(&path, &bytes).unwrap();
    let mut weights = Weights::read(std::slice::from_ref(&path), &Device::Cpu).unwrap();
    assert_eq!(weights.digest(), hex(&Sha256::digest(&bytes)));
    assert_eq!(weights.take("h", &[2]).unwrap().to_vec1::<f32>().unwrap(), [1.5, -2.0]);
    assert_eq!(weights.take("b", &[1]).unwrap().to_vec1::<f32>().unwrap(), [0.25]);
    assert!(matches!(weights.take("i", &[1]), Err(ModelError::Corrupt { .. })));
}

#[test]
fn an_index_that_leaves_the_folder_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["../x.safetensors", "/etc/passwd", "", ".hidden"] {
        let index = serde_json::json!({ "weight_map": { "a": name } }).to_string();
        std::fs::write(folder.path().join("model.safetensors.index.json"), index).unwrap();
        assert!(matches!(weight_files(folder.path()), Err(ModelError::Corrupt { .. })), "{name}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_the_header_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let length = header_length(&bytes, bytes.len() as u64);
        if let Ok(length) = length {
            let end = 8 + length as usize;
            let _refused_or_not = parse_header(&bytes[8..end], bytes.len() as u64);
        }
        let _refused_or_not = parse_header(&bytes, bytes.len() as u64 + 8);
    }
}
