//! The plainest attention, in f64.

use super::AttentionSpec;

/// As [`super::attention`], of f32 `qkv`; the sizes must fit, it panics otherwise. The precision has no part in it.
#[must_use]
pub fn attention(qkv: &[f32], offsets: &[usize], spec: &AttentionSpec<'_>) -> Vec<f64> {
    let (row, dim) = (spec.row(), spec.head_dim);
    let at = |token: usize, head: usize| qkv[token * row + head * dim..][..dim].iter().map(|&value| f64::from(value));
    let mut out = Vec::new();
    for pair in offsets.windows(2) {
        let len = pair[1] - pair[0];
        for query in 0..len {
            for head in 0..spec.heads {
                let kv_head = head / (spec.heads / spec.kv_heads);
                let seen = spec.mask.keys(query, len);
                let score = |key: usize| {
                    let key_row = at(pair[0] + key, spec.heads + kv_head);
                    let dot: f64 = at(pair[0] + query, head).zip(key_row).map(|(a, b)| a * b).sum::<f64>() * f64::from(spec.scale);
                    let capped = spec.softcap.map_or(dot, |cap| f64::from(cap) * (dot / f64::from(cap)).tanh());
                    capped + bias(spec, (query, key), head)
                };
                let scores: Vec<f64> = seen.clone().map(score).collect();
                let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let terms: Vec<f64> = scores.iter().map(|score| (score - largest).exp()).collect();
                let total: f64 = terms.iter().sum();
                let mut mixed = vec![0f64; dim];
                for (key, term) in seen.zip(&terms) {
                    let values = at(pair[0] + key, spec.heads + spec.kv_heads + kv_head);
                    mixed.iter_mut().zip(values).for_each(|(mixed, value)| *mixed += term / total * value);
                }
                out.extend(mixed);
            }
        }
    }
    out
}

fn bias(spec: &AttentionSpec<'_>, (query, key): (usize, usize), head: usize) -> f64 {
    let Some(bias) = spec.distance_bias else { return 0.0 };
    let width = bias.len() / spec.heads;
    let reach = (width / 2) as isize;
    let distance = (key as isize - query as isize).clamp(-reach, reach);
    f64::from(bias[head * width + (reach + distance) as usize])
}
