//! Numbers for tests: the same at every run.

/// Numbers within ±1 of a generator that begins with `seed` (xorshift64: Marsaglia 2003).
pub(crate) fn noise(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    std::iter::repeat_with(next).take(count).collect()
}

/// Numbers within ±1 that are spread evenly over the range: each stands where its index says.
pub(crate) fn spread(count: usize) -> Vec<f32> {
    (0..count).map(|at| ((at as u64 * 2_654_435_761 % 20_011) as f32) / 10_005.5 - 1.0).collect()
}
