//! Mutations of byte strings.

use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;

/// Numbers at the edges of widths and lengths.
const EDGES: [u64; 12] = [0, 1, 7, 8, 0x7f, 0x80, 0xff, 0xffff, 0x7fff_ffff, 0xffff_ffff, 0x7fff_ffff_ffff_ffff, u64::MAX];
/// Mutated inputs stay within a few times this.
const LEN_MAX: usize = 64 * 1024;

/// One of the documents, mutated so many times; with no documents or one time in sixteen, noise.
pub(crate) fn mutated(corpus: &[Vec<u8>], mutations: usize, random: &mut StdRng) -> Vec<u8> {
    let mut bytes = match corpus.choose(random) {
        Some(document) if !random.random_ratio(1, 16) => document.clone(),
        _ => (0..random.random_range(0..200)).map(|_| random.random()).collect(),
    };
    for _ in 0..mutations {
        mutate(&mut bytes, corpus, random);
    }
    bytes.truncate(LEN_MAX);
    bytes
}

fn mutate(bytes: &mut Vec<u8>, corpus: &[Vec<u8>], random: &mut StdRng) {
    if bytes.is_empty() {
        bytes.push(random.random());
        return;
    }
    let at = random.random_range(0..bytes.len());
    let to = random.random_range(at..=bytes.len().min(at + 64));
    match random.random_range(0..8) {
        0 => bytes[at] ^= 1 << random.random_range(0..8),
        1 => bytes[at] = random.random(),
        2 => bytes.truncate(at),
        3 => drop(bytes.drain(at..to)),
        4 => bytes.extend_from_within(at..to),
        5 => overwrite(bytes, at, &edge_number(random)),
        6 => bytes.insert(at, *b"\0\xff{}[]\"'(),:0-9 \n".choose(random).unwrap_or(&0)),
        _ => splice(bytes, at, corpus.choose(random), random),
    }
}

fn edge_number(random: &mut StdRng) -> Vec<u8> {
    let number = EDGES.choose(random).copied().unwrap_or(0);
    let width = [1, 2, 4, 8].choose(random).copied().unwrap_or(8);
    let mut bytes = number.to_le_bytes()[..width].to_vec();
    if random.random() {
        bytes.reverse();
    }
    bytes
}

fn overwrite(bytes: &mut [u8], at: usize, with: &[u8]) {
    for (place, byte) in bytes[at..].iter_mut().zip(with) {
        *place = *byte;
    }
}

fn splice(bytes: &mut Vec<u8>, at: usize, other: Option<&Vec<u8>>, random: &mut StdRng) {
    if let Some(other) = other.filter(|other| !other.is_empty()) {
        bytes.truncate(at);
        bytes.extend_from_slice(&other[random.random_range(0..other.len())..]);
    }
}
