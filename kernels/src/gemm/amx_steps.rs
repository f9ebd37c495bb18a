//! Steps along the inner dimension on AMX tiles, each loop one piece of assembly: tile registers cannot be operands of `asm!`.
//!
//! A step multiplies 64 bytes of each row with the step's two tiles of weights. Weights pass by once per strip, so they are loaded with the hint that
//! keeps them out of the first cache, where the strip lies; those that come next are fetched from far memory meanwhile.

use std::arch::asm;

use crate::amx::TILE_ROWS;

/// Lines of a cache that a step fetches ahead.
pub(crate) const AHEAD_LINES: usize = 3;

/// Addresses of the next step.
#[derive(Clone, Copy)]
pub(crate) struct Steps {
    /// The first row of the strip.
    pub rows: *const u8,
    /// From a row to the next.
    pub row_bytes: usize,
    /// From a row of rounded values to the same row of what the rounding left.
    pub plane_bytes: usize,
    pub weights: *const u8,
    /// What to fetch, and how far a step goes on.
    pub ahead: (*const u8, usize),
}

/// The steps of one form: a function that runs `$body` once per step and then goes on to the next. In `$body`, `{a}` is the first row of the step, `{s}`
/// the stride of the rows, `{b}` the step's weights and `{t}` 64; `$operand`s are the form's own, of the addresses `$steps`.
macro_rules! steps {
    ($name:ident($steps:ident), [$($body:expr),* $(,)?], [$($operand:tt)*]) => {
        /// Adds the products of `count` steps to the accumulators of the scheme.
        ///
        /// # Safety
        /// This thread's tiles are full ones, and all rows and weights of `count` steps are readable; `count` is not 0.
        #[inline(always)]
        pub(crate) unsafe fn $name($steps: &mut Steps, count: usize) {
            // SAFETY: the caller's promise; fetching ahead reads nothing.
            unsafe {
                asm!(
                    ".p2align 5",
                    "2:",
                    $($body,)*
                    "prefetcht1 [{p}]",
                    "prefetcht1 [{p} + 64]",
                    "prefetcht1 [{p} + 128]",
                    "add {p}, {ps}",
                    "add {a}, 64",
                    "dec {count}",
                    "jnz 2b",
                    a = inout(reg) $steps.rows,
                    s = in(reg) $steps.row_bytes,
                    b = inout(reg) $steps.weights,
                    t = in(reg) 64usize,
                    p = inout(reg) $steps.ahead.0,
                    ps = in(reg) $steps.ahead.1,
                    count = inout(reg) count => _,
                    $($operand)*
                    out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                    out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                    options(nostack, readonly),
                );
            }
        }
    };
}

/// Steps of one plane with both row tiles, `{a1}` being the second.
macro_rules! two_row_tiles {
    ($name:ident, [$($body:expr),* $(,)?]) => {
        steps!(
            $name(steps),
            [$($body,)* "add {a1}, 64", "add {b}, 2048"],
            [a1 = inout(reg) steps.rows.wrapping_add(TILE_ROWS * steps.row_bytes) => _,]
        );
    };
}

macro_rules! tall {
    ($name:ident, $multiply:literal) => {
        two_row_tiles!(
            $name,
            [
                "tileloaddt1 tmm4, [{a} + {s}*1]",
                "tileloaddt1 tmm6, [{b} + {t}*1]",
                concat!($multiply, " tmm0, tmm4, tmm6"),
                "tileloaddt1 tmm7, [{b} + {t}*1 + 1024]",
                concat!($multiply, " tmm1, tmm4, tmm7"),
                "tileloaddt1 tmm5, [{a1} + {s}*1]",
                concat!($multiply, " tmm2, tmm5, tmm6"),
                concat!($multiply, " tmm3, tmm5, tmm7"),
            ]
        );
    };
}

macro_rules! short {
    ($name:ident, $multiply:literal) => {
        steps!(
            $name(steps),
            [
                "tileloadd tmm4, [{a} + {s}*1]",
                "tileloaddt1 tmm6, [{b} + {t}*1]",
                concat!($multiply, " tmm0, tmm4, tmm6"),
                "tileloaddt1 tmm7, [{b} + {t}*1 + 1024]",
                concat!($multiply, " tmm1, tmm4, tmm7"),
                "add {b}, 2048",
            ],
            []
        );
    };
}

/// Half a panel, 32 rows and 16 columns in two accumulators.
macro_rules! half {
    ($name:ident, $multiply:literal, $top:literal, $bottom:literal) => {
        two_row_tiles!(
            $name,
            [
                "tileloaddt1 tmm6, [{b} + {t}*1]",
                "tileloadd tmm4, [{a} + {s}*1]",
                concat!($multiply, " ", $top, ", tmm4, tmm6"),
                "tileloadd tmm5, [{a1} + {s}*1]",
                concat!($multiply, " ", $bottom, ", tmm5, tmm6"),
            ]
        );
    };
}

