//! Activations, element by element: GELU in both forms, SiLU, ReLU, tanh and sigmoid.
//!
//! The curves are written once on lanes and compiled for every level; loops here, norms, attention and the epilogues of products use the same ones.

pub(crate) mod curves;
mod reference;
pub mod tensor;

#[cfg(test)]
mod tests;

use half::bf16;

use crate::gemm::Output;
use crate::lanes::{Element, Lanes, on_lanes};
use crate::{Isa, KernelError};
use curves::{Curve, with_curve};

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

/// How close to the exact function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Grade {
    /// Within 3e-7 times the larger of 1 and |x|.
    Full,
    /// Within 1/1024 of the larger of 1 and |x|, which the rounding to bf16 that follows hides; faster.
    Near,
}

/// Applies the function to every number, in place, on the calling thread. f32 in and out.
///
/// Within 3e-7 times the larger of 1 and |x| of the exact value. NaN stays NaN; infinities go where the limit lies. Never panics.
pub fn apply(activation: Activation, values: &mut [f32]) {
    apply_on(Isa::active(), activation, values);
}

/// The same for a given level of instructions, for tests and comparisons.
pub fn apply_on(isa: Isa, activation: Activation, values: &mut [f32]) {
    apply_graded(isa, (activation, Grade::Full), values);
}

/// The same at a chosen grade.
pub fn apply_graded(isa: Isa, function: (Activation, Grade), values: &mut [f32]) {
    if function.0 != Activation::Identity {
        // SAFETY: the body demands nothing beside the level.
        unsafe { apply_lanes(isa, function, values) }
    }
}

/// `out = function(gate) * up`, number by number: GeGLU with GELU, SwiGLU with SiLU. On the calling thread; `bf16` outputs are rounded once.
///
/// Shapes: all of one length. Errors: `Mismatch` otherwise.
pub fn gate(function: (Activation, Grade), gate: &[f32], up: &[f32], out: Output<'_>) -> Result<(), KernelError> {
    gate_on(Isa::active(), function, (gate, up), out)
}

/// The same for a given level of instructions, for tests and comparisons.
pub fn gate_on(isa: Isa, function: (Activation, Grade), pair: (&[f32], &[f32]), out: Output<'_>) -> Result<(), KernelError> {
    let expected = pair.0.len();
    for (what, got) in [("up numbers", pair.1.len()), ("outputs", out.len())] {
        if got != expected {
            return Err(KernelError::Mismatch { op: "gate", what, expected, got });
        }
    }
    match out {
        // SAFETY: the lengths were checked above.
        Output::F32(out) => unsafe { gate_lanes::<f32>(isa, function, pair, out) },
        // SAFETY: the lengths were checked above.
        Output::Bf16(out) => unsafe { gate_lanes::<bf16>(isa, function, pair, out) },
    }
    Ok(())
}

on_lanes! {
    fn apply_lanes(function: (Activation, Grade), values: &mut [f32]) = apply_body
}

on_lanes! {
    fn gate_lanes[T: Element](function: (Activation, Grade), pair: (&[f32], &[f32]), out: &mut [T]) = gate_body
}

/// Safety: as [`Lanes`].
#[inline(always)]
unsafe fn apply_body<L: Lanes>((activation, grade): (Activation, Grade), values: &mut [f32]) {
    // SAFETY: granted by the caller.
    unsafe { with_curve!(activation, grade, C => each::<L, C>(values)) }
}

/// Safety: as [`Lanes`].
#[inline(always)]
unsafe fn each<L: Lanes, C: Curve>(values: &mut [f32]) {
    for values in values.chunks_mut(L::COUNT) {
        // SAFETY: the chunk has the length that is passed; the caller is compiled for the level.
        unsafe { f32::store::<L>(C::at(f32::load::<L>(values.as_ptr(), values.len())), values.as_mut_ptr(), values.len()) }
    }
}

/// Safety: as [`Lanes`]; the three lengths agree.
#[inline(always)]
unsafe fn gate_body<L: Lanes, T: Element>((activation, grade): (Activation, Grade), pair: (&[f32], &[f32]), out: &mut [T]) {
    // SAFETY: granted by the caller.
    unsafe { with_curve!(activation, grade, C => each_pair::<L, C, T>(pair, out)) }
}

/// Safety: as [`gate_body`].
#[inline(always)]
unsafe fn each_pair<L: Lanes, C: Curve, T: Element>((gate, up): (&[f32], &[f32]), out: &mut [T]) {
    for ((gate, up), out) in gate.chunks(L::COUNT).zip(up.chunks(L::COUNT)).zip(out.chunks_mut(L::COUNT)) {
        let len = out.len();
        // SAFETY: the three lengths agree; the caller is compiled for the level.
        unsafe {
            let value = C::at(f32::load::<L>(gate.as_ptr(), len)).mul(f32::load::<L>(up.as_ptr(), len));
            T::store(value, out.as_mut_ptr(), len);
        }
    }
}
