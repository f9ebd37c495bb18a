//! Files that lie about themselves are refused by name, and a header is the same however many bytes it is looked at with.

use super::*;

/// A file as the format describes it, written value by value.
struct Maker {
    bytes: Vec<u8>,
}

impl Maker {
    fn new(version: u32, tensors: u64, pairs: u64) -> Self {
        let mut bytes = GGUF_MAGIC.to_vec();
        bytes.extend(version.to_le_bytes());
        bytes.extend(tensors.to_le_bytes());
        bytes.extend(pairs.to_le_bytes());
        Self { bytes }
    }

    fn text(mut self, text: &[u8]) -> Self {
        self.bytes.extend((text.len() as u64).to_le_bytes());
        self.bytes.extend(text);
        self
    }

    fn u32(mut self, value: u32) -> Self {
        self.bytes.extend(value.to_le_bytes());
        self
    }

    fn u64(mut self, value: u64) -> Self {
        self.bytes.extend(value.to_le_bytes());
        self
    }

    fn tensor(self, name: &str, sizes: &[u64], (kind, offset): (u32, u64)) -> Self {
        let maker = self.text(name.as_bytes()).u32(sizes.len() as u32);
        sizes.iter().fold(maker, |maker, &size| maker.u64(size)).u32(kind).u64(offset)
    }

    fn raw(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend(bytes);
        self
    }

    /// Padding to the alignment, then so many bytes of data.
    fn data(mut self, count: usize) -> Vec<u8> {
        self.bytes.resize(self.bytes.len().next_multiple_of(32) + count, 0);
        self.bytes
    }
}

fn header(bytes: &[u8]) -> Result<GgufHeader, GgufFault> {
    parse_gguf(bytes, bytes.len() as u64).map(|header| header.expect("the whole file is at hand"))
}

fn words(fault: &GgufFault) -> String {
    match fault {
        GgufFault::Damaged(fault) => format!("{}: {}", fault.field, fault.reason),
        GgufFault::Unsupported(reason) => format!("unsupported {reason}"),
    }
}

#[test]
fn a_header_is_read_and_its_shapes_are_turned() {
    let file = Maker::new(3, 2, 2)
        .text(b"general.alignment")
        .u32(4)
        .u32(32)
        .text(b"names")
        .u32(9)
        .u32(8)
        .u64(2)
        .text(b"a")
        .text("\u{e9}".as_bytes())
        .tensor("b", &[3], (0, 64))
        .tensor("a.weight", &[32, 2], (8, 0))
        .data(68 + 28 + 12);
    // The second tensor starts where the padding behind the 68 bytes of the first ends.
    let broken = header(&file).unwrap_err();
    assert!(words(&broken).contains("tensor `b`: starts at byte"), "{}", words(&broken));
    let file = Maker::new(2, 2, 0).tensor("b", &[3], (0, 96)).tensor("a.weight", &[32, 2], (8, 0)).data(96 + 12);
    let header = header(&file).unwrap();
    assert_eq!(header.tensors.iter().map(|tensor| tensor.name.as_str()).collect::<Vec<_>>(), ["a.weight", "b"]);
    assert_eq!((header.tensors[0].shape.as_slice(), header.tensors[0].bytes.end - header.tensors[0].bytes.start), ([2, 32].as_slice(), 68));
}

