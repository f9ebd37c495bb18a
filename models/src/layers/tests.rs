//! Layers by themselves: what the goldens of small models are too small to show.

use candle_core::{Device, Tensor};

use super::*;

/// Attention as its definition reads, in f64, one score at a time.
fn plain_attention(qkv: &[f32], offsets: &[usize], spec: &AttentionSpec, bias: &dyn Fn(usize, i64) -> f64) -> Vec<f32> {
    let (heads, dim, width) = (spec.heads, spec.head_dim, spec.qkv_width());
    let at = |token: usize, head: usize| &qkv[token * width + head * dim..][..dim];
    let mut out = Vec::new();
    for (range, query) in offsets.windows(2).flat_map(|pair| (pair[0]..pair[1]).map(move |query| (pair[0]..pair[1], query))) {
        for head in 0..heads {
            let group = head / (heads / spec.kv_heads);
            let keys: Vec<usize> = range.clone().filter(|key| spec.mask.sees(query - range.start, key - range.start)).collect();
            let score = |key: usize| {
                let dot: f64 = at(query, head).iter().zip(at(key, heads + group)).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum();
                let score = dot * f64::from(spec.scale);
                let capped = spec.softcap.map_or(score, |cap| f64::from(cap) * (score / f64::from(cap)).tanh());
                (capped + bias(head, key as i64 - query as i64)).exp()
            };
            let weights: Vec<f64> = keys.iter().map(|&key| score(key)).collect();
            let total: f64 = weights.iter().sum();
            let value = |d: usize| {
                keys.iter().zip(&weights).map(|(&key, weight)| weight * f64::from(at(key, heads + spec.kv_heads + group)[d])).sum::<f64>()
            };
            out.extend((0..dim).map(|d| (value(d) / total) as f32));
        }
    }
    out
}

#[test]
fn attention_is_its_definition_for_every_mask_over_several_blocks() {
    let (heads, kv_heads, dim) = (4, 2, 6);
    let offsets = [0, 1, 40, 40 + 2 * SCORE_ROWS + 3, 40 + 3 * SCORE_ROWS + 3];
    let alibi = DistanceBias::alibi(heads, 1024, &Device::Cpu).unwrap();
    let slope = |head: usize| 2f64.powi(-2 * (head as i32 + 1));
    let masks = [
        AttentionMask::Full,
        AttentionMask::Causal,
        AttentionMask::Window { left: 5, right: 3 },
        AttentionMask::Window { left: 300, right: 0 },
    ];
    for mask in masks {
        for biased in [false, true] {
            let plain = AttentionSpec {
                kv_heads,
                mask,
                softcap: biased.then_some(2.0),
                ..AttentionSpec::full(heads, dim, tallow_kernels::gemm::Precision::Exact)
            };
            let spec = AttentionSpec { distance_bias: biased.then(|| alibi.clone()), ..plain };
            let tokens = offsets[offsets.len() - 1];
            let qkv: Vec<f32> = (0..tokens * spec.qkv_width()).map(|i| ((i * 7919 % 1009) as f32 / 504.5 - 1.0) * 2.0).collect();
            let bias = |head: usize, distance: i64| if biased { -slope(head) * distance.abs() as f64 } else { 0.0 };
            let expected = plain_attention(&qkv, &offsets, &spec, &bias);
            let qkv = Tensor::from_vec(qkv, (tokens, spec.qkv_width()), &Device::Cpu).unwrap();
            let found: Vec<f32> = attention(&qkv, &offsets, &spec).unwrap().flatten_all().unwrap().to_vec1().unwrap();
            let largest = found.iter().zip(&expected).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max);
            assert!(found.len() == expected.len() && largest <= 4e-5, "{mask:?}, biased {biased}: differs by {largest}");
        }
    }
}

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
    let window = AttentionMask::Window { left: 2, right: 1 };
    let seen: Vec<usize> = (0..10).filter(|&key| window.sees(5, key)).collect();
    assert_eq!(seen, [3, 4, 5, 6]);
    assert!(AttentionMask::Causal.sees(5, 5) && !AttentionMask::Causal.sees(5, 6) && AttentionMask::Full.sees(0, 9));
}
