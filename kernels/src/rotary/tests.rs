//! Every level, order and number of pairs against the plain rotation, and the scalings against numbers computed elsewhere.

use super::*;
use crate::noise::spread;
use crate::tolerance;

const BASE: f64 = 10_000.0;

#[test]
fn every_number_of_pairs_agrees_with_the_reference_on_every_level() {
    let positions = [0, 3, 500, 77, 3];
    for isa in Isa::available() {
        for (pairs, order) in (1..=67).flat_map(|pairs| [(pairs, Order::Halves), (pairs, Order::Pairs)]) {
            let head_dim = 2 * pairs + pairs % 3;
            let table = RotaryTable::new(2 * pairs, 501, BASE, Scaling::None).unwrap();
            let spec = RotarySpec { row: 3 * head_dim + 5, heads: 3, head_dim, order, table: &table };
            let rows = spread(positions.len() * spec.row);
            let (mut got, mut half) = (rows.clone(), rows.iter().map(|value| bf16::from_f32(*value)).collect::<Vec<_>>());
            rotate_on(isa, Output::F32(&mut got), &positions, &spec).unwrap();
            rotate_on(isa, Output::Bf16(&mut half), &positions, &spec).unwrap();
            let frequencies = frequencies(2 * pairs, BASE, Scaling::None).unwrap();
            for (token, position) in positions.iter().enumerate() {
                let angles: Vec<f64> = frequencies.iter().map(|frequency| frequency * f64::from(*position)).collect();
                let range = token * spec.row..(token + 1) * spec.row;
                let mut want: Vec<f64> = rows[range.clone()].iter().map(|value| f64::from(*value)).collect();
                for head in want[..3 * head_dim].chunks_exact_mut(head_dim) {
                    head.copy_from_slice(&reference_rotate(head, &angles, 1.0, order));
                }
                for ((got, half), want) in got[range.clone()].iter().zip(&half[range]).zip(&want) {
                    let close = (f64::from(*got) - want).abs() <= 4.0 * tolerance::rounded(1.5);
                    assert!(close, "{isa} {order:?} {pairs} pairs: {got}, exactly {want}");
                    assert!((f64::from(half.to_f32()) - want).abs() <= 2.0 * tolerance::rounded_half(1.5), "{isa} {order:?} {half} {want}");
                }
            }
        }
    }
}

#[test]
fn turning_keeps_lengths_and_depends_on_distance_alone() {
    let table = RotaryTable::new(64, 2000, BASE, Scaling::None).unwrap();
    let spec = RotarySpec { row: 64, heads: 1, head_dim: 64, order: Order::Halves, table: &table };
    let dot_at = |query: u32, key: u32| {
        let mut rows: Vec<f32> = spread(128);
        rotate(Output::F32(&mut rows), &[query, key], &spec).unwrap();
        rows[..64].iter().zip(&rows[64..]).map(|(a, b)| f64::from(a * b)).sum::<f64>()
    };
    let bound = tolerance::chain_sum(64, 64.0);
    assert!((dot_at(5, 9) - dot_at(1005, 1009)).abs() <= bound);
    assert!((dot_at(7, 7) - dot_at(0, 0)).abs() <= bound);
}

#[test]
fn scalings_slow_the_slow_pairs_and_leave_the_fast_ones() {
    let plain = frequencies(128, 500_000.0, Scaling::None).unwrap();
    let linear = frequencies(128, 500_000.0, Scaling::Linear { factor: 4.0 }).unwrap();
    assert!(plain.iter().zip(&linear).all(|(plain, linear)| *linear == plain / 4.0));
    let ntk = frequencies(128, 500_000.0, Scaling::Ntk { factor: 4.0 }).unwrap();
    assert_eq!(ntk[0], 1.0);
    assert!((ntk[63] * 4.0 / plain[63] - 1.0).abs() < tolerance::UNIT_F32, "the slowest pair is stretched by the whole factor");
    let llama = Scaling::Llama3 { factor: 8.0, low: 1.0, high: 4.0, trained: 8192.0 };
    let yarn = Scaling::Yarn { factor: 8.0, fast: 32.0, slow: 1.0, trained: 8192.0, attention: None };
    for scaling in [llama, yarn] {
        let scaled = frequencies(128, 500_000.0, scaling).unwrap();
        assert_eq!(scaled[..8], plain[..8], "{scaling:?}");
        assert!((scaled[63] * 8.0 / plain[63] - 1.0).abs() < tolerance::UNIT_F32, "{scaling:?}");
        assert!(scaled.windows(2).all(|pair| pair[0] > pair[1]), "{scaling:?}");
    }
    // Pair 30 turns 8192 * 500000^(-60/128) / (2 pi) = 2.78 times: between slow and fast.
    let scaled = frequencies(128, 500_000.0, llama).unwrap();
    let turns = 8192.0 * plain[30] / std::f64::consts::TAU;
    let stays = (turns - 1.0) / 3.0;
    assert!((scaled[30] - ((1.0 - stays) * plain[30] / 8.0 + stays * plain[30])).abs() < 1e-12 * plain[30]);
    let table = RotaryTable::new(128, 1, 500_000.0, yarn).unwrap();
    assert!((f64::from(table.at(0).0[0]) - (0.1 * 8f64.ln() + 1.0)).abs() <= tolerance::rounded(2.0));
}

#[test]
fn what_does_not_fit_is_refused_and_nothing_is_turned() {
    assert!(RotaryTable::new(0, 4, BASE, Scaling::None).is_err());
    assert!(RotaryTable::new(3, 4, BASE, Scaling::None).is_err());
    assert!(RotaryTable::new(4, 4, 1.0, Scaling::None).is_err());
    assert!(RotaryTable::new(4, 4, BASE, Scaling::Linear { factor: f64::NAN }).is_err());
    assert!(RotaryTable::new(4, ROTARY_POSITIONS_MAX + 1, BASE, Scaling::None).is_err());
    let table = RotaryTable::new(4, 4, BASE, Scaling::None).unwrap();
    let spec = RotarySpec { row: 8, heads: 2, head_dim: 4, order: Order::Halves, table: &table };
    let mut rows = spread(16);
    let before = rows.clone();
    assert!(matches!(rotate(Output::F32(&mut rows), &[0, 4], &spec), Err(KernelError::OutOfRange { what: "position", .. })));
    assert!(rotate(Output::F32(&mut rows), &[0], &spec).is_err());
    assert!(rotate(Output::F32(&mut rows), &[0, 1], &RotarySpec { heads: 3, ..spec }).is_err());
    assert!(rotate(Output::F32(&mut rows), &[0, 1], &RotarySpec { head_dim: 2, ..spec }).is_err());
    assert_eq!(rows, before);
    assert!(rotate(Output::F32(&mut []), &[], &spec).is_ok());
}
