//! The built-in default model: a static embedder inside the binary, so that the first command works with no network and no file.
//!
//! A text's vector is half token vectors, half letters. The first 256 components are the sum of static token vectors, distilled from
//! all-MiniLM-L6-v2 by this repository's `models/examples/make_builtin.rs`, each weighted by a/(a+p) (smooth inverse frequency, Arora et al.
//! 2017) with p from Zipf's law over the vocabulary's order. The other 768 are signed hash buckets of words and character trigrams, which
//! see the rare words that token vectors miss. Both halves have the same length; the whole has length 1.
//! The token half is sorted by variance: its first 64, 128 or all 256 numbers, scaled to length 1, serve as shorter vectors.
//! It knows no word order, is far weaker than MiniLM, and best in English.

mod ngrams;
pub mod table;
mod vocabulary;
mod wordpiece;

#[cfg(test)]
mod tests;

use rayon::prelude::*;

use crate::{Abilities, Ability, Embedder, EmbedderInfo, ModelError, Sequence, StopCheck};
use ngrams::{BUCKET_COUNT, Buckets};
use table::{TOKEN_DIM, TokenTable};
pub use vocabulary::PIECE_COUNT;
use vocabulary::{UNKNOWN, Vocabulary};

/// The name that answers carry: it says what the model is.
pub const NAME: &str = "tallow-builtin-static-v1";
/// What the name stands for, in a sentence.
pub const DESCRIPTION: &str =
    "static token vectors distilled from all-MiniLM-L6-v2, joined with hashed words and character trigrams: far weaker than MiniLM";
/// Numbers per vector.
pub const DIMENSIONS: usize = TOKEN_DIM + BUCKET_COUNT;
/// The weights' file name in `models/builtin/`.
pub const FILE: &str = "tallow-builtin-static-v1.safetensors";
/// What answers call its arithmetic: it has no products, its table of token vectors holds four bits a number.
pub const PRECISION: &str = "int4_table";
/// Hex sha256 of the weights, as the rebuild command prints it.
pub const DIGEST: &str = "96d0bb0a6266186a633f6463908308d351891a79daf41e90d7036c78f49ef064";

static WEIGHTS: &[u8] = include_bytes!("../../builtin/tallow-builtin-static-v1.safetensors");

/// The a of a/(a+p).
const COMMONNESS: f64 = 1e-3;
/// Ids below hold control tokens, punctuation and single characters in code order; from here on the vocabulary goes from common to rare.
const FIRST_RANKED: u32 = 1_996;
/// Ids below are control tokens and unused places.
const FIRST_TEXT: u32 = 999;
/// Pieces between two looks at the stop check: well below a millisecond of work.
const PIECES_PER_CHECK: usize = 4_096;
/// Texts per piece of parallel work: enough that handing them out costs nothing.
const TEXTS_PER_SPLIT: usize = 16;

/// Bytes that the built-in embedder holds while it is loaded.
pub const MEMORY_BYTES: u64 = (WEIGHTS.len() + PIECE_COUNT * BYTES_PER_PIECE) as u64;

/// The built-in static embedder. Loading reads the embedded bytes in milliseconds; embedding takes microseconds per sentence.
pub struct BuiltinEmbedder {
    info: EmbedderInfo,
    vocabulary: Vocabulary,
    table: TokenTable<'static>,
    weights: Vec<f32>,
}

impl BuiltinEmbedder {
    /// Reads the model that is part of this binary. Errors: `Corrupt` when the binary was built with other weights than this code expects.
    pub fn load() -> Result<Self, ModelError> {
        let vocabulary = Vocabulary::load()?;
        let weights = token_weights(&vocabulary);
        Ok(Self { info: info(), table: TokenTable::read(FILE, WEIGHTS)?, weights, vocabulary })
    }

    /// The vector of one text: `[DIMENSIONS]` f32 of length 1; all zeros for a text without a single piece (empty, spaces, control characters).
    ///
    /// Errors: `Input` when the normaliser refuses the text.
    pub fn embed_text(&self, text: &str) -> Result<Vec<f32>, ModelError> {
        let mut row = vec![0.0; DIMENSIONS];
        self.fill(&self.tokenize("", text)?, &mut row, &|| false)?;
        Ok(row)
    }

    /// Fills `row` `[DIMENSIONS]` with the vector of `sequence`.
    fn fill(&self, sequence: &Sequence, row: &mut [f32], stop: StopCheck<'_>) -> Result<(), ModelError> {
        let mut tokens = [0.0_f32; TOKEN_DIM];
        let mut buckets = Buckets::default();
        let mut word = Word::default();
        let content = sequence.content.clone();
        let ids = sequence.ids.get(content.clone()).ok_or_else(|| ModelError::input("the content range lies outside of the sequence"))?;
        for (at, &id) in content.zip(ids) {
            if at % PIECES_PER_CHECK == 0 && stop() {
                return Err(ModelError::Stopped);
            }
            if id == UNKNOWN {
                word.finish(&mut buckets);
                let surface = sequence.offsets.get(at).and_then(|bytes| sequence.text.get(bytes.clone()));
                let surface = surface.ok_or_else(|| ModelError::input(format!("token {at} has no place in its text")))?;
                buckets.count(&surface.to_lowercase(), 1.0);
                continue;
            }
            let (letters, continues) =
                self.vocabulary.letters(id).ok_or_else(|| ModelError::input(format!("token id {id} is not in the vocabulary")))?;
            if !continues {
                word.finish(&mut buckets);
            }
            let weight = self.weights[id as usize];
            word.extend(letters, weight);
            self.table.add(id, weight, &mut tokens);
        }
        word.finish(&mut buckets);
        let (token_half, bucket_half) = row.split_at_mut(TOKEN_DIM);
        token_half.copy_from_slice(&tokens);
        buckets.write(bucket_half);
        scale_to_one(token_half);
        scale_to_one(bucket_half);
        scale_to_one(row);
        Ok(())
    }
}

