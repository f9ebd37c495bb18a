//! Every level of instructions and every length, against the reference in f64.

use super::*;

fn noise(count: usize, offset: f32) -> Vec<f32> {
    (0..count).map(|at| ((at as u64 * 2_654_435_761 % 20_011) as f32) / 10_005.5 - 1.0 + offset).collect()
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
                    normalize_on(isa, (&rows, 1e-5), &norm, &mut out).unwrap();
                    for (got, exact) in out.iter().zip(reference_norm(&rows, &norm, 1e-5)) {
                        // An offset of 100 costs what its difference to the mean cancels; a row of one number is all offset.
                        let bound = if offset == 0.0 { 4e-6 } else { 1e-4 } * exact.abs().max(1.0);
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
            normalize_on(isa, (&rows, 1e-5), &Norm::Layer { scale: &scale, shift: None }, &mut out).unwrap();
            assert!(out[40..80].iter().all(|value| value.is_nan()), "{isa} {special}");
            assert!(out[..40].iter().chain(&out[80..]).all(|value| value.is_finite()), "{isa} {special}");
        }
        let mut out = [1f32; 8];
        normalize_on(isa, (&[5.0; 8], 1e-12), &Norm::Layer { scale: &[1.0; 8], shift: None }, &mut out).unwrap();
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
}
