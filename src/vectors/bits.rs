//! One bit per row: which are dead, which a filter admits. Pure: no lock, no clock.

/// A mask over the rows of a segment. Bits beyond its length are zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bits {
    words: Vec<u64>,
    len: usize,
}

impl Bits {
    /// No row.
    #[must_use]
    pub fn none(len: usize) -> Self {
        Self { words: vec![0; len.div_ceil(64)], len }
    }

    /// Every row.
    #[must_use]
    pub fn all(len: usize) -> Self {
        let mut bits = Self { words: vec![u64::MAX; len.div_ceil(64)], len };
        bits.trim();
        bits
    }

    /// The rows for which `keep` says yes.
    pub fn of(len: usize, mut keep: impl FnMut(usize) -> bool) -> Self {
        let mut bits = Self::none(len);
        for (place, word) in bits.words.iter_mut().enumerate() {
            let end = len.min((place + 1) * 64);
            for row in place * 64..end {
                *word |= u64::from(keep(row)) << (row % 64);
            }
        }
        bits
    }

    /// A mask from words as [`Bits::words`] gives them; `None` when they are too many or too few, or a bit beyond the length is set.
    #[must_use]
    pub fn from_words(words: Vec<u64>, len: usize) -> Option<Self> {
        let bits = Self { words, len };
        let mut trimmed = bits.clone();
        trimmed.trim();
        (bits.words.len() == len.div_ceil(64) && bits == trimmed).then_some(bits)
    }

    fn trim(&mut self) {
        let used = self.len % 64;
        if let Some(last) = self.words.last_mut().filter(|_| used > 0) {
            *last &= (1 << used) - 1;
        }
    }

    /// Rows that it is about.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// True when it is about no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// 64 rows a word, the first in the lowest bit.
    #[must_use]
    pub fn words(&self) -> &[u64] {
        &self.words
    }

    /// True when the row is in. Panics when there is no such row, as slices do.
    #[must_use]
    pub fn get(&self, row: usize) -> bool {
        assert!(row < self.len, "row {row} of {}", self.len);
        self.words[row / 64] >> (row % 64) & 1 == 1
    }

    /// Takes a row in; true when it was out. Panics when there is no such row.
    pub fn insert(&mut self, row: usize) -> bool {
        let fresh = !self.get(row);
        self.words[row / 64] |= 1 << (row % 64);
        fresh
    }

    /// How many are in.
    #[must_use]
    pub fn count(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Keeps what is in both.
    pub fn and(&mut self, other: &Self) {
        self.words.iter_mut().zip(&other.words).for_each(|(word, other)| *word &= other);
    }

    /// Adds what is in the other.
    pub fn or(&mut self, other: &Self) {
        self.words.iter_mut().zip(&other.words).for_each(|(word, other)| *word |= other);
    }

    /// Takes out what is in the other.
    pub fn without(&mut self, other: &Self) {
        self.words.iter_mut().zip(&other.words).for_each(|(word, other)| *word &= !other);
    }

    /// Everything that was out.
    pub fn invert(&mut self) {
        self.words.iter_mut().for_each(|word| *word = !*word);
        self.trim();
    }

    /// The rows that are in, ascending.
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.len).filter(|row| self.get(*row))
    }

    /// Heap bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.words.capacity() as u64 * 8
    }
}
