//! Every method that moves or narrows values, on every level.

use super::*;
use crate::Isa;

on_lanes! {
    fn narrow(source: &[f32], target: &mut [bf16]) = narrow_body
}

#[inline(always)]
unsafe fn narrow_body<L: Lanes>(source: &[f32], target: &mut [bf16]) {
    for (source, target) in source.chunks(L::COUNT).zip(target.chunks_mut(L::COUNT)) {
        // SAFETY: the chunks have the lengths that are passed; the caller is compiled for the level.
        unsafe {
            if source.len() == L::COUNT {
                L::load(source.as_ptr()).store_half(target.as_mut_ptr());
            } else {
                L::load_part(source.as_ptr(), source.len()).store_half_part(target.as_mut_ptr(), target.len());
            }
        }
    }
}

on_lanes! {
    fn widen(source: &[bf16], target: &mut [f32]) = widen_body
}

#[inline(always)]
unsafe fn widen_body<L: Lanes>(source: &[bf16], target: &mut [f32]) {
    for (source, target) in source.chunks(L::COUNT).zip(target.chunks_mut(L::COUNT)) {
        // SAFETY: the chunks have the lengths that are passed; the caller is compiled for the level.
        unsafe {
            if source.len() == L::COUNT {
                L::load_half(source.as_ptr()).store(target.as_mut_ptr());
            } else {
                L::load_half_part(source.as_ptr(), source.len()).store_part(target.as_mut_ptr(), target.len());
            }
        }
    }
}

on_lanes! {
    fn across(source: &[f32], out: &mut [f32; 2]) = across_body
}

#[inline(always)]
unsafe fn across_body<L: Lanes>(source: &[f32], out: &mut [f32; 2]) {
    // SAFETY: the source has at least sixteen values; the caller is compiled for the level.
    unsafe {
        out[0] = L::load(source.as_ptr()).sum_across();
        out[1] = L::load(source.as_ptr()).max_across();
    }
}

#[test]
fn narrowing_rounds_to_nearest_even_and_keeps_nan_on_every_level_and_length() {
    let specials = [0.0, -0.0, 1.0, 1.003_906_2, 1.011_718_8, f32::MAX, f32::MIN_POSITIVE, 1e-45, f32::INFINITY, f32::NAN, -3.3e-7];
    for isa in Isa::available() {
        for len in 0..=67 {
            let source: Vec<f32> = (0..len).map(|i| specials[i % specials.len()] * (1.0 + (i / 11) as f32 * 0.013)).collect();
            let mut target = vec![bf16::ONE; len];
            // SAFETY: the lengths agree.
            unsafe { narrow(isa, &source, &mut target) };
            let mut back = vec![0.0f32; len];
            // SAFETY: the lengths agree.
            unsafe { widen(isa, &target, &mut back) };
            for ((source, target), back) in source.iter().zip(&target).zip(&back) {
                assert_eq!(target.is_nan(), source.is_nan(), "{isa} {source}");
                assert!(source.is_nan() || target.to_bits() == bf16::from_f32(*source).to_bits(), "{isa} {source} {target}");
                assert!(back.is_nan() || *back == target.to_f32(), "{isa} {source} {back}");
            }
        }
    }
}

#[test]
fn the_lanes_are_summed_and_the_largest_is_found() {
    let source: Vec<f32> = (0..16).map(|i| (i * 7 % 16) as f32).collect();
    for isa in Isa::available() {
        let mut out = [0.0; 2];
        // SAFETY: the source has sixteen values.
        unsafe { across(isa, &source, &mut out) };
        let count = if ["avx512", "amx"].contains(&isa.name()) { 16 } else { 8 };
        assert_eq!(out[0], source[..count].iter().sum::<f32>(), "{isa}");
        assert_eq!(out[1], source[..count].iter().copied().fold(0.0, f32::max), "{isa}");
    }
}
