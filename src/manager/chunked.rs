//! A table that grows in blocks: growing never moves or copies what is there, so a submission never pays for all the others. Pure.

use std::ops::{Index, IndexMut};

const BLOCK_LEN: usize = 1024;

/// Values by position; unset positions hold the default.
pub struct Chunked<T> {
    blocks: Vec<Box<[T]>>,
}

impl<T> Default for Chunked<T> {
    fn default() -> Self {
        Self { blocks: Vec::new() }
    }
}

impl<T: Default> Chunked<T> {
    /// Makes the position valid. Cost: one block of 1,024 values when it is beyond the end.
    pub fn ensure(&mut self, index: u32) {
        while self.blocks.len() * BLOCK_LEN <= index as usize {
            self.blocks.push((0..BLOCK_LEN).map(|_| T::default()).collect());
        }
    }

    /// True when the position is valid.
    #[must_use]
    pub fn contains(&self, index: u32) -> bool {
        (index as usize) < self.blocks.len() * BLOCK_LEN
    }
}

impl<T> Index<u32> for Chunked<T> {
    type Output = T;

    fn index(&self, index: u32) -> &T {
        &self.blocks[index as usize / BLOCK_LEN][index as usize % BLOCK_LEN]
    }
}

impl<T> IndexMut<u32> for Chunked<T> {
    fn index_mut(&mut self, index: u32) -> &mut T {
        &mut self.blocks[index as usize / BLOCK_LEN][index as usize % BLOCK_LEN]
    }
}
