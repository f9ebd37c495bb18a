//! Every level of instructions, every length, a dense grid of values and the special ones, against the reference in f64.

use super::*;
use crate::tolerance;

fn check(isa: Isa, activation: Activation, values: &[f32]) {
    check_graded(isa, (activation, Grade::Full), values);
    check_graded(isa, (activation, Grade::Near), values);
}

fn check_graded(isa: Isa, (activation, grade): (Activation, Grade), values: &[f32]) {
    let mut out = values.to_vec();
    apply_graded(isa, (activation, grade), &mut out);
    let mut worst = 0.0f64;
    for (&x, &y) in values.iter().zip(&out) {
        let exact = reference(activation, f64::from(x));
        if exact.is_nan() {
            assert!(y.is_nan(), "{isa} {activation:?}({x}) = {y}");
        } else if exact.is_infinite() {
            assert_eq!(f64::from(y), exact, "{isa} {activation:?}({x})");
        } else {
            let bound = if grade == Grade::Full { tolerance::activation(x.into()) } else { tolerance::activation_near(x.into()) };
            let error = (f64::from(y) - exact).abs();
            assert!(error <= bound, "{isa} {activation:?} {grade:?} ({x}) = {y}, exactly {exact}");
            worst = worst.max(error / f64::from(x.abs()).max(1.0));
        }
    }
    if values.len() > 1000 {
        println!("{isa} {activation:?} {grade:?}: worst error over max(1, |x|) {worst:.2e}");
    }
}

#[test]
fn a_dense_grid_agrees_with_the_reference() {
    let grid: Vec<f32> = (-200_000..=200_000).map(|at| at as f32 / 10_000.0).collect();
    for isa in Isa::available() {
        for activation in Activation::ALL {
            check(isa, activation, &grid);
        }
    }
}

#[test]
fn special_values_go_where_the_limit_lies() {
    let tiny = [f32::MIN_POSITIVE, -f32::MIN_POSITIVE, 1e-42, -1e-42, 0.0, -0.0, 1e-20, -1e-20];
    let huge = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e10, -1e10, f32::MAX, f32::MIN, 88.8, -88.8, 104.0, -104.0];
    for isa in Isa::available() {
        for activation in Activation::ALL {
            let cubes_overflow = |x: &f32| activation == Activation::GeluTanh && x.abs() > 1e12;
            let values: Vec<f32> = tiny.iter().chain(&huge).copied().filter(|x| !cubes_overflow(x)).collect();
            check(isa, activation, &values);
        }
    }
}

#[test]
fn every_length_gives_the_same_as_one_by_one() {
    for isa in Isa::available() {
        for activation in Activation::ALL {
            for length in 0..=67 {
                let values: Vec<f32> = (0..length).map(|at| at as f32 * 0.37 - 11.0).collect();
                let mut together = values.clone();
                apply_on(isa, activation, &mut together);
                let alone = values.iter().map(|&x| {
                    let mut one = [x];
                    apply_on(isa, activation, &mut one);
                    one[0]
                });
                for (a, b) in together.iter().zip(alone) {
                    assert!((a - b).abs() <= 1e-6, "{isa} {activation:?} length {length}: {a} and {b}");
                }
            }
        }
    }
}

on_lanes! {
    fn exponentials(source: &[f32], out: &mut [f32], near: bool) = exponentials_body
}

/// Safety: as [`Lanes`]; the lengths agree and are a multiple of sixteen.
#[inline(always)]
unsafe fn exponentials_body<L: Lanes>(source: &[f32], out: &mut [f32], near: bool) {
    for (source, out) in source.chunks_exact(L::COUNT).zip(out.chunks_exact_mut(L::COUNT)) {
        // SAFETY: whole chunks; the caller is compiled for the level.
        unsafe {
            let x = L::load(source.as_ptr());
            if near { curves::exp_near(x) } else { curves::exp(x) }.store(out.as_mut_ptr());
        }
    }
}

#[test]
fn the_exponential_is_relatively_exact() {
    let source: Vec<f32> = (0..1_600_000).map(|i| -87.0 + i as f32 * 1e-4).collect();
    for isa in Isa::available() {
        for (near, allowed) in [(false, tolerance::activation(1.0)), (true, tolerance::activation_near(1.0))] {
            let mut out = vec![0.0; source.len()];
            // SAFETY: the lengths agree and are a multiple of sixteen.
            unsafe { exponentials(isa, &source, &mut out, near) };
            let relative = source.iter().zip(&out).map(|(x, y)| (f64::from(*y) / f64::from(*x).exp() - 1.0).abs());
            let worst = relative.fold(0.0, f64::max);
            println!("{isa} near {near}: worst relative error {worst:.2e}");
            assert!(worst <= allowed, "{isa} {worst}");
        }
    }
}

fn every() -> impl Iterator<Item = (Isa, (Activation, Grade))> {
    let of_level =
        |isa| Activation::ALL.into_iter().flat_map(move |activation| [Grade::Full, Grade::Near].map(|grade| (isa, (activation, grade))));
    Isa::available().into_iter().flat_map(of_level)
}

#[test]
fn a_gate_multiplies_and_narrows_on_every_level_and_length() {
    for (isa, curve) in every() {
        for len in 0..=67 {
            let gate: Vec<f32> = (0..len).map(|i| i as f32 / 7.0 - 4.0).collect();
            let up: Vec<f32> = (0..len).map(|i| 2.0 - i as f32 / 11.0).collect();
            let (mut single, mut half) = (vec![f32::NAN; len], vec![bf16::NAN; len]);
            gate_on(isa, curve, (&gate, &up), Output::F32(&mut single)).unwrap();
            gate_on(isa, curve, (&gate, &up), Output::Bf16(&mut half)).unwrap();
            let mut curve_values = gate.clone();
            apply_graded(isa, curve, &mut curve_values);
            for i in 0..len {
                assert_eq!(single[i], curve_values[i] * up[i]);
                assert_eq!(half[i], bf16::from_f32(single[i]));
            }
        }
    }
}

#[test]
fn a_gate_of_other_lengths_is_refused() {
    let curve = (Activation::Silu, Grade::Full);
    assert!(matches!(gate(curve, &[1.0], &[], Output::F32(&mut [0.0])), Err(KernelError::Mismatch { what: "up numbers", .. })));
    assert!(matches!(gate(curve, &[1.0], &[1.0], Output::Bf16(&mut [])), Err(KernelError::Mismatch { what: "outputs", .. })));
}
