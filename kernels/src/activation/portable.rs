//! The formulas on one number without a branch, and loops over them.
//!
//! The exponential is 2ⁿ times a polynomial on ±ln 2 / 2 (the Taylor polynomial of degree 7, whose rest is below 1e-8 there); the error function is 7.1.26 of Abramowitz and
//! Stegun, *Handbook of Mathematical Functions* (1.5e-7 absolute).

use super::Activation;

/// Beyond this magnitude eˣ has left the normal range of f32.
const EXP_LIMIT: f32 = 87.0;
pub(super) const LN2_HIGH: f32 = 0.693_359_4;
pub(super) const LN2_LOW: f32 = -2.121_944_4e-4;
/// Coefficients of the exponential, highest power first, without the last two, which are 1.
pub(super) const EXP: [f32; 6] = [1.0 / 5040.0, 1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5];
/// Coefficients of the error function, highest power first.
pub(super) const ERF: [f32; 5] = [1.061_405_4, -1.453_152, 1.421_413_8, -0.284_496_74, 0.254_829_6];
/// Of its argument.
pub(super) const ERF_P: f32 = 0.327_591_1;
/// √(2/π), of the approximation by tanh.
pub(super) const TANH_SCALE: f32 = 0.797_884_6;
pub(super) const TANH_CUBE: f32 = 0.044_715;

#[inline(always)]
fn exp(x: f32) -> f32 {
    // NaN passes the comparison by and stays.
    let bounded = if x > EXP_LIMIT { EXP_LIMIT } else { x };
    let bounded = if bounded < -EXP_LIMIT { -EXP_LIMIT } else { bounded };
    let n = (bounded * std::f32::consts::LOG2_E).round_ties_even();
    let r = bounded - n * LN2_HIGH - n * LN2_LOW;
    let p = EXP.iter().fold(0.0, |p, c| p * r + c);
    let power = f32::from_bits(((n as i32).wrapping_add(127) as u32) << 23);
    ((p * r + 1.0) * r + 1.0) * power
}

#[inline(always)]
fn erf(x: f32) -> f32 {
    let z = x.abs();
    let t = 1.0 / (1.0 + ERF_P * z);
    let p = ERF.iter().fold(0.0, |p, c| p * t + c) * t;
    (1.0 - p * exp(-z * z)).copysign(x)
}

/// tanh by the exponential of twice the magnitude; small arguments by the first terms of its series, where the difference would cancel.
#[inline(always)]
fn tanh(x: f32) -> f32 {
    let z = x.abs();
    let e = exp(-2.0 * z);
    let far = (1.0 - e) / (1.0 + e);
    let s = z * z;
    let near = z + z * s * (-1.0 / 3.0 + s * (2.0 / 15.0 - s * (17.0 / 315.0)));
    (if z < 0.15 { near } else { far }).copysign(x)
}

#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// x times `share`, which is 0 where x is −∞.
#[inline(always)]
fn times(x: f32, share: f32) -> f32 {
    if x == f32::NEG_INFINITY { 0.0 } else { x * share }
}

#[inline(always)]
fn body(activation: Activation, values: &mut [f32]) {
    match activation {
        Activation::Identity => {}
        Activation::Gelu => values.iter_mut().for_each(|x| *x = times(*x, 0.5 * (1.0 + erf(*x * std::f32::consts::FRAC_1_SQRT_2)))),
        Activation::GeluTanh => values.iter_mut().for_each(|x| {
            *x = times(*x, 0.5 * (1.0 + tanh(TANH_SCALE * (*x + TANH_CUBE * *x * *x * *x))));
        }),
        Activation::Relu => values.iter_mut().for_each(|x| *x = if *x < 0.0 { 0.0 } else { *x }),
        Activation::Silu => values.iter_mut().for_each(|x| *x = times(*x, sigmoid(*x))),
        Activation::Tanh => values.iter_mut().for_each(|x| *x = tanh(*x)),
        Activation::Sigmoid => values.iter_mut().for_each(|x| *x = sigmoid(*x)),
    }
}

/// Lanes of the sums below.
const LANES: usize = 16;

/// See [`super::exponentials`].
#[inline(always)]
pub(super) fn exponentials(scores: &mut [f32]) -> f32 {
    let mut largest = [f32::NEG_INFINITY; LANES];
    let (whole, rest) = scores.as_chunks::<LANES>();
    for chunk in whole {
        largest.iter_mut().zip(chunk).for_each(|(largest, &score)| *largest = if score > *largest { score } else { *largest });
    }
    let largest = largest.iter().chain(rest).fold(f32::NEG_INFINITY, |a, &b| if b > a { b } else { a });
    let mut sums = [0f32; LANES];
    let (whole, rest) = scores.as_chunks_mut::<LANES>();
    for chunk in whole {
        for (sum, score) in sums.iter_mut().zip(chunk) {
            *score = exp(*score - largest);
            *sum += *score;
        }
    }
    for (sum, score) in sums.iter_mut().zip(rest) {
        *score = exp(*score - largest);
        *sum += *score;
    }
    sums.iter().sum()
}

/// # Safety
/// The processor has AVX2 and FMA.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn exponentials_avx2(scores: &mut [f32]) -> f32 {
    exponentials(scores)
}

pub(super) fn apply(activation: Activation, values: &mut [f32]) {
    body(activation, values);
}

/// # Safety
/// The processor has AVX2 and FMA.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn apply_avx2(activation: Activation, values: &mut [f32]) {
    body(activation, values);
}