impl Embedder for BuiltinEmbedder {
    fn info(&self) -> &EmbedderInfo {
        &self.info
    }

    fn tokenize(&self, prompt: &str, text: &str) -> Result<Sequence, ModelError> {
        let whole = [prompt, text].concat();
        let pieces = wordpiece::pieces(&self.vocabulary, &whole)?;
        let prompt_tokens = pieces.offsets.iter().take_while(|bytes| bytes.start < prompt.len()).count();
        Ok(Sequence { text: whole, content: 0..pieces.ids.len(), ids: pieces.ids, offsets: pieces.offsets, prompt_tokens })
    }

    fn token(&self, id: u32) -> Option<String> {
        self.vocabulary.spelling(id).map(str::to_owned)
    }

    fn embed(&self, sequences: &[Sequence], stop: StopCheck<'_>) -> Result<Vec<f32>, ModelError> {
        let mut rows = vec![0.0; sequences.len() * DIMENSIONS];
        rows.par_chunks_mut(DIMENSIONS)
            .zip(sequences)
            .with_min_len(TEXTS_PER_SPLIT)
            .try_for_each(|(row, sequence)| self.fill(sequence, row, stop))?;
        Ok(rows)
    }
}

/// A word put together from its pieces again; it is as rare as its rarest piece.
#[derive(Default)]
struct Word {
    letters: String,
    weight: f32,
}

impl Word {
    fn extend(&mut self, letters: &str, weight: f32) {
        self.letters.push_str(letters);
        self.weight = self.weight.max(weight);
    }

    /// Counts the word, unless it is punctuation, and starts the next.
    fn finish(&mut self, buckets: &mut Buckets) {
        if self.letters.chars().any(char::is_alphanumeric) {
            buckets.count(&self.letters, self.weight);
        }
        self.letters.clear();
        self.weight = 0.0;
    }
}

/// a/(a+p) per id, p = 1/(r H) for the r-th of the ranked words. Control tokens count nothing; punctuation and ASCII characters are as
/// common as the first rank; characters of other scripts, whose order tells nothing, are taken as rare.
fn token_weights(vocabulary: &Vocabulary) -> Vec<f32> {
    let ranked = PIECE_COUNT as u32 - FIRST_RANKED;
    let harmonic: f64 = (1..=ranked).map(|rank| 1.0 / f64::from(rank)).sum();
    let weight = |id: u32| {
        if id < FIRST_TEXT {
            return 0.0;
        }
        let other_script = vocabulary.spelling(id).is_some_and(|piece| !piece.is_ascii() && piece.chars().any(char::is_alphanumeric));
        if id < FIRST_RANKED && other_script {
            return 1.0;
        }
        let rank = id.saturating_sub(FIRST_RANKED - 1).max(1);
        (COMMONNESS / (COMMONNESS + 1.0 / (f64::from(rank) * harmonic))) as f32
    };
    (0..PIECE_COUNT as u32).map(weight).collect()
}

/// Divides by the L2 norm, summed in f32 over 8 partial sums; a zero vector stays.
fn scale_to_one(values: &mut [f32]) {
    let mut partial = [0.0_f32; 8];
    for (at, value) in values.iter().enumerate() {
        partial[at % 8] += value * value;
    }
    let norm = partial.iter().sum::<f32>().sqrt();
    if norm > 0.0 {
        values.iter_mut().for_each(|value| *value /= norm);
    }
}

fn info() -> EmbedderInfo {
    EmbedderInfo {
        abilities: Abilities::default().with(Ability::Embed),
        labels: Vec::new(),
        vocabulary: 0,
        name: NAME.to_owned(),
        digest: DIGEST.to_owned(),
        architecture: "static".to_owned(),
        dimensions: DIMENSIONS,
        max_tokens: None,
        special_token_count: 0,
        pooling: "weighted_mean+ngram_hash".to_owned(),
        pooling_source: "part of the model".to_owned(),
        normalizes: true,
        // Principal components come first, so that a prefix of the token half is an embedding of its own.
        matryoshka: vec![64, 128, TOKEN_DIM],
        similarity: Some("cosine".to_owned()),
        precision: PRECISION.to_owned(),
        precision_reason: "token vectors are a table of four-bit numbers with a scale each, summed in f32; there are no products to choose an arithmetic for".to_owned(),
        memory_bytes: MEMORY_BYTES,
        working_bytes_per_token: 0,
        notes: vec![DESCRIPTION.to_owned()],
        ..EmbedderInfo::default()
    }
}

/// Heap bytes per vocabulary entry: its spelling's reference, its table entry at the tables' load, its scale and its weight.
const BYTES_PER_PIECE: usize = 128;
