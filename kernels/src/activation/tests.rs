//! Every level of instructions, every length, a dense grid of values and the special ones, against the reference in f64.

use super::*;

fn check(isa: Isa, activation: Activation, values: &[f32]) {
    let mut out = values.to_vec();
    apply_on(isa, activation, &mut out);
    for (&x, &y) in values.iter().zip(&out) {
        let exact = reference(activation, f64::from(x));
        if exact.is_nan() {
            assert!(y.is_nan(), "{isa} {activation:?}({x}) = {y}");
        } else if exact.is_infinite() {
            assert_eq!(f64::from(y), exact, "{isa} {activation:?}({x})");
        } else {
            let bound = 3e-7 * f64::from(x.abs()).clamp(1.0, 1e30);
            assert!((f64::from(y) - exact).abs() <= bound, "{isa} {activation:?}({x}) = {y}, exactly {exact}");
        }
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
