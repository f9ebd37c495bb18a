//! From byte offsets to character offsets, in one pass.

/// Counts characters up to byte offsets that never go back by much: each step costs the distance from the last one.
pub(super) struct CharOffsets<'a> {
    text: &'a str,
    byte: usize,
    character: usize,
}

impl<'a> CharOffsets<'a> {
    /// Starts at the beginning of `text`.
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, byte: 0, character: 0 }
    }

    /// Characters before `byte`, which lies on a character boundary.
    pub(super) fn at(&mut self, byte: usize) -> usize {
        if byte >= self.byte {
            self.character += count_chars(&self.text[self.byte..byte]);
        } else {
            self.character -= count_chars(&self.text[byte..self.byte]);
        }
        self.byte = byte;
        self.character
    }
}

/// Unicode scalar values of a text.
pub(super) fn count_chars(text: &str) -> usize {
    text.chars().count()
}
