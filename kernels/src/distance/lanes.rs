//! Sixteen `f32` side by side, what is summed, and the one tile body that every level of instructions compiles.

use super::{FOLD, LANES};
use crate::Rows;

/// Sixteen `f32`. The order of operations is the same on every level, so that levels with fused multiply-add agree bit for bit.
///
/// Safety: every method may use the instructions of its level; callers are compiled for that level and hold its proof.
pub(super) trait Lanes: Copy {
    /// Sixteen zeros.
    unsafe fn zero() -> Self;
    /// Sixteen values from any address. Safety: `source` is valid for reading `LANES` values.
    unsafe fn load(source: *const f32) -> Self;
    /// Lane by lane difference.
    unsafe fn sub(self, other: Self) -> Self;
    /// `self * other + sum`, fused where the level has it.
    unsafe fn mul_add(self, other: Self, sum: Self) -> Self;
    /// `sum + |self|`.
    unsafe fn add_abs(self, sum: Self) -> Self;
    /// The lanes in order.
    unsafe fn lanes(self) -> [f32; LANES];
}

/// What is summed over the elements of two rows.
pub(super) trait Term {
    /// Adds sixteen terms to sixteen sums. Safety: as [`Lanes`].
    unsafe fn add<L: Lanes>(a: L, b: L, sum: L) -> L;
    /// One term in `f64`.
    fn wide(a: f64, b: f64) -> f64;
}

/// `a b`.
pub(super) struct Dot;
/// `(a - b)^2`.
pub(super) struct L2Squared;
/// `|a - b|`.
pub(super) struct L1;

impl Term for Dot {
    #[inline(always)]
    unsafe fn add<L: Lanes>(a: L, b: L, sum: L) -> L {
        // SAFETY: the caller is compiled for the level of `L`.
        unsafe { a.mul_add(b, sum) }
    }
    fn wide(a: f64, b: f64) -> f64 {
        a * b
    }
}

impl Term for L2Squared {
    #[inline(always)]
    unsafe fn add<L: Lanes>(a: L, b: L, sum: L) -> L {
        // SAFETY: the caller is compiled for the level of `L`.
        unsafe {
            let difference = a.sub(b);
            difference.mul_add(difference, sum)
        }
    }
    fn wide(a: f64, b: f64) -> f64 {
        (a - b) * (a - b)
    }
}

impl Term for L1 {
    #[inline(always)]
    unsafe fn add<L: Lanes>(a: L, b: L, sum: L) -> L {
        // SAFETY: the caller is compiled for the level of `L`.
        unsafe { a.sub(b).add_abs(sum) }
    }
    fn wide(a: f64, b: f64) -> f64 {
        (a - b).abs()
    }
}

/// Sums terms for every pair of a block in tiles of `R` by `C`. `out` is `[a, b]`. Safety: as [`Lanes`].
#[inline(always)]
pub(super) unsafe fn block<L: Lanes, T: Term, const R: usize, const C: usize>(a: Rows<'_>, b: Rows<'_>, out: &mut [f64]) {
    let (rows, columns) = (a.len(), b.len());
    assert!(a.dim() == b.dim() && out.len() == rows * columns, "the block's shape was checked by the caller");
    let mut row = 0;
    while row + R <= rows {
        // SAFETY: the shape was asserted above; the caller is compiled for the level of `L`.
        unsafe { stripe::<L, T, R, C>(a, b, row, out) };
        row += R;
    }
    while row < rows {
        // SAFETY: as above.
        unsafe { stripe::<L, T, 1, C>(a, b, row, out) };
        row += 1;
    }
}

/// `R` left rows against all right rows. Safety: as [`Lanes`]; `row + R` rows of `a` exist and the dimensions agree.
#[inline(always)]
unsafe fn stripe<L: Lanes, T: Term, const R: usize, const C: usize>(a: Rows<'_>, b: Rows<'_>, row: usize, out: &mut [f64]) {
    let columns = b.len();
    let mut column = 0;
    while column + C <= columns {
        // SAFETY: `row + R` and `column + C` rows exist.
        let sums = unsafe { tile::<L, T, R, C>(a, b, row, column) };
        for (r, sums) in sums.iter().enumerate() {
            out[(row + r) * columns + column..][..C].copy_from_slice(sums);
        }
        column += C;
    }
    while column < columns {
        // SAFETY: `row + R` and `column + 1` rows exist.
        let sums = unsafe { tile::<L, T, R, 1>(a, b, row, column) };
        for (r, sums) in sums.iter().enumerate() {
            out[(row + r) * columns + column] = sums[0];
        }
        column += 1;
    }
}

