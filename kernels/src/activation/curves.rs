//! The curves on lanes, written once for every level: exp, erf, tanh and the activations made of them.
//!
//! Full grade: within a few units in the last place of `f32`. Near grade (`_near`): relative error about 2^-10, for values that are rounded to
//! bf16 next. Polynomials: exp and tanh from Cephes (S. Moshier, 1992), erf in two branches that are joined at 475/512, the near ones are
//! minimax fits of this project. NaN stays NaN; infinities go where the limit lies.

use crate::lanes::Lanes;

/// A curve on lanes.
pub(crate) trait Curve {
    /// The value at every lane. Safety: as [`Lanes`].
    unsafe fn at<L: Lanes>(x: L) -> L;
}

/// Defines curves without state.
macro_rules! curves {
    ($($(#[$doc:meta])* $name:ident($x:ident) => $body:expr;)*) => {
        $(
            $(#[$doc])*
            pub(crate) struct $name;
            impl Curve for $name {
                #[inline(always)]
                unsafe fn at<L: Lanes>($x: L) -> L {
                    // SAFETY: the caller is compiled for the level of `L`.
                    #[allow(unused_unsafe)]
                    unsafe { $body }
                }
            }
        )*
    };
}

curves! {
    /// The argument.
    Identity(x) => x;
    /// `max(x, 0)`.
    Relu(x) => L::splat(0.0).max(x);
    /// `x Phi(x)` with the exact normal distribution.
    Gelu(x) => {
        let x = bounded(x);
        let half = x.mul(L::splat(0.5));
        half.mul_add(erf(x.mul(L::splat(std::f32::consts::FRAC_1_SQRT_2))), half)
    };
    /// The tanh form of GELU.
    GeluTanh(x) => {
        let x = bounded(x);
        let cubic = x.mul(x).mul_add(L::splat(2.0 * 0.797_884_6 * 0.044_715), L::splat(2.0 * 0.797_884_6));
        x.div(one_plus_exp_minus(cubic.mul(x)))
    };
    /// `x sigmoid(x)`.
    Silu(x) => bounded(x).div(one_plus_exp_minus(x));
    /// `1 / (1 + exp(-x))`.
    Sigmoid(x) => L::splat(1.0).div(one_plus_exp_minus(x));
    /// Hyperbolic tangent.
    Tanh(x) => tanh(x);
    /// [`Gelu`] with an absolute error of 2.2e-4.
    GeluNear(x) => distribution_near(x, GELU_NEAR).mul(shallow(x));
    /// [`GeluTanh`] with an absolute error of 2.5e-4.
    GeluTanhNear(x) => distribution_near(x, GELU_TANH_NEAR).mul(shallow(x));
    /// [`Silu`], near.
    SiluNear(x) => sigmoid_near(x).mul(shallow(x));
    /// [`Sigmoid`], near.
    SigmoidNear(x) => sigmoid_near(x);
}

/// Runs `$body` with `$curve` standing for the curve of an activation: the near one where the grade says so and there is one.
macro_rules! with_curve {
    ($activation:expr, $grade:expr, $curve:ident => $body:expr) => {{
        use $crate::activation::{Activation, Grade, curves};
        macro_rules! with {
            ($name:ident) => {{
                type $curve = curves::$name;
                $body
            }};
        }
        match ($activation, $grade) {
            (Activation::Identity, _) => with!(Identity),
            (Activation::Relu, _) => with!(Relu),
            (Activation::Tanh, _) => with!(Tanh),
            (Activation::Gelu, Grade::Full) => with!(Gelu),
            (Activation::Gelu, Grade::Near) => with!(GeluNear),
            (Activation::GeluTanh, Grade::Full) => with!(GeluTanh),
            (Activation::GeluTanh, Grade::Near) => with!(GeluTanhNear),
            (Activation::Silu, Grade::Full) => with!(Silu),
            (Activation::Silu, Grade::Near) => with!(SiluNear),
            (Activation::Sigmoid, Grade::Full) => with!(Sigmoid),
            (Activation::Sigmoid, Grade::Near) => with!(SigmoidNear),
        }
    }};
}
pub(crate) use with_curve;

/// A polynomial, highest coefficient first. Safety: as [`Lanes`].
#[inline(always)]
unsafe fn polynomial<L: Lanes, const N: usize>(x: L, coefficients: [f32; N]) -> L {
    // SAFETY: the caller is compiled for the level of `L`.
    unsafe { coefficients[1..].iter().fold(L::splat(coefficients[0]), |sum, next| sum.mul_add(x, L::splat(*next))) }
}

/// `e^x`, relative error about 1.2e-7; 0.0 from -104 down, infinity from 88.73 up. Safety: as [`Lanes`].
#[inline(always)]
pub(crate) unsafe fn exp<L: Lanes>(x: L) -> L {
    // SAFETY: the caller is compiled for the level of `L`.
    unsafe { exp_bounded(L::splat(-104.0).max(L::splat(89.0).min(x))) }
}

/// [`exp`] for arguments of -104..=89. Safety: as [`Lanes`].
#[inline(always)]
unsafe fn exp_bounded<L: Lanes>(x: L) -> L {
    const TERMS: [f32; 6] = [1.987_569_1e-4, 1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5];
    // SAFETY: the caller is compiled for the level of `L`.
    unsafe {
        let power = x.mul(L::splat(std::f32::consts::LOG2_E)).round();
        let rest = power.mul_add(L::splat(2.121_944_4e-4), power.mul_add(L::splat(-0.693_359_4), x));
        let sum = polynomial(rest, TERMS).mul_add(rest.mul(rest), rest.add(L::splat(1.0)));
        sum.times_two_to(power)
    }
}

/// [`exp`] for arguments up to 0, with 0.0 in place of results below the normal range: they would be rounded to zero behind the sum anyway, and cost
/// many times more. Safety: as [`Lanes`].
#[inline(always)]
pub(crate) unsafe fn exp_falling<L: Lanes>(x: L) -> L {
    const LOWEST: f32 = -87.0;
    // SAFETY: the caller is compiled for the level of `L`.
    unsafe { x.if_below(L::splat(LOWEST), L::splat(0.0), exp_bounded(L::splat(LOWEST).max(x))) }
}

/// `e^x` with a relative error of 8e-5, for arguments up to 88. Safety: as [`Lanes`].
#[inline(always)]
pub(crate) unsafe fn exp_near<L: Lanes>(x: L) -> L {
    // SAFETY: the caller is compiled for the level of `L`.
    unsafe { exp2_near(L::splat(-150.0).max(x.mul(L::splat(std::f32::consts::LOG2_E)))) }
}

/// `2^x` for arguments of -150..=127, as [`exp_near`]. Safety: as [`Lanes`].
#[inline(always)]
unsafe fn exp2_near<L: Lanes>(x: L) -> L {
    const TERMS: [f32; 4] = [0.055_171_665, 0.242_611_13, 0.693_260_97, 0.999_928_06];
    // SAFETY: the caller is compiled for the level of `L`.
    unsafe {
        let power = x.round();
        polynomial(x.sub(power), TERMS).times_two_to(power)
    }
}

/// The error function, within one unit in the last place. Safety: as [`Lanes`].
#[inline(always)]
pub(crate) unsafe fn erf<L: Lanes>(x: L) -> L {
    const JOINT: f32 = 475.0 / 512.0;
    const INNER: [f32; 6] = [-5.967_617e-4, 4.991_194_2e-3, -2.676_813_5e-2, 1.128_199_25e-1, -3.761_253_4e-1, 1.283_791_7e-1];
    const OUTER: [f32; 7] =
        [-1.728_534_7e-5, 3.831_972e-4, -3.883_964_4e-3, 2.425_462_2e-2, -1.067_778_8e-1, -6.348_467e-1, -1.287_175_1e-1];
    // SAFETY: the caller is compiled for the level of `L`.
    unsafe {
        // At 6 the function is 1 to the last place, and its exponential still a normal number.
        let distance = L::splat(6.0).min(x.abs());
        let inner = polynomial(x.mul(x), INNER).mul_add(x, x);
        let exponent = polynomial(distance, OUTER).mul_add(distance, L::splat(0.0).sub(distance));
        let outer = L::splat(1.0).sub(exp(exponent)).with_sign_of(x);
        distance.if_below(L::splat(JOINT), inner, outer)
    }
}

/// The hyperbolic tangent. Safety: as [`Lanes`].
#[inline(always)]
pub(crate) unsafe fn tanh<L: Lanes>(x: L) -> L {
    const INNER: [f32; 5] = [-5.704_988_7e-3, 2.063_909e-2, -5.373_971_6e-2, 1.333_144_2e-1, -3.333_328e-1];
    // SAFETY: the caller is compiled for the level of `L`.
    unsafe {
        let square = x.mul(x);
        let inner = polynomial(square, INNER).mul(square).mul_add(x, x);
        let grown = exp(x.abs().mul(L::splat(2.0))).add(L::splat(1.0));
        let outer = L::splat(1.0).sub(L::splat(2.0).div(grown)).with_sign_of(x);
        x.abs().if_below(L::splat(0.625), inner, outer)
    }
}

/// Minus infinity as a number, so that its product with 0 is one. Safety: as [`Lanes`].
#[inline(always)]
unsafe fn bounded<L: Lanes>(x: L) -> L {
    // SAFETY: the caller is compiled for the level of `L`.
    unsafe { L::splat(f32::MIN).max(x) }
}

/// No further down than where near curves are 0 to their grade. Safety: as [`Lanes`].
#[inline(always)]
unsafe fn shallow<L: Lanes>(x: L) -> L {
    // SAFETY: the caller is compiled for the level of `L`.
    unsafe { L::splat(-64.0).max(x) }
}

/// `1 + e^-x`. Safety: as [`Lanes`].
#[inline(always)]
unsafe fn one_plus_exp_minus<L: Lanes>(x: L) -> L {
    // SAFETY: the caller is compiled for the level of `L`.
    unsafe { exp(L::splat(0.0).sub(x)).add(L::splat(1.0)) }
}

/// Sigmoid with a relative error of about 2^-11. Safety: as [`Lanes`].
#[inline(always)]
unsafe fn sigmoid_near<L: Lanes>(x: L) -> L {
    // SAFETY: the caller is compiled for the level of `L`. The bound keeps the sum finite, whose reciprocal is then a number.
    unsafe { exp_near(L::splat(80.0).min(L::splat(0.0).sub(x))).add(L::splat(1.0)).reciprocal_near() }
}

/// `(Phi(x) - 1/2) / x` as a polynomial of `x^2` for `|x| <= 4`; at 4 it gives a hair less than 1/8, so that the curve ends
/// near 0 and near, never beyond, `x`.
const GELU_NEAR: [f32; 7] = [2.258_815_3e-8, -1.588_824_1e-6, 4.776_382_4e-5, -8.121_868e-4, 8.763_688e-3, -6.455_44e-2, 3.978_699e-1];
/// The same for the tanh form.
const GELU_TANH_NEAR: [f32; 7] =
    [2.346_876_5e-8, -1.640_718_8e-6, 4.893_442_4e-5, -8.244_735e-4, 8.818_705e-3, -6.459_668e-2, 3.977_133e-1];

/// A distribution function from such a polynomial. Safety: as [`Lanes`].
#[inline(always)]
unsafe fn distribution_near<L: Lanes>(x: L, coefficients: [f32; 7]) -> L {
    // SAFETY: the caller is compiled for the level of `L`.
    unsafe {
        let x = L::splat(-4.0).max(L::splat(4.0).min(x));
        polynomial(x.mul(x), coefficients).mul_add(x, L::splat(0.5))
    }
}
