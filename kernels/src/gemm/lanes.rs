//! Vectors of single-precision lanes: what the portable products need of an instruction set.

/// Lanes that multiply and add together.
///
/// # Safety
/// Every method may only run where the processor has the instructions of the implementing type; they are inlined into functions compiled for them.
pub(super) trait Lanes: Copy {
    const COUNT: usize;
    /// # Safety
    /// See the trait.
    unsafe fn zero() -> Self;
    /// # Safety
    /// See the trait; `COUNT` numbers are readable.
    unsafe fn load(source: *const f32) -> Self;
    /// # Safety
    /// See the trait.
    unsafe fn splat(value: f32) -> Self;
    /// `self * other + sum`.
    /// # Safety
    /// See the trait.
    unsafe fn mul_add(self, other: Self, sum: Self) -> Self;
    /// The two halves of `COUNT` pairs of bf16 as f32: the first of each pair, the second of each.
    /// # Safety
    /// See the trait; `COUNT` pairs are readable.
    unsafe fn pairs(source: *const f32) -> (Self, Self);
    /// # Safety
    /// See the trait; `COUNT` numbers are writable.
    unsafe fn store(self, target: *mut f32);
}

/// Lanes of any processor; product and sum are rounded one after the other.
#[derive(Clone, Copy)]
pub(super) struct Plain([f32; 8]);

// SAFETY of the blocks below: they need no instructions beyond the target's; the callers grant the memory.
impl Lanes for Plain {
    const COUNT: usize = 8;
    #[inline(always)]
    unsafe fn zero() -> Self {
        Self([0.0; 8])
    }
    #[inline(always)]
    unsafe fn load(source: *const f32) -> Self {
        // SAFETY: see above.
        Self(unsafe { source.cast::<[f32; 8]>().read_unaligned() })
    }
    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        Self([value; 8])
    }
    #[inline(always)]
    unsafe fn mul_add(self, other: Self, sum: Self) -> Self {
        Self(std::array::from_fn(|lane| self.0[lane] * other.0[lane] + sum.0[lane]))
    }
    #[inline(always)]
    unsafe fn pairs(source: *const f32) -> (Self, Self) {
        // SAFETY: see above.
        let bits: [u32; 8] = unsafe { source.cast::<[u32; 8]>().read_unaligned() };
        (Self(bits.map(|pair| f32::from_bits(pair << 16))), Self(bits.map(|pair| f32::from_bits(pair & 0xFFFF_0000))))
    }
    #[inline(always)]
    unsafe fn store(self, target: *mut f32) {
        // SAFETY: see above.
        unsafe { target.cast::<[f32; 8]>().write_unaligned(self.0) }
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) use x86::{Half, Whole};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::Lanes;

    /// 256 bits.
    #[derive(Clone, Copy)]
    pub(crate) struct Half(__m256);

    // SAFETY of the blocks below: the methods are only inlined into functions compiled for AVX2 and FMA; the callers grant the memory.
    impl Lanes for Half {
        const COUNT: usize = 8;
        #[inline(always)]
        unsafe fn zero() -> Self {
            // SAFETY: see above.
            Self(unsafe { _mm256_setzero_ps() })
        }
        #[inline(always)]
        unsafe fn load(source: *const f32) -> Self {
            // SAFETY: see above.
            Self(unsafe { _mm256_loadu_ps(source) })
        }
        #[inline(always)]
        unsafe fn splat(value: f32) -> Self {
            // SAFETY: see above.
            Self(unsafe { _mm256_set1_ps(value) })
        }
        #[inline(always)]
        unsafe fn mul_add(self, other: Self, sum: Self) -> Self {
            // SAFETY: see above.
            Self(unsafe { _mm256_fmadd_ps(self.0, other.0, sum.0) })
        }
        #[inline(always)]
        unsafe fn pairs(source: *const f32) -> (Self, Self) {
            // SAFETY: see above.
            unsafe {
                let bits = _mm256_loadu_si256(source.cast());
                let second = _mm256_and_si256(bits, _mm256_set1_epi32(0xFFFF_0000u32.cast_signed()));
                (Self(_mm256_castsi256_ps(_mm256_slli_epi32::<16>(bits))), Self(_mm256_castsi256_ps(second)))
            }
        }
        #[inline(always)]
        unsafe fn store(self, target: *mut f32) {
            // SAFETY: see above.
            unsafe { _mm256_storeu_ps(target, self.0) }
        }
    }

    /// 512 bits.
    #[derive(Clone, Copy)]
    pub(crate) struct Whole(__m512);

    // SAFETY of the blocks below: the methods are only inlined into functions compiled for AVX-512 F; the callers grant the memory.
    impl Lanes for Whole {
        const COUNT: usize = 16;
        #[inline(always)]
        unsafe fn zero() -> Self {
            // SAFETY: see above.
            Self(unsafe { _mm512_setzero_ps() })
        }
        #[inline(always)]
        unsafe fn load(source: *const f32) -> Self {
            // SAFETY: see above.
            Self(unsafe { _mm512_loadu_ps(source) })
        }
        #[inline(always)]
        unsafe fn splat(value: f32) -> Self {
            // SAFETY: see above.
            Self(unsafe { _mm512_set1_ps(value) })
        }
        #[inline(always)]
        unsafe fn mul_add(self, other: Self, sum: Self) -> Self {
            // SAFETY: see above.
            Self(unsafe { _mm512_fmadd_ps(self.0, other.0, sum.0) })
        }
        #[inline(always)]
        unsafe fn pairs(source: *const f32) -> (Self, Self) {
            // SAFETY: see above.
            unsafe {
                let bits = _mm512_loadu_si512(source.cast());
                let second = _mm512_and_si512(bits, _mm512_set1_epi32(0xFFFF_0000u32.cast_signed()));
                (Self(_mm512_castsi512_ps(_mm512_slli_epi32::<16>(bits))), Self(_mm512_castsi512_ps(second)))
            }
        }
        #[inline(always)]
        unsafe fn store(self, target: *mut f32) {
            // SAFETY: see above.
            unsafe { _mm512_storeu_ps(target, self.0) }
        }
    }
}
