//! Layers by themselves: what the goldens of small models are too small to show.

use super::*;

#[test]
fn logarithmic_buckets_are_those_of_the_reference_at_full_size() {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/deberta_buckets.json");
    let expected: Vec<usize> = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let buckets = DistanceBuckets::Logarithmic { span: 256, positions: 512 };
    let found: Vec<usize> = (0..512).map(|distance| buckets.row(distance, 0)).collect();
    let differing: Vec<_> = (0..512).filter(|&at| found[at] != expected[at]).collect();
    assert!(differing.is_empty(), "rows differ at the distances {differing:?}");
    for (distance, row) in found.iter().enumerate() {
        assert_eq!((512 - buckets.row(0, distance)).min(511), *row, "a key {distance} behind the query");
    }
}

#[test]
fn a_window_sees_its_edges_and_no_further() {
    let window = AttentionMask::Window { before: 2, behind: 1 };
    let seen: Vec<usize> = (0..10).filter(|&key| window.sees(5, key)).collect();
    assert_eq!(seen, [3, 4, 5, 6]);
    assert!(AttentionMask::Causal.sees(5, 5) && !AttentionMask::Causal.sees(5, 6) && AttentionMask::Full.sees(0, 9));
}
