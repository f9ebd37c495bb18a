//! Several `f32` side by side: the alphabet in which activations, norms and attention are written once for every level
//! of instructions.
//!
//! A generic body `fn body<L: Lanes>` marked `#[inline(always)]` is inlined into one function per level that is compiled for that level, as
//! [`on_lanes`] writes it. Knows no shapes and no families.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;

#[cfg(test)]
mod tests;

use half::{bf16, f16};

#[cfg(target_arch = "x86_64")]
pub(crate) use avx512::turned;
pub(crate) use portable::Eight;

/// Some `f32` side by side. NaN rule of [`Lanes::min`], [`Lanes::max`]: the argument's lane wins when either is NaN, as the instruction has it.
///
/// Safety: every method may use the instructions of its level; callers are compiled for that level and hold its proof. Pointers need no
/// alignment beyond that of their type.
pub(crate) trait Lanes: Copy {
    /// How many.
    const COUNT: usize;
    /// The same value in all lanes.
    unsafe fn splat(value: f32) -> Self;
    /// Safety: `COUNT` values are readable.
    unsafe fn load(source: *const f32) -> Self;
    /// The first `len < COUNT` values, then zeros. Safety: `len` values are readable.
    unsafe fn load_part(source: *const f32, len: usize) -> Self;
    /// Safety: `COUNT` values are writable.
    unsafe fn store(self, target: *mut f32);
    /// Stores the first `len < COUNT` lanes. Safety: `len` values are writable.
    unsafe fn store_part(self, target: *mut f32, len: usize);
    /// Widened. Safety: `COUNT` values are readable.
    unsafe fn load_half(source: *const bf16) -> Self;
    /// Widened; what is not finite becomes some other number. Safety: `COUNT` values are readable.
    unsafe fn load_f16(source: *const f16) -> Self;
    /// Widened. Safety: `COUNT` values are readable.
    unsafe fn load_bytes(source: *const i8) -> Self;
    /// Widened: the first of each pair, and the second of each. Safety: `COUNT` pairs are readable.
    unsafe fn load_pairs(source: *const [bf16; 2]) -> (Self, Self);
    /// Rounded to nearest, ties to even; NaN stays NaN. Safety: `COUNT` values are writable.
    unsafe fn store_half(self, target: *mut bf16);
    /// `self + other`.
    unsafe fn add(self, other: Self) -> Self;
    /// `self - other`.
    unsafe fn sub(self, other: Self) -> Self;
    /// `self * other`.
    unsafe fn mul(self, other: Self) -> Self;
    /// `self / other`.
    unsafe fn div(self, other: Self) -> Self;
    /// `self * factor + sum`, fused where the level has it.
    unsafe fn mul_add(self, factor: Self, sum: Self) -> Self;
    /// The smaller.
    unsafe fn min(self, other: Self) -> Self;
    /// The larger.
    unsafe fn max(self, other: Self) -> Self;
    /// Magnitude.
    unsafe fn abs(self) -> Self;
    /// The magnitude of `self` with the sign of `other`.
    unsafe fn with_sign_of(self, other: Self) -> Self;
    /// Nearest integer, ties to even, for magnitudes below 2^22.
    unsafe fn round(self) -> Self;
    /// `self * 2^power` with one rounding at most, for integral powers of -250..=250.
    unsafe fn times_two_to(self, power: Self) -> Self;
    /// `1 / self` with a relative error of at most 2^-11; exact zeros and infinities may become NaN.
    unsafe fn reciprocal_near(self) -> Self;
    /// Lane by lane `if self < bound { yes } else { no }`; NaN takes `no`.
    unsafe fn if_below(self, bound: Self, yes: Self, no: Self) -> Self;
    /// The sum of the lanes in a fixed tree.
    unsafe fn sum_across(self) -> f32;
    /// The largest lane of lanes without NaN.
    unsafe fn max_across(self) -> f32;

    /// Writes the square of `COUNT` times `COUNT` values at `source` turned: its rows become columns of `target`, whose rows are `row` apart.
    ///
    /// Safety: the square is readable, `COUNT` values of `COUNT` rows of the target are writable.
    #[inline(always)]
    unsafe fn turn(source: *const f32, target: *mut f32, row: usize) {
        for at in 0..Self::COUNT * Self::COUNT {
            // SAFETY: granted by the caller.
            unsafe {
                *target.add(at / Self::COUNT * row + at % Self::COUNT) = *source.add(at % Self::COUNT * Self::COUNT + at / Self::COUNT)
            };
        }
    }

    /// The first `len < COUNT` lanes, then zeros.
    #[inline(always)]
    unsafe fn first(self, len: usize) -> Self {
        let mut lanes = [0.0; 16];
        // SAFETY: the array has room for `COUNT <= 16` values.
        unsafe {
            self.store_part(lanes.as_mut_ptr(), len);
            Self::load(lanes.as_ptr())
        }
    }

    /// [`Lanes::load_half`] of the first `len < COUNT` values, then zeros. Safety: `len` values are readable.
    #[inline(always)]
    unsafe fn load_half_part(source: *const bf16, len: usize) -> Self {
        let mut whole = [bf16::ZERO; 16];
        // SAFETY: `len < COUNT <= 16` values are readable by the caller's word; the array has `COUNT` and is no part of the source.
        unsafe {
            std::ptr::copy_nonoverlapping(source, whole.as_mut_ptr(), len);
            Self::load_half(whole.as_ptr())
        }
    }

