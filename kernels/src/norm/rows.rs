//! Rows on lanes: sums, then squares around the mean, then the result.

use half::bf16;

use super::Norm;
use crate::lanes::{Element, Lanes, on_lanes};

/// Vectors that are summed side by side, so that an addition need not wait for the one before.
const CHAINS: usize = 4;

/// Addresses of whole rows. Null where there is none; `source` may be the same as `sum` or `single`, and is then read before it is written.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub source: *const f32,
    /// Added to the source first.
    pub added: *const f32,
    /// Where source plus added goes; not null with `added`.
    pub sum: *mut f32,
    pub single: *mut f32,
    pub half: *mut bf16,
}

// SAFETY: the addresses are used for disjoint rows by different threads, while the borrows they come from are held by the caller of the family.
unsafe impl Sync for Place {}
// SAFETY: as above.
unsafe impl Send for Place {}

impl Place {
    /// The place `numbers` further on.
    pub(super) fn at(self, numbers: usize) -> Self {
        let moved = |address: *mut f32| if address.is_null() { address } else { address.wrapping_add(numbers) };
        Self {
            source: self.source.wrapping_add(numbers),
            added: moved(self.added.cast_mut()),
            sum: moved(self.sum),
            single: moved(self.single),
            half: if self.half.is_null() { self.half } else { self.half.wrapping_add(numbers) },
        }
    }
}

on_lanes! {
    pub(super) fn rows(place: Place, count: usize, norm: &Norm<'_>, epsilon: f32) = body
}

/// Safety: as [`Lanes`]; every address of the place that is not null is good for `count` rows, and the shift is as long as the scale.
#[inline(always)]
unsafe fn body<L: Lanes>(place: Place, count: usize, norm: &Norm<'_>, epsilon: f32) {
    let dim = norm.scale().len();
    for row in 0..count {
        let place = place.at(row * dim);
        // SAFETY: granted by the caller; the statistics read what the addition has written.
        unsafe {
            if !place.added.is_null() {
                add::<L>(place, dim);
            }
            let source = if place.added.is_null() { place.source } else { place.sum.cast_const() };
            let (mean, rest, factor) = statistics::<L>(source, dim, (matches!(norm, Norm::Layer { .. }), epsilon));
            write::<L>((source, place), norm, (mean, rest, factor));
        }
    }
}

/// Safety: as [`body`], for one row.
#[inline(always)]
unsafe fn add<L: Lanes>(place: Place, dim: usize) {
    let whole = dim / L::COUNT * L::COUNT;
    // SAFETY: every address is below `dim`; the caller is compiled for the level.
    unsafe {
        for at in (0..whole).step_by(L::COUNT) {
            L::load(place.source.add(at)).add(L::load(place.added.add(at))).store(place.sum.add(at));
        }
        if whole < dim {
            let len = dim - whole;
            let sum = L::load_part(place.source.add(whole), len).add(L::load_part(place.added.add(whole), len));
            sum.store_part(place.sum.add(whole), len);
        }
    }
}

/// A number near the mean, what is missing to the mean, and one over the deviation.
///
/// The mean is taken off before squares are summed, and what its own rounding left is taken off their sum. Safety: as [`body`], for one row.
#[inline(always)]
unsafe fn statistics<L: Lanes>(source: *const f32, dim: usize, (is_centred, epsilon): (bool, f32)) -> (f32, f32, f32) {
    let count = dim as f64;
    // SAFETY: granted by the caller.
    unsafe {
        // Of the first pass only the sums are used, so only they are computed.
        let mean = if is_centred { (f64::from(sums::<L>(source, dim, L::splat(0.0)).0) / count) as f32 } else { 0.0 };
        let (rest, squares) = sums::<L>(source, dim, L::splat(mean));
        let rest = if is_centred { f64::from(rest) / count } else { 0.0 };
        let variance = f64::from(squares) / count - rest * rest;
        (mean, rest as f32, (1.0 / (variance + f64::from(epsilon)).sqrt()) as f32)
    }
}

/// The sums of the differences to `from` and of their squares. Safety: as [`body`], for one row.
#[inline(always)]
unsafe fn sums<L: Lanes>(source: *const f32, dim: usize, from: L) -> (f32, f32) {
    // SAFETY: every address is below `dim`; the caller is compiled for the level.
    unsafe {
        let (mut sums, mut squares) = ([L::splat(0.0); CHAINS], [L::splat(0.0); CHAINS]);
        let mut at = 0;
        while at + CHAINS * L::COUNT <= dim {
            for chain in 0..CHAINS {
                let difference = L::load(source.add(at + chain * L::COUNT)).sub(from);
                sums[chain] = sums[chain].add(difference);
                squares[chain] = difference.mul_add(difference, squares[chain]);
            }
            at += CHAINS * L::COUNT;
        }
        while at < dim {
            let len = L::COUNT.min(dim - at);
            let difference = f32::load::<L>(source.add(at), len).sub(from);
            let difference = if len == L::COUNT { difference } else { difference.first(len) };
            sums[0] = sums[0].add(difference);
            squares[0] = difference.mul_add(difference, squares[0]);
            at += len;
        }
        let join = |chains: [L; CHAINS]| chains[0].add(chains[1]).add(chains[2].add(chains[3])).sum_across();
        (join(sums), join(squares))
    }
}

/// Safety: as [`body`], for one row.
#[inline(always)]
unsafe fn write<L: Lanes>((source, place): (*const f32, Place), norm: &Norm<'_>, (mean, rest, factor): (f32, f32, f32)) {
    let (scale, shift) = (norm.scale(), norm.shift().map(<[f32]>::as_ptr));
    let (dim, whole) = (scale.len(), scale.len() / L::COUNT * L::COUNT);
    // SAFETY: every address is below the length of a row; the caller is compiled for the level.
    unsafe {
        let numbers = (L::splat(mean), L::splat(-rest * factor), L::splat(factor));
        for at in (0..whole).step_by(L::COUNT) {
            write_at::<L>((source, place), (scale.as_ptr(), shift), numbers, (at, L::COUNT));
        }
        if whole < dim {
            write_at::<L>((source, place), (scale.as_ptr(), shift), numbers, (whole, dim - whole));
        }
    }
}

/// Writes `len` of 1..=`COUNT` numbers from `at` on. Safety: as [`body`], for one row.
#[inline(always)]
unsafe fn write_at<L: Lanes>(
    (source, place): (*const f32, Place),
    (scale, shift): (*const f32, Option<*const f32>),
    (mean, rest, factor): (L, L, L),
    (at, len): (usize, usize),
) {
    // SAFETY: granted by the caller.
    unsafe {
        let centred = f32::load::<L>(source.add(at), len).sub(mean).mul_add(factor, rest);
        let scale = f32::load::<L>(scale.add(at), len);
        let value = match shift {
            Some(shift) => centred.mul_add(scale, f32::load::<L>(shift.add(at), len)),
            None => centred.mul(scale),
        };
        if !place.single.is_null() {
            f32::store(value, place.single.add(at), len);
        }
        if !place.half.is_null() {
            bf16::store(value, place.half.add(at), len);
        }
    }
}