/// Two accumulators to memory: 32 rows of 16 sums.
macro_rules! store {
    ($name:ident, $top:literal, $bottom:literal) => {
        /// # Safety
        /// This thread's tiles are full ones, and 512 numbers are writable.
        #[inline(always)]
        pub(crate) unsafe fn $name(target: *mut f32) {
            // SAFETY: the caller's promise.
            unsafe {
                asm!(
                    concat!("tilestored [{c} + {t}*1], ", $top),
                    concat!("tilestored [{c} + {t}*1 + 1024], ", $bottom),
                    c = in(reg) target, t = in(reg) 64usize,
                    options(nostack, preserves_flags)
                );
            }
        }
    };
}

/// All four accumulators to memory: 32 rows of 32 sums.
///
/// # Safety
/// This thread's tiles are full ones, and 1,024 numbers are writable.
#[inline(always)]
pub(crate) unsafe fn store_rows(target: *mut f32) {
    // SAFETY: the caller's promise.
    unsafe {
        asm!(
            "tilestored [{c} + {t}*1], tmm0",
            "tilestored [{c} + {t}*1 + 64], tmm1",
            "tilestored [{c} + {t}*1 + 2048], tmm2",
            "tilestored [{c} + {t}*1 + 2112], tmm3",
            c = in(reg) target, t = in(reg) 128usize,
            options(nostack, preserves_flags)
        );
    }
}

/// Two accumulators to zero.
macro_rules! zero {
    ($name:ident, $first:literal, $second:literal) => {
        /// # Safety
        /// This thread's tiles are full ones.
        #[inline(always)]
        pub(crate) unsafe fn $name() {
            // SAFETY: the caller's promise.
            unsafe {
                asm!(
                    concat!("tilezero ", $first),
                    concat!("tilezero ", $second),
                    out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                    options(nostack, nomem, preserves_flags)
                );
            }
        }
    };
}

tall!(bf16_32, "tdpbf16ps");
short!(bf16_16, "tdpbf16ps");
tall!(int8_32, "tdpbssd");
short!(int8_16, "tdpbssd");
half!(bf16_left, "tdpbf16ps", "tmm0", "tmm1");
half!(bf16_right, "tdpbf16ps", "tmm2", "tmm3");
half!(int8_left, "tdpbssd", "tmm0", "tmm1");
half!(int8_right, "tdpbssd", "tmm2", "tmm3");
zero!(zero_01, "tmm0", "tmm1");
zero!(zero_23, "tmm2", "tmm3");
store!(store_01, "tmm0", "tmm1");
store!(store_02, "tmm0", "tmm2");
store!(store_13, "tmm1", "tmm3");
store!(store_23, "tmm2", "tmm3");

// Rows and weights in two planes: high times low, then high times high, then low times high.
steps!(
    pair_32(steps),
    [
        "tileloadd tmm4, [{a} + {s}*1]",
        "tileloaddt1 tmm6, [{b} + {t}*1 + 2048]",
        "tdpbf16ps tmm0, tmm4, tmm6",
        "tileloaddt1 tmm7, [{b} + {t}*1 + 3072]",
        "tdpbf16ps tmm1, tmm4, tmm7",
        "lea {row}, [{a} + {below}]",
        "tileloadd tmm5, [{row} + {s}*1]",
        "tdpbf16ps tmm2, tmm5, tmm6",
        "tdpbf16ps tmm3, tmm5, tmm7",
        "tileloaddt1 tmm6, [{b} + {t}*1]",
        "tdpbf16ps tmm0, tmm4, tmm6",
        "tileloaddt1 tmm7, [{b} + {t}*1 + 1024]",
        "tdpbf16ps tmm1, tmm4, tmm7",
        "tdpbf16ps tmm2, tmm5, tmm6",
        "tdpbf16ps tmm3, tmm5, tmm7",
        "lea {row}, [{a} + {low}]",
        "tileloadd tmm4, [{row} + {s}*1]",
        "tdpbf16ps tmm0, tmm4, tmm6",
        "tdpbf16ps tmm1, tmm4, tmm7",
        "add {row}, {below}",
        "tileloadd tmm5, [{row} + {s}*1]",
        "tdpbf16ps tmm2, tmm5, tmm6",
        "tdpbf16ps tmm3, tmm5, tmm7",
        "add {b}, 4096",
    ],
    [low = in(reg) steps.plane_bytes, below = in(reg) TILE_ROWS * steps.row_bytes, row = out(reg) _,]
);
steps!(
    pair_16(steps),
    [
        "tileloadd tmm4, [{a} + {s}*1]",
        "tileloaddt1 tmm6, [{b} + {t}*1 + 2048]",
        "tdpbf16ps tmm0, tmm4, tmm6",
        "tileloaddt1 tmm7, [{b} + {t}*1 + 3072]",
        "tdpbf16ps tmm1, tmm4, tmm7",
        "tileloaddt1 tmm6, [{b} + {t}*1]",
        "tdpbf16ps tmm0, tmm4, tmm6",
        "tileloaddt1 tmm7, [{b} + {t}*1 + 1024]",
        "tdpbf16ps tmm1, tmm4, tmm7",
        "lea {row}, [{a} + {low}]",
        "tileloadd tmm5, [{row} + {s}*1]",
        "tdpbf16ps tmm0, tmm5, tmm6",
        "tdpbf16ps tmm1, tmm5, tmm7",
        "add {b}, 4096",
    ],
    [low = in(reg) steps.plane_bytes, row = out(reg) _,]
);
