//! Eight lanes as an array, which the compiler turns into what the build target has.

use half::{bf16, f16};

use super::{Lanes, lane_to_lane};

/// Fused multiply-add is one instruction on this target; elsewhere it would be a library call.
const FUSED: bool = cfg!(target_arch = "aarch64");
/// Adding and subtracting it rounds to an integer; the integer stands in the low bits of the sum.
const MAGIC: f32 = 12_582_912.0;

/// Eight `f32` in an array.
#[derive(Clone, Copy)]
pub(crate) struct Eight([f32; 8]);

#[inline(always)]
fn each(value: impl Fn(usize) -> f32) -> Eight {
    Eight(std::array::from_fn(value))
}

#[inline(always)]
fn two_to(power: i32) -> f32 {
    f32::from_bits((power.wrapping_add(127) as u32) << 23)
}

/// `value * 2^power` in two exact steps and one that may round.
#[inline(always)]
fn scaled(value: f32, power: f32) -> f32 {
    let power = ((power + MAGIC).to_bits() as i32).wrapping_sub(MAGIC.to_bits() as i32);
    let half = power >> 1;
    value * two_to(half) * two_to(power.wrapping_sub(half))
}

#[inline(always)]
fn narrowed(value: f32) -> bf16 {
    let bits = value.to_bits();
    let rounded = bits.wrapping_add(0x7FFF + ((bits >> 16) & 1)) >> 16;
    bf16::from_bits(if value.is_nan() { (bits >> 16) | 0x40 } else { rounded } as u16)
}

impl Lanes for Eight {
    const COUNT: usize = 8;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        Self([value; 8])
    }
    #[inline(always)]
    unsafe fn load(source: *const f32) -> Self {
        // SAFETY: the caller grants eight readable values; the read needs no alignment.
        Self(unsafe { source.cast::<[f32; 8]>().read_unaligned() })
    }
    #[inline(always)]
    unsafe fn load_part(source: *const f32, len: usize) -> Self {
        let mut lanes = [0.0; 8];
        // SAFETY: the caller grants `len` readable values.
        lanes[..len].copy_from_slice(unsafe { std::slice::from_raw_parts(source, len) });
        Self(lanes)
    }
    #[inline(always)]
    unsafe fn store(self, target: *mut f32) {
        // SAFETY: the caller grants eight writable values; the write needs no alignment.
        unsafe { target.cast::<[f32; 8]>().write_unaligned(self.0) }
    }
    #[inline(always)]
    unsafe fn store_part(self, target: *mut f32, len: usize) {
        // SAFETY: the caller grants `len` writable values.
        unsafe { std::slice::from_raw_parts_mut(target, len) }.copy_from_slice(&self.0[..len]);
    }
    #[inline(always)]
    unsafe fn load_half(source: *const bf16) -> Self {
        // SAFETY: the caller grants eight readable values; the read needs no alignment.
        let halves = unsafe { source.cast::<[u16; 8]>().read_unaligned() };
        each(|l| f32::from_bits(u32::from(halves[l]) << 16))
    }
    #[inline(always)]
    unsafe fn load_f16(source: *const f16) -> Self {
        // SAFETY: the caller grants eight readable values; the read needs no alignment.
        let values = unsafe { source.cast::<[f16; 8]>().read_unaligned() };
        each(|lane| values[lane].to_f32_const())
    }
    #[inline(always)]
    unsafe fn load_bytes(source: *const i8) -> Self {
        // SAFETY: the caller grants eight readable values.
        let values = unsafe { source.cast::<[i8; 8]>().read() };
        each(|lane| values[lane].into())
    }
    #[inline(always)]
    unsafe fn load_pairs(source: *const [bf16; 2]) -> (Self, Self) {
        // SAFETY: the caller grants eight readable pairs; the read needs no alignment.
        let pairs = unsafe { source.cast::<[[u16; 2]; 8]>().read_unaligned() };
        let part = |at: usize| each(|l| f32::from_bits(u32::from(pairs[l][at]) << 16));
        (part(0), part(1))
    }
    #[inline(always)]
    unsafe fn store_half(self, target: *mut bf16) {
        let halves: [bf16; 8] = std::array::from_fn(|l| narrowed(self.0[l]));
        // SAFETY: the caller grants eight writable values; the write needs no alignment.
        unsafe { target.cast::<[bf16; 8]>().write_unaligned(halves) }
    }

    lane_to_lane! {
        add(self, other) => each(|l| self.0[l] + other.0[l]);
        sub(self, other) => each(|l| self.0[l] - other.0[l]);
        mul(self, other) => each(|l| self.0[l] * other.0[l]);
        div(self, other) => each(|l| self.0[l] / other.0[l]);
        mul_add(self, factor, sum) => each(|l| {
            if FUSED { self.0[l].mul_add(factor.0[l], sum.0[l]) } else { self.0[l] * factor.0[l] + sum.0[l] }
        });
        min(self, other) => each(|l| if self.0[l] < other.0[l] { self.0[l] } else { other.0[l] });
        max(self, other) => each(|l| if self.0[l] > other.0[l] { self.0[l] } else { other.0[l] });
        abs(self) => each(|l| self.0[l].abs());
        with_sign_of(self, other) => each(|l| self.0[l].copysign(other.0[l]));
        round(self) => each(|l| (self.0[l] + MAGIC) - MAGIC);
        times_two_to(self, power) => each(|l| scaled(self.0[l], power.0[l]));
        reciprocal_near(self) => each(|l| 1.0 / self.0[l]);
        if_below(self, bound, yes, no) => each(|l| if self.0[l] < bound.0[l] { yes.0[l] } else { no.0[l] });
    }

    #[inline(always)]
    unsafe fn sum_across(self) -> f32 {
        let four: [f32; 4] = std::array::from_fn(|l| self.0[l] + self.0[l + 4]);
        (four[0] + four[2]) + (four[1] + four[3])
    }
    #[inline(always)]
    unsafe fn max_across(self) -> f32 {
        self.0.into_iter().fold(f32::NEG_INFINITY, f32::max)
    }
}
