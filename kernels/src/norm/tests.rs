//! Every level of instructions and every length, against the reference in f64.

use super::*;
use crate::noise::spread;
use crate::tolerance;

fn noise(count: usize, offset: f32) -> Vec<f32> {
    spread(count).iter().map(|value| value + offset).collect()
}

#[test]
fn every_length_agrees_with_the_reference() {
    for isa in Isa::available() {
        for dim in (1..=67).chain([384, 768, 1000]) {
            for offset in [0.0, 100.0] {
                let (rows, scale, shift) = (noise(3 * dim, offset), noise(dim, 1.5), noise(dim, 0.0));
                let norms = [
                    Norm::Layer { scale: &scale, shift: Some(&shift) },
                    Norm::Layer { scale: &scale, shift: None },
                    Norm::Rms { scale: &scale },
                ];
                for norm in norms {
                    let mut out = vec![f32::NAN; rows.len()];
                    normalize_on(isa, (&rows, 1e-5), &norm, Output::F32(&mut out)).unwrap();
                    for (got, exact) in out.iter().zip(reference_norm(&rows, &norm, 1e-5)) {
                        let bound = tolerance::norm(dim, exact, offset.into());
                        assert!((f64::from(*got) - exact).abs() <= bound, "{isa} {dim} {offset}: {got}, exactly {exact}");
                    }
                }
            }
        }
    }
}

#[test]
fn special_values_stay_in_their_rows() {
    for isa in Isa::available() {
        for special in [f32::NAN, f32::INFINITY] {
            let mut rows = noise(3 * 40, 0.0);
            rows[50] = special;
            let (scale, mut out) = (noise(40, 1.5), vec![0f32; 120]);
            normalize_on(isa, (&rows, 1e-5), &Norm::Layer { scale: &scale, shift: None }, Output::F32(&mut out)).unwrap();
            assert!(out[40..80].iter().all(|value| value.is_nan()), "{isa} {special}");
            assert!(out[..40].iter().chain(&out[80..]).all(|value| value.is_finite()), "{isa} {special}");
        }
        let mut out = [1f32; 8];
        normalize_on(isa, (&[5.0; 8], 1e-12), &Norm::Layer { scale: &[1.0; 8], shift: None }, Output::F32(&mut out)).unwrap();
        assert_eq!(out, [0.0; 8], "{isa}: a constant row");
    }
}

#[test]
fn a_row_does_not_depend_on_threads() {
    let (rows, scale) = (noise(1000 * 384, 0.0), noise(384, 1.0));
    let run = |threads| {
        let mut out = vec![0f32; rows.len()];
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| normalize(&rows, &Norm::Rms { scale: &scale }, 1e-6, &mut out)).unwrap();
        out
    };
    assert_eq!(run(1), run(4));
}

#[test]
fn sizes_that_do_not_fit_are_refused() {
    let norm = Norm::Layer { scale: &[1.0; 4], shift: Some(&[0.0; 3]) };
    assert!(normalize(&[1.0; 8], &norm, 1e-5, &mut [0.0; 8]).is_err());
    let norm = Norm::Rms { scale: &[1.0; 4] };
    assert!(normalize(&[1.0; 7], &norm, 1e-5, &mut [0.0; 7]).is_err());
    assert!(normalize(&[1.0; 8], &norm, 1e-5, &mut [0.0; 7]).is_err());
    assert!(normalize(&[], &norm, 1e-5, &mut []).is_ok());
    assert!(add_normalize((&mut [1.0; 8], Some(&[1.0; 4])), &norm, 1e-5, Target::InPlace(None)).is_err());
    assert!(add_normalize((&mut [1.0; 8], None), &norm, 1e-5, Target::InPlace(Some(&mut []))).is_err());
}

#[test]
fn a_residual_is_added_first_and_every_target_gets_the_same_numbers() {
    for isa in Isa::available() {
        for dim in (1..=67).chain([384]) {
            let (rows, residual) = (noise(3 * dim, 0.5), noise(3 * dim, -0.25));
            let (scale, shift) = (noise(dim, 1.5), noise(dim, 0.0));
            let norm = Norm::Layer { scale: &scale, shift: Some(&shift) };
            let sum: Vec<f32> = rows.iter().zip(&residual).map(|(a, b)| a + b).collect();
            let mut expected = vec![0f32; rows.len()];
            normalize_on(isa, (&sum, 1e-5), &norm, Output::F32(&mut expected)).unwrap();
            let rounded: Vec<bf16> = expected.iter().map(|value| bf16::from_f32(*value)).collect();

            let (mut in_place, mut half) = (rows.clone(), vec![bf16::ZERO; rows.len()]);
            add_normalize_on(isa, (&mut in_place, Some(&residual)), (&norm, 1e-5), Target::InPlace(Some(&mut half))).unwrap();
            assert_eq!((&in_place, &half), (&expected, &rounded), "{isa} {dim}");

            let (mut kept, mut half) = (rows.clone(), vec![bf16::ZERO; rows.len()]);
            add_normalize_on(isa, (&mut kept, Some(&residual)), (&norm, 1e-5), Target::Beside(Output::Bf16(&mut half))).unwrap();
            assert_eq!((&kept, &half), (&sum, &rounded), "{isa} {dim}");

            let (mut alone, mut beside) = (sum.clone(), vec![0f32; rows.len()]);
            add_normalize_on(isa, (&mut alone, None), (&norm, 1e-5), Target::Beside(Output::F32(&mut beside))).unwrap();
            assert_eq!((&alone, &beside), (&sum, &expected), "{isa} {dim}");
        }
    }
}
