//! One body, compiled for every width of vectors. The next row is fetched while one is added: the rows of a cluster lie anywhere.

use crate::{Isa, Rows};

/// Numbers of a cache line.
const LINE: usize = 16;
/// Rows that are fetched ahead.
const AHEAD: usize = 3;

/// The members were checked.
pub(super) fn add(isa: Isa, members: (Rows<'_>, &[u32]), scales: Option<&[f64]>, out: &mut [f64]) {
    match isa {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the value can only be had where the processor has these instructions.
        Isa::Avx512(_) | Isa::Amx(_) => unsafe { add_avx512(members, scales, out) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Isa::Avx2(_) => unsafe { add_avx2(members, scales, out) },
        _ => body(members, scales, out),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
unsafe fn add_avx512(members: (Rows<'_>, &[u32]), scales: Option<&[f64]>, out: &mut [f64]) {
    body(members, scales, out);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn add_avx2(members: (Rows<'_>, &[u32]), scales: Option<&[f64]>, out: &mut [f64]) {
    body(members, scales, out);
}

#[inline(always)]
fn body((rows, members): (Rows<'_>, &[u32]), scales: Option<&[f64]>, out: &mut [f64]) {
    for (at, member) in members.iter().enumerate() {
        if let Some(next) = members.get(at + AHEAD) {
            fetch(rows.row(*next as usize));
        }
        let row = rows.row(*member as usize);
        match scales {
            None => out.iter_mut().zip(row).for_each(|(out, value)| *out += f64::from(*value)),
            Some(scales) => {
                let scale = scales[*member as usize];
                out.iter_mut().zip(row).for_each(|(out, value)| *out += f64::from(*value) * scale);
            }
        }
    }
}

/// Asks for a row's memory before it is needed.
#[inline(always)]
fn fetch(row: &[f32]) {
    #[cfg(target_arch = "x86_64")]
    for line in row.chunks(LINE) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: SSE is part of x86-64, and a prefetch reads nothing.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _: (&[f32], usize) = (row, LINE);
}