#[test]
fn files_that_lie_are_refused_by_name() {
    let pair = |key: &[u8]| Maker::new(3, 0, 1).text(key);
    let one = |kind: u32, sizes: &[u64]| Maker::new(3, 1, 0).tensor("a", sizes, (kind, 0));
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("another magic", b"GGML\x03\0\0\0".to_vec(), "magic"),
        ("version 1", Maker::new(1, 0, 0).bytes, "unsupported GGUF version 1"),
        ("big-endian", Maker::new(3u32.swap_bytes(), 0, 0).bytes, "big-endian"),
        ("tensors beyond count", Maker::new(3, u64::MAX, 0).bytes, "tensor count"),
        ("pairs beyond count", Maker::new(3, 0, 1 << 40).bytes, "pair count"),
        ("pairs that are not there", Maker::new(3, 0, 2).bytes, "truncated"),
        ("a key without end", Maker::new(3, 0, 1).u64(400).bytes, "truncated"),
        ("a key beyond length", Maker::new(3, 0, 1).u64(1 << 50).bytes, "at most 512"),
        ("an empty key", pair(b"").u32(4).u32(1).bytes, "empty"),
        ("a key that is no text", pair(b"\xff").u32(4).u32(1).bytes, "UTF-8"),
        ("an unknown kind", pair(b"k").u32(13).u64(0).bytes, "unknown kind 13"),
        ("a list of lists", pair(b"k").u32(9).u32(9).u64(1).bytes, "list of lists"),
        ("a list beyond count", pair(b"k").u32(9).u32(0).u64(1 << 60).bytes, "`k`: found"),
        ("a list beyond the file", pair(b"k").u32(9).u32(10).u64(1 << 20).bytes, "truncated"),
        ("a flag of 2", pair(b"k").u32(7).raw(&[2]).bytes, "a flag of 2"),
        ("texts that are none", pair(b"k").u32(9).u32(8).u64(1).text(b"\xff").bytes, "not UTF-8"),
        ("a number beyond i64", pair(b"k").u32(10).u64(u64::MAX).bytes, "beyond"),
        ("a key twice", Maker::new(3, 0, 2).text(b"k").u32(4).u32(1).text(b"k").u32(4).u32(1).bytes, "twice"),
        ("an alignment of 3", pair(b"general.alignment").u32(4).u32(3).bytes, "power of two"),
        ("an alignment that is text", pair(b"general.alignment").u32(8).text(b"32").bytes, "power of two"),
        ("five dimensions", one(0, &[1; 5]).data(4), "5 dimensions"),
        ("an empty shape", one(0, &[0, 4]).data(0), "empty or overflows"),
        ("a shape that overflows", one(0, &[1 << 40, 1 << 40]).data(4), "overflows"),
        ("bytes that overflow", one(0, &[1 << 62]).data(4), "overflows"),
        ("part of a block", one(8, &[33]).data(68), "in blocks of 32"),
        ("an unknown type", one(23, &[256]).data(256), "of type 23; supported: F32, F16, BF16, Q4_0"),
        ("a tensor twice", Maker::new(3, 2, 0).tensor("a", &[8], (0, 0)).tensor("a", &[8], (0, 32)).data(64), "twice"),
        ("overlap", Maker::new(3, 2, 0).tensor("a", &[8], (0, 0)).tensor("b", &[8], (0, 16)).data(64), "starts at byte"),
        ("a gap", Maker::new(3, 2, 0).tensor("a", &[8], (0, 0)).tensor("b", &[8], (0, 64)).data(96), "starts at byte"),
        ("an offset that overflows", Maker::new(3, 1, 0).tensor("a", &[8], (0, u64::MAX)).data(32), "overflows"),
        ("truncated", one(0, &[8]).data(31), "truncated"),
        ("trailing bytes", one(0, &[8]).data(33), "trailing"),
    ];
    for (what, bytes, expected) in cases {
        let fault = words(&header(&bytes).expect_err(what));
        assert!(fault.contains(expected), "{what}: {fault}");
    }
}

#[test]
fn a_header_that_goes_on_is_asked_for_more_and_never_read_differently() {
    let file = Maker::new(3, 1, 1).text(b"k").u32(8).text(b"value").tensor("a", &[8], (0, 0)).data(32);
    let whole = header(&file).unwrap();
    for count in 0..=file.len() {
        match parse_gguf(&file[..count], file.len() as u64) {
            Ok(None) => {}
            Ok(Some(found)) => assert_eq!(found, whole, "{count} bytes"),
            Err(fault) => panic!("{count} bytes: {}", words(&fault)),
        }
    }
}

#[test]
fn blocks_are_as_long_as_the_library_has_them() {
    use candle_core::quantized::GgmlDType as Type;
    let types = [Type::Q4_0, Type::Q4_1, Type::Q5_0, Type::Q5_1, Type::Q8_0, Type::Q2K, Type::Q3K, Type::Q4K, Type::Q5K, Type::Q6K];
    for kind in types {
        let name = format!("{kind:?}").replace("K", "_K");
        assert_eq!(gguf_block(&name), Some((kind.block_size() as u64, kind.type_size() as u64)), "{name}");
    }
}
