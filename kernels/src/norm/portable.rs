//! One body for all widths: sums over lanes, which the compiler turns into the vectors of the level it is compiled for.

use super::Norm;
use crate::Isa;

const LANES: usize = 16;

pub(super) fn rows(isa: Isa, values: (&[f32], f32), norm: &Norm<'_>, out: &mut [f32]) {
    match isa {
        Isa::Portable => body(values, norm, out),
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the proof can only be had where the processor has these instructions.
        Isa::Avx2(_) => unsafe { avx2(values, norm, out) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the proof can only be had where the processor has these instructions.
        Isa::Avx512(_) | Isa::Amx(_) => unsafe { avx512(values, norm, out) },
        #[cfg(not(target_arch = "x86_64"))]
        Isa::Avx2(_) | Isa::Avx512(_) | Isa::Amx(_) => body(values, norm, out),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn avx2(values: (&[f32], f32), norm: &Norm<'_>, out: &mut [f32]) {
    body(values, norm, out);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn avx512(values: (&[f32], f32), norm: &Norm<'_>, out: &mut [f32]) {
    body(values, norm, out);
}

#[inline(always)]
fn body((rows, epsilon): (&[f32], f32), norm: &Norm<'_>, out: &mut [f32]) {
    let (scale, shift) = (norm.scale(), norm.shift());
    let dim = scale.len();
    for (row, out) in rows.chunks_exact(dim).zip(out.chunks_exact_mut(dim)) {
        let mean = if matches!(norm, Norm::Layer { .. }) { sum(row, |value| value) / dim as f32 } else { 0.0 };
        let square = sum(row, |value| (value - mean) * (value - mean)) / dim as f32;
        let factor = 1.0 / (square + epsilon).sqrt();
        match shift {
            Some(shift) => {
                for (((out, value), scale), shift) in out.iter_mut().zip(row).zip(scale).zip(shift) {
                    *out = (value - mean) * factor * scale + shift;
                }
            }
            None => {
                for ((out, value), scale) in out.iter_mut().zip(row).zip(scale) {
                    *out = (value - mean) * factor * scale;
                }
            }
        }
    }
}

#[inline(always)]
fn sum(row: &[f32], term: impl Fn(f32) -> f32) -> f32 {
    let (chunks, rest) = row.as_chunks::<LANES>();
    let mut sums = [0f32; LANES];
    for chunk in chunks {
        for (sum, value) in sums.iter_mut().zip(chunk) {
            *sum += term(*value);
        }
    }
    for (sum, value) in sums.iter_mut().zip(rest) {
        *sum += term(*value);
    }
    sums.iter().sum()
}
