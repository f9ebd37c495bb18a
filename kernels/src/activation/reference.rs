//! The plainest form, in f64. The error function by its Maclaurin series and, where that cancels, by its continued fraction (Abramowitz and Stegun 7.1.5
//! and 7.1.14).

use super::Activation;

/// The exact value, to about 1e-15.
#[must_use]
pub fn activation(activation: Activation, x: f64) -> f64 {
    match activation {
        Activation::Identity => x,
        Activation::Gelu => {
            if x == f64::NEG_INFINITY {
                return 0.0;
            }
            0.5 * x * (1.0 + erf(x / std::f64::consts::SQRT_2))
        }
        Activation::GeluTanh => {
            if x == f64::NEG_INFINITY {
                return 0.0;
            }
            0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x * x * x)).tanh())
        }
        Activation::Relu => {
            if x.is_nan() {
                x
            } else {
                x.max(0.0)
            }
        }
        Activation::Silu => {
            if x == f64::NEG_INFINITY {
                return 0.0;
            }
            x / (1.0 + (-x).exp())
        }
        Activation::Tanh => x.tanh(),
        Activation::Sigmoid => 1.0 / (1.0 + (-x).exp()),
    }
}

fn erf(x: f64) -> f64 {
    if x.is_nan() {
        return x;
    }
    if x.abs() > 6.0 {
        return x.signum();
    }
    if x.abs() < 3.0 {
        let (mut term, mut sum, mut n) = (x, x, 0.0);
        while term.abs() > 1e-17 * sum.abs() {
            n += 1.0;
            term *= -x * x / n;
            sum += term / (2.0 * n + 1.0);
        }
        return 2.0 / std::f64::consts::PI.sqrt() * sum;
    }
    let z = x.abs();
    let fraction = (1..=60).rev().fold(z, |below, k| z + f64::from(k) / 2.0 / below);
    x.signum() * (1.0 - (-z * z).exp() / fraction / std::f64::consts::PI.sqrt())
}
