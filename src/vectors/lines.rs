//! Memory that begins at a cache line, looked at as bytes or as numbers.

use bytemuck::Pod;

/// Bytes of a cache line.
const LINE: usize = 64;

/// Zeroed bytes that begin at a cache line. The length is fixed.
pub(super) struct Lines {
    /// Never grows, so that its address stays.
    buffer: Vec<u8>,
    start: usize,
    len: usize,
}

impl Lines {
    /// So many zero bytes.
    pub(super) fn zeroed(len: usize) -> Self {
        let buffer = vec![0u8; len + LINE - 1];
        let start = buffer.as_ptr().align_offset(LINE).min(LINE - 1);
        Self { buffer, start, len }
    }

    /// Heap bytes of so many.
    pub(super) fn bytes_of(len: usize) -> u64 {
        (len + LINE - 1) as u64
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..self.start + self.len]
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.buffer[self.start..self.start + self.len]
    }

    /// The bytes as numbers; the length is a whole number of them.
    pub(super) fn values<T: Pod>(&self) -> &[T] {
        bytemuck::cast_slice(self.bytes())
    }

    pub(super) fn values_mut<T: Pod>(&mut self) -> &mut [T] {
        bytemuck::cast_slice_mut(self.bytes_mut())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_begin_at_a_cache_line() {
        for len in [0, 4, 60, 64, 4096] {
            let mut lines = Lines::zeroed(len);
            assert_eq!(lines.bytes().as_ptr() as usize % LINE, 0);
            lines.values_mut::<f32>().fill(1.0);
            assert_eq!(lines.values::<f32>(), vec![1.0; len / 4]);
            assert!(lines.buffer.capacity() as u64 <= Lines::bytes_of(len));
        }
    }
}
