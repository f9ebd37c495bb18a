//! The built-in model's vocabulary: 30,522 WordPiece spellings, looked up by bytes in two tables, one per position in a word.
//!
//! Knows nothing of texts, words or vectors.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use crate::ModelError;

/// The spellings, one a line, in the order of their ids: `vocab.txt` of all-MiniLM-L6-v2, unchanged.
const SPELLINGS: &str = include_str!("../../builtin/vocab.txt");
/// What a spelling that continues a word begins with.
const CONTINUATION: &str = "##";
/// Pieces in the vocabulary.
pub const PIECE_COUNT: usize = 30_522;
/// The id of a word that the vocabulary cannot spell.
pub(super) const UNKNOWN: u32 = 100;

type Table = HashMap<&'static [u8], u32, BuildHasherDefault<PieceHasher>>;

/// Spellings by id and ids by spelling.
pub(super) struct Vocabulary {
    spellings: Vec<&'static str>,
    starts: Table,
    continuations: Table,
    longest_bytes: usize,
}

impl Vocabulary {
    /// Reads the embedded list. Errors: `Corrupt` when it is not the list this model was made with.
    pub(super) fn load() -> Result<Self, ModelError> {
        let spellings: Vec<&'static str> = SPELLINGS.lines().collect();
        if spellings.len() != PIECE_COUNT || spellings[UNKNOWN as usize] != "[UNK]" {
            let reason = format!("{} spellings, [UNK] expected at {UNKNOWN}; expected {PIECE_COUNT}", spellings.len());
            return Err(ModelError::corrupt("vocab.txt", "lines", reason));
        }
        let mut vocabulary = Self {
            starts: Table::with_capacity_and_hasher(PIECE_COUNT, BuildHasherDefault::default()),
            continuations: Table::with_capacity_and_hasher(PIECE_COUNT, BuildHasherDefault::default()),
            longest_bytes: 0,
            spellings: Vec::new(),
        };
        for (id, spelling) in (0_u32..).zip(&spellings) {
            let (table, bare) = match spelling.strip_prefix(CONTINUATION) {
                Some(bare) if !bare.is_empty() => (&mut vocabulary.continuations, bare),
                _ => (&mut vocabulary.starts, *spelling),
            };
            table.insert(bare.as_bytes(), id);
            vocabulary.longest_bytes = vocabulary.longest_bytes.max(bare.len());
        }
        vocabulary.spellings = spellings;
        Ok(vocabulary)
    }

    /// The spelling of `id` as the list has it, `##` included.
    pub(super) fn spelling(&self, id: u32) -> Option<&'static str> {
        self.spellings.get(id as usize).copied()
    }

    /// The letters of `id` and whether it continues a word.
    pub(super) fn letters(&self, id: u32) -> Option<(&'static str, bool)> {
        let spelling = self.spelling(id)?;
        match spelling.strip_prefix(CONTINUATION) {
            Some(bare) if !bare.is_empty() => Some((bare, true)),
            _ => Some((spelling, false)),
        }
    }

    /// The longest piece that `rest` begins with, as `(id, bytes)`; `at_start` tells whether `rest` is a whole word or the rest of one.
    pub(super) fn longest(&self, rest: &str, at_start: bool) -> Option<(u32, usize)> {
        let table = if at_start { &self.starts } else { &self.continuations };
        let mut end = rest.floor_char_boundary(self.longest_bytes.min(rest.len()));
        while end > 0 {
            if let Some(&id) = table.get(&rest.as_bytes()[..end]) {
                return Some((id, end));
            }
            end = rest.floor_char_boundary(end - 1);
        }
        None
    }
}

/// A short-key hasher: the tables' keys are fixed, so that no input can fill them with collisions.
#[derive(Default)]
struct PieceHasher(u64);

impl Hasher for PieceHasher {
    fn finish(&self) -> u64 {
        // The table takes its buckets from the low bits and its tags from the high ones, which a product leaves uneven.
        self.0 ^ (self.0 >> 32)
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0_u8; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    }

    fn write_usize(&mut self, length: usize) {
        self.write_u64(length as u64);
    }
}
