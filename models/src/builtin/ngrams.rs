//! Words and their character trigrams, hashed with a sign into a fixed number of buckets: what a text says in letters, with no weights at all.
//!
//! The method is feature hashing (Weinberger et al. 2009) with a sign from the hash, and a signed square root over the buckets in place of a
//! sublinear term frequency.

/// Buckets.
pub(super) const BUCKET_COUNT: usize = 768;

/// A whole word counts this often as much as one of its trigrams.
const WORD_SHARE: f32 = 2.0;
const WORD_TAG: u8 = b'w';
const TRIGRAM_TAG: u8 = b'3';

/// Buckets being filled, and room to work in.
pub(super) struct Buckets {
    sums: [f32; BUCKET_COUNT],
    framed: String,
    bounds: Vec<usize>,
}

impl Default for Buckets {
    fn default() -> Self {
        Self { sums: [0.0; BUCKET_COUNT], framed: String::new(), bounds: Vec::new() }
    }
}

impl Buckets {
    /// Counts `word` and the trigrams of `<word>`, each with `weight`. Normalised words in, so that spellings agree.
    pub(super) fn count(&mut self, word: &str, weight: f32) {
        self.put(WORD_TAG, word.as_bytes(), weight * WORD_SHARE);
        self.framed.clear();
        self.framed.push('<');
        self.framed.push_str(word);
        self.framed.push('>');
        let framed = std::mem::take(&mut self.framed);
        if framed.is_ascii() {
            for trigram in framed.as_bytes().windows(3) {
                self.put(TRIGRAM_TAG, trigram, weight);
            }
        } else {
            self.count_trigrams(&framed, weight);
        }
        self.framed = framed;
    }

    /// The buckets' signed square roots, into `out` `[BUCKET_COUNT]`.
    pub(super) fn write(&self, out: &mut [f32]) {
        for (value, sum) in out.iter_mut().zip(&self.sums) {
            *value = sum.abs().sqrt().copysign(*sum);
        }
    }

    /// Trigrams of characters of more than one byte.
    fn count_trigrams(&mut self, framed: &str, weight: f32) {
        let mut bounds = std::mem::take(&mut self.bounds);
        bounds.clear();
        bounds.extend(framed.char_indices().map(|(at, _)| at));
        bounds.push(framed.len());
        for bound in bounds.windows(4) {
            self.put(TRIGRAM_TAG, &framed.as_bytes()[bound[0]..bound[3]], weight);
        }
        self.bounds = bounds;
    }

    fn put(&mut self, tag: u8, bytes: &[u8], weight: f32) {
        let hash = mixed(tag, bytes);
        let sign = if hash >> 63 == 1 { 1.0 } else { -1.0 };
        self.sums[(hash % BUCKET_COUNT as u64) as usize] += sign * weight;
    }
}

/// FNV-1a over the tag and the bytes, then two rounds of multiply and shift, so that bucket and sign depend on every bit.
fn mixed(tag: u8, bytes: &[u8]) -> u64 {
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    const MIX: u64 = 0xd6e8_feb8_6659_fd93;
    let start = (0xcbf2_9ce4_8422_2325 ^ u64::from(tag)).wrapping_mul(PRIME);
    let mut hash = bytes.iter().fold(start, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(PRIME));
    hash ^= hash >> 32;
    hash = hash.wrapping_mul(MIX);
    hash ^= hash >> 32;
    hash = hash.wrapping_mul(MIX);
    hash ^ (hash >> 32)
}
