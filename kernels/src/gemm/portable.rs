//! One block of 32 rows and 32 columns on vectors, one body for all widths.

use half::bf16;

use super::pack::Form;
use super::rows::Operand;
use super::strip::Sums;
#[cfg(target_arch = "x86_64")]
use super::vnni_avx512;
use super::{PANEL_COLUMNS, PackedWeights};
use crate::Isa;
use crate::lanes::{Eight, Lanes};

/// The products of a strip and one panel of weights into `sums`, row by row.
pub(crate) fn block((weights, operand): (&PackedWeights, &Operand<'_>), panel: usize, sums: &mut Sums) {
    let (isa, bytes) = (weights.isa(), weights.panel(panel));
    let call = Call { operand, panel: bytes, steps: bytes.len() / operand.form.step_bytes() };
    call.check();
    #[cfg(target_arch = "x86_64")]
    {
        let column_sums = weights.column_sums(panel);
        let block = vnni_avx512::Block { operand, panel: bytes, column_sums, steps: call.steps };
        if vnni_avx512::block(isa, &block, sums) {
            return;
        }
    }
    sums.fill(0.0);
    match isa {
        // SAFETY: `Eight` needs no instructions beyond the target's; the bounds were checked.
        Isa::Portable => unsafe { body::<Eight, 4, 1>(&call, sums) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the proof can only be had where the processor has AVX2 and FMA; the bounds were checked.
        Isa::Avx2(_) => unsafe { avx2(&call, sums) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the proof can only be had where the processor has AVX-512; the bounds were checked.
        Isa::Avx512(_) | Isa::Amx(_) => unsafe { avx512(&call, sums) },
        #[cfg(not(target_arch = "x86_64"))]
        // SAFETY: `Eight` needs no instructions beyond the target's; the bounds were checked.
        Isa::Avx2(_) | Isa::Avx512(_) | Isa::Amx(_) => unsafe { body::<Eight, 4, 1>(&call, sums) },
    }
}

struct Call<'a> {
    operand: &'a Operand<'a>,
    panel: &'a [u8],
    steps: usize,
}

impl Call<'_> {
    fn row(&self, row: usize) -> &[u8] {
        &self.operand.bytes[row * self.operand.row_bytes..][..self.operand.row_bytes]
    }

    fn check(&self) {
        let step_bytes = if self.operand.form == Form::F32 { 4 } else { 64 };
        assert!(self.steps * step_bytes <= self.operand.row_bytes, "the steps lie inside a row");
        assert!(self.operand.rows * self.operand.row_bytes <= self.operand.bytes.len(), "the rows lie inside the strip");
        assert!(self.operand.rows * PANEL_COLUMNS <= size_of::<Sums>() / 4, "the sums have room for the rows");
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn avx2(call: &Call<'_>, sums: &mut Sums) {
    // SAFETY: compiled for the instructions of these lanes.
    unsafe { body::<std::arch::x86_64::__m256, 6, 2>(call, sums) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
unsafe fn avx512(call: &Call<'_>, sums: &mut Sums) {
    // SAFETY: compiled for the instructions of these lanes.
    unsafe { body::<std::arch::x86_64::__m512, 8, 2>(call, sums) }
}

/// # Safety
/// The processor has the instructions of `L`, and [`Call::check`] has passed.
#[inline(always)]
unsafe fn body<L: Lanes, const ROWS: usize, const VECTORS: usize>(call: &Call<'_>, sums: &mut Sums) {
    let rows = call.operand.rows;
    match call.operand.form {
        Form::Int8 => int8(call, sums),
        form => {
            let mut row = 0;
            while row < rows {
                // SAFETY: the caller's promise.
                unsafe {
                    if row + ROWS <= rows {
                        across::<L, ROWS, VECTORS>(call, (row, form), sums);
                        row += ROWS;
                    } else {
                        across::<L, 1, VECTORS>(call, (row, form), sums);
                        row += 1;
                    }
                }
            }
        }
    }
}

/// # Safety
/// See [`body`].
#[inline(always)]
unsafe fn across<L: Lanes, const ROWS: usize, const VECTORS: usize>(call: &Call<'_>, (row, form): (usize, Form), sums: &mut Sums) {
    for column in (0..PANEL_COLUMNS).step_by(L::COUNT * VECTORS) {
        // SAFETY: the caller's promise; the columns lie inside a panel.
        unsafe {
            match form {
                Form::F32 => single::<L, ROWS, VECTORS>(call, (row, column), sums),
                _ => pairs::<L, ROWS, VECTORS>(call, (row, column), sums),
            }
        }
    }
}

/// Single precision: one broadcast activation times `VECTORS` vectors of weights.
///
/// # Safety
/// See [`body`].
#[inline(always)]
unsafe fn single<L: Lanes, const ROWS: usize, const VECTORS: usize>(call: &Call<'_>, (row, column): (usize, usize), sums: &mut Sums) {
    let rows: [*const f32; ROWS] = std::array::from_fn(|at| call.row(row + at).as_ptr().cast());
    let weights = call.panel.as_ptr().cast::<f32>();
    // SAFETY: every address lies inside the rows, the panel or the sums, by the caller's promise.
    unsafe {
        let mut acc = [[L::splat(0.0); VECTORS]; ROWS];
        for step in 0..call.steps {
            let weights: [L; VECTORS] =
                std::array::from_fn(|vector| L::load(weights.add(step * PANEL_COLUMNS + column + vector * L::COUNT)));
            for (row, acc) in rows.iter().zip(&mut acc) {
                let x = L::splat(row.add(step).read_unaligned());
                for (weights, acc) in weights.iter().zip(acc) {
                    *acc = x.mul_add(*weights, *acc);
                }
            }
        }
        for (at, acc) in acc.iter().enumerate() {
            for (vector, acc) in acc.iter().enumerate() {
                acc.store(sums.as_mut_ptr().add((row + at) * PANEL_COLUMNS + column + vector * L::COUNT));
            }
        }
    }
}

/// Pairs of bf16, widened on the way: their products are exact in f32.
///
/// # Safety
/// See [`body`].
#[inline(always)]
unsafe fn pairs<L: Lanes, const ROWS: usize, const VECTORS: usize>(call: &Call<'_>, (row, column): (usize, usize), sums: &mut Sums) {
    let rows: [*const u32; ROWS] = std::array::from_fn(|at| call.row(row + at).as_ptr().cast());
    let weights = call.panel.as_ptr().cast::<[bf16; 2]>();
    // SAFETY: every address lies inside the rows, the panel or the sums, by the caller's promise.
    unsafe {
        let mut acc = [[L::splat(0.0); VECTORS]; ROWS];
        for pair in 0..call.steps * 16 {
            let tile = weights.add(pair / 16 * 512 + pair % 16 * 16);
            let weights: [(L, L); VECTORS] = std::array::from_fn(|vector| {
                let column = column + vector * L::COUNT;
                L::load_pairs(tile.add(column / 16 * 256 + column % 16))
            });
            for (row, acc) in rows.iter().zip(&mut acc) {
                let bits = row.add(pair).read_unaligned();
                let (first, second) = (L::splat(f32::from_bits(bits << 16)), L::splat(f32::from_bits(bits & 0xFFFF_0000)));
                for (weights, acc) in weights.iter().zip(acc) {
                    *acc = second.mul_add(weights.1, first.mul_add(weights.0, *acc));
                }
            }
        }
        for (at, acc) in acc.iter().enumerate() {
            for (vector, acc) in acc.iter().enumerate() {
                acc.store(sums.as_mut_ptr().add((row + at) * PANEL_COLUMNS + column + vector * L::COUNT));
            }
        }
    }
}

/// Groups of four int8, summed in i32 whose bits lie in `sums`.
#[inline(always)]
fn int8(call: &Call<'_>, sums: &mut Sums) {
    let sums: &mut [i32] = bytemuck::cast_slice_mut(sums.as_mut_slice());
    let (weights, _) = call.panel.as_chunks::<64>();
    for (row, sums) in sums.chunks_exact_mut(PANEL_COLUMNS).enumerate().take(call.operand.rows) {
        let (groups, _) = call.row(row).as_chunks::<4>();
        for (group, x) in groups.iter().take(call.steps * 16).enumerate() {
            let x = x.map(|byte| i32::from(byte.cast_signed()));
            for (tile, sums) in sums.chunks_exact_mut(16).enumerate() {
                let weights = &weights[group / 16 * 32 + tile * 16 + group % 16];
                for (sum, weights) in sums.iter_mut().zip(weights.chunks_exact(4)) {
                    *sum += (0..4).map(|part| x[part] * i32::from(weights[part].cast_signed())).sum::<i32>();
                }
            }
        }
    }
}