    /// [`Lanes::store_half`] of the first `len < COUNT` lanes. Safety: `len` values are writable.
    #[inline(always)]
    unsafe fn store_half_part(self, target: *mut bf16, len: usize) {
        let mut whole = [bf16::ZERO; 16];
        // SAFETY: the array has room for `COUNT <= 16` values; `len < COUNT` of them are writable at the target by the caller's word.
        unsafe {
            self.store_half(whole.as_mut_ptr());
            std::ptr::copy_nonoverlapping(whole.as_ptr(), target, len);
        }
    }
}

/// A type that loads into `f32` lanes and is stored from them.
///
/// Safety: as [`Lanes`]; `len` of 1..=`COUNT` values are readable or writable at the pointer.
pub(crate) trait Element: Copy + Send + Sync + Default + 'static {
    /// The first `len` values, then zeros.
    unsafe fn load<L: Lanes>(source: *const Self, len: usize) -> L;
    /// Stores the first `len` lanes.
    unsafe fn store<L: Lanes>(lanes: L, target: *mut Self, len: usize);
}

impl Element for f32 {
    #[inline(always)]
    unsafe fn load<L: Lanes>(source: *const Self, len: usize) -> L {
        // SAFETY: granted by the caller.
        unsafe { if len == L::COUNT { L::load(source) } else { L::load_part(source, len) } }
    }
    #[inline(always)]
    unsafe fn store<L: Lanes>(lanes: L, target: *mut Self, len: usize) {
        // SAFETY: granted by the caller.
        unsafe { if len == L::COUNT { lanes.store(target) } else { lanes.store_part(target, len) } }
    }
}

impl Element for bf16 {
    #[inline(always)]
    unsafe fn load<L: Lanes>(source: *const Self, len: usize) -> L {
        // SAFETY: granted by the caller.
        unsafe { if len == L::COUNT { L::load_half(source) } else { L::load_half_part(source, len) } }
    }
    #[inline(always)]
    unsafe fn store<L: Lanes>(lanes: L, target: *mut Self, len: usize) {
        // SAFETY: granted by the caller.
        unsafe { if len == L::COUNT { lanes.store_half(target) } else { lanes.store_half_part(target, len) } }
    }
}

/// Writes the methods of [`Lanes`] that take lanes and give lanes.
macro_rules! lane_to_lane {
    ($($name:ident($this:ident $(, $arg:ident)*) => $body:expr;)*) => {
        $(
            #[inline(always)]
            unsafe fn $name($this $(, $arg: Self)*) -> Self {
                // SAFETY: the method is only inlined into functions compiled for its level, as the trait demands of callers.
                #[allow(unused_unsafe)]
                unsafe { $body }
            }
        )*
    };
}
pub(crate) use lane_to_lane;

/// Defines `fn name(isa, args)`, which runs the generic body `body::<L>(args)` compiled for the level's instructions.
///
/// The body is `#[inline(always)] unsafe fn body<L: Lanes>(args)`; types in brackets after the name are passed on behind `L`. What the body
/// demands beside the level is demanded of whoever calls the function that is defined here, and said there.
macro_rules! on_lanes {
    ($vis:vis fn $name:ident $([$($param:ident: $bound:path),*])? ($($arg:ident: $kind:ty),* $(,)?) = $body:ident) => {
        $vis unsafe fn $name $(<$($param: $bound),*>)? (isa: $crate::Isa, $($arg: $kind),*) {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            unsafe fn avx2 $(<$($param: $bound),*>)? ($($arg: $kind),*) {
                // SAFETY: this function is compiled for the level of the lanes; the rest is granted by the caller.
                unsafe { $body::<std::arch::x86_64::__m256 $($(, $param)*)?>($($arg),*) }
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx2,fma")]
            unsafe fn avx512 $(<$($param: $bound),*>)? ($($arg: $kind),*) {
                // SAFETY: this function is compiled for the level of the lanes; the rest is granted by the caller.
                unsafe { $body::<std::arch::x86_64::__m512 $($(, $param)*)?>($($arg),*) }
            }
            match isa {
                #[cfg(target_arch = "x86_64")]
                // SAFETY: the value can only be had where the processor has AVX2 and FMA; the rest is granted by the caller.
                $crate::Isa::Avx2(_) => unsafe { avx2 $(::<$($param),*>)? ($($arg),*) },
                #[cfg(target_arch = "x86_64")]
                // SAFETY: the value can only be had where the processor has AVX-512 F and BW; the rest is granted by the caller.
                $crate::Isa::Avx512(_) | $crate::Isa::Amx(_) => unsafe { avx512 $(::<$($param),*>)? ($($arg),*) },
                // SAFETY: these lanes use no instruction beyond the build target; the rest is granted by the caller.
                _ => unsafe { $body::<$crate::lanes::Eight $($(, $param)*)?>($($arg),*) },
            }
        }
    };
}
pub(crate) use on_lanes;
