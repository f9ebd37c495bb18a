//! Activations, element by element: GELU in both forms, SiLU, ReLU, tanh and sigmoid.
//!
//! One body for all widths: the functions are written without branches, so the compiler turns the loop into the vectors of the level it is compiled
//! for. The products' epilogues use the same formulas on the vectors they hold already.

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
mod portable;
mod reference;

#[cfg(test)]
mod tests;

use crate::Isa;

pub use reference::activation as reference;

/// A function of one number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Activation {
    /// x.
    #[default]
    Identity,
    /// x·Φ(x) with the error function (Hendrycks and Gimpel 2016, arXiv:1606.08415).
    Gelu,
    /// The approximation of GELU by tanh of the same paper.
    GeluTanh,
    /// max(0, x).
    Relu,
    /// x·σ(x).
    Silu,
    /// Hyperbolic tangent.
    Tanh,
    /// σ(x) = 1 / (1 + e⁻ˣ).
    Sigmoid,
}

impl Activation {
    /// All of them.
    pub const ALL: [Self; 7] = [Self::Identity, Self::Gelu, Self::GeluTanh, Self::Relu, Self::Silu, Self::Tanh, Self::Sigmoid];
}

/// Applies the function to every number, in place, on the calling thread. f32 in and out.
///
/// Within 3e-7 times the larger of 1 and |x| of the exact value. NaN stays NaN; infinities go where the limit lies. Never panics.
pub fn apply(activation: Activation, values: &mut [f32]) {
    apply_on(Isa::active(), activation, values);
}

/// The same for a given level of instructions, for tests and comparisons.
pub fn apply_on(isa: Isa, activation: Activation, values: &mut [f32]) {
    if activation == Activation::Identity {
        return;
    }
    match isa {
        Isa::Portable => portable::apply(activation, values),
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the proof can only be had where the processor has these instructions.
        Isa::Avx2(_) => unsafe { portable::apply_avx2(activation, values) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the proof can only be had where the processor has these instructions.
        Isa::Avx512(_) | Isa::Amx(_) => unsafe { avx512::apply(activation, values) },
        #[cfg(not(target_arch = "x86_64"))]
        Isa::Avx2(_) | Isa::Avx512(_) | Isa::Amx(_) => portable::apply(activation, values),
    }
}

/// Replaces every score by the exponential of its difference to the largest one and gives their sum; NaN with a NaN among them.
pub(crate) fn exponentials(scores: &mut [f32]) -> f32 {
    portable::exponentials(scores)
}

/// The same on AVX2.
///
/// # Safety
/// The processor has AVX2 and FMA.
#[cfg(target_arch = "x86_64")]
pub(crate) unsafe fn exponentials_avx2(scores: &mut [f32]) -> f32 {
    // SAFETY: the caller's promise.
    unsafe { portable::exponentials_avx2(scores) }
}