/// The sums of `R` by `C` pairs, all partial sums in registers.
///
/// Safety: as [`Lanes`]; rows `row..row + R` of `a` and `column..column + C` of `b` exist and the dimensions agree.
#[inline(always)]
unsafe fn tile<L: Lanes, T: Term, const R: usize, const C: usize>(a: Rows<'_>, b: Rows<'_>, row: usize, column: usize) -> [[f64; C]; R] {
    let dim = a.dim();
    let left: [*const f32; R] = std::array::from_fn(|r| a.row(row + r).as_ptr());
    let right: [*const f32; C] = std::array::from_fn(|c| b.row(column + c).as_ptr());
    let mut totals = [[0.0f64; C]; R];
    let mut from = 0;
    while from < dim {
        let to = dim.min(from + FOLD);
        // SAFETY: the caller is compiled for the level of `L`.
        let mut sums = [[unsafe { L::zero() }; C]; R];
        let mut at = from;
        while at + LANES <= to {
            // SAFETY: `at + LANES <= dim`, and each pointer has `dim` values behind it.
            unsafe { step::<L, T, R, C>(left.map(|p| p.add(at)), right.map(|p| p.add(at)), &mut sums) };
            at += LANES;
        }
        if at < to {
            // SAFETY: `to <= dim`, and each pointer has `dim` values behind it.
            let (a_tail, b_tail) = unsafe { (left.map(|p| padded(p.add(at), to - at)), right.map(|p| padded(p.add(at), to - at))) };
            // SAFETY: the padded tails have `LANES` values.
            unsafe { step::<L, T, R, C>(a_tail.each_ref().map(|t| t.as_ptr()), b_tail.each_ref().map(|t| t.as_ptr()), &mut sums) };
        }
        for (totals, sums) in totals.iter_mut().zip(&sums) {
            for (total, sum) in totals.iter_mut().zip(sums) {
                // SAFETY: the caller is compiled for the level of `L`.
                *total += f64::from(join(unsafe { sum.lanes() }));
            }
        }
        from = to;
    }
    totals
}

/// One step of sixteen elements for all pairs of a tile. Safety: as [`Lanes`]; each pointer has `LANES` values behind it.
#[inline(always)]
unsafe fn step<L: Lanes, T: Term, const R: usize, const C: usize>(left: [*const f32; R], right: [*const f32; C], sums: &mut [[L; C]; R]) {
    // SAFETY: granted by the caller.
    let right = right.map(|p| unsafe { L::load(p) });
    for (pointer, sums) in left.into_iter().zip(sums) {
        // SAFETY: granted by the caller.
        let left = unsafe { L::load(pointer) };
        for (right, sum) in right.iter().zip(sums) {
            // SAFETY: the caller is compiled for the level of `L`.
            *sum = unsafe { T::add(left, *right, *sum) };
        }
    }
}

/// The last `len` values of a row followed by zeros, which add nothing to any term. Safety: `source` has `len` values behind it.
#[inline(always)]
unsafe fn padded(source: *const f32, len: usize) -> [f32; LANES] {
    let mut tail = [0.0; LANES];
    // SAFETY: granted by the caller.
    tail[..len].copy_from_slice(unsafe { std::slice::from_raw_parts(source, len) });
    tail
}

/// The sum of the lanes in a fixed tree.
#[inline(always)]
fn join(lanes: [f32; LANES]) -> f32 {
    let eight: [f32; 8] = std::array::from_fn(|l| lanes[l] + lanes[l + 8]);
    let four: [f32; 4] = std::array::from_fn(|l| eight[l] + eight[l + 4]);
    (four[0] + four[2]) + (four[1] + four[3])
}
