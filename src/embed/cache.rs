//! Rows that were computed before, within a bound of bytes, least recently used first out. Pure.
//!
//! A key is the sha256 of everything that decides the row: the load of the model (a number that no other load has), the digest of its weights, its
//! precision, what is asked, and every token with its segment and place. So a row is never given for another input.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};
use tallow_models::EmbedderInfo;

use super::{Ask, Input};

/// What a row takes beside its numbers: its key twice, its place in two maps.
const ROW_BYTES: u64 = 192;

/// What a row was computed from.
pub(super) type Key = [u8; 32];

/// The rows that are kept.
#[derive(Debug, Default)]
pub(super) struct RowCache {
    bytes_max: u64,
    bytes: u64,
    uses: u64,
    rows: BTreeMap<Key, (u64, Vec<f32>)>,
    order: BTreeMap<u64, Key>,
}

impl RowCache {
    /// A cache of so many bytes; none with 0.
    pub(super) fn new(bytes_max: u64) -> Self {
        Self { bytes_max, ..Self::default() }
    }

    /// The row of `key`, which is the last to leave from now on.
    pub(super) fn get(&mut self, key: &Key) -> Option<Vec<f32>> {
        let (used, row) = self.rows.get_mut(key)?;
        self.order.remove(used);
        self.uses += 1;
        *used = self.uses;
        self.order.insert(self.uses, *key);
        Some(row.clone())
    }

    /// Keeps a row as long as there is room; a row beyond the bound is not kept.
    pub(super) fn insert(&mut self, key: Key, row: &[f32]) {
        let bytes = row_bytes(row);
        if bytes > self.bytes_max || self.rows.contains_key(&key) {
            return;
        }
        while self.bytes + bytes > self.bytes_max {
            let Some((_, oldest)) = self.order.pop_first() else { break };
            self.bytes -= self.rows.remove(&oldest).map_or(0, |(_, row)| row_bytes(&row));
        }
        self.uses += 1;
        self.bytes += bytes;
        self.rows.insert(key, (self.uses, row.to_vec()));
        self.order.insert(self.uses, key);
    }

    /// Bytes that are held.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}

fn row_bytes(row: &[f32]) -> u64 {
    ROW_BYTES + 4 * row.len() as u64
}

/// What all rows of one load of a model have in common in their keys.
pub(super) fn model_key(info: &EmbedderInfo, load: u64) -> Key {
    let mut hash = Sha256::new();
    hash.update(load.to_le_bytes());
    for part in [&info.digest, &info.precision, &info.pooling] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    hash.finalize().into()
}

/// The key of one input. Lists are written with their lengths, so that no two inputs are written alike.
pub(super) fn row_key(model: &Key, ask: Ask, input: &Input) -> Key {
    let mut hash = Sha256::new();
    hash.update(model);
    hash.update(ask.code().to_le_bytes());
    let mut numbers = |list: &[u32]| {
        hash.update((list.len() as u64).to_le_bytes());
        list.iter().for_each(|number| hash.update(number.to_le_bytes()));
    };
    match input {
        Input::Text(sequence) => {
            numbers(&sequence.ids);
            let places = [sequence.content.start, sequence.content.end, sequence.prompt_tokens];
            places.iter().for_each(|place| hash.update((*place as u64).to_le_bytes()));
        }
        Input::Pair(pair) => {
            numbers(&pair.ids);
            numbers(&pair.segments);
        }
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use tallow_models::Sequence;
    use tallow_models::text::PairTokens;

    use super::*;

    #[test]
    fn the_least_recently_used_row_leaves_and_the_bound_holds() {
        let mut cache = RowCache::new(3 * (ROW_BYTES + 16));
        for n in 0..3u8 {
            cache.insert([n; 32], &[f32::from(n); 4]);
        }
        assert_eq!(cache.get(&[0; 32]), Some(vec![0.0; 4]));
        cache.insert([3; 32], &[3.0; 4]);
        assert_eq!(cache.get(&[1; 32]), None, "it was used longest ago");
        assert!(cache.get(&[0; 32]).is_some() && cache.get(&[2; 32]).is_some() && cache.get(&[3; 32]).is_some());
        cache.insert([4; 32], &[0.0; 1000]);
        assert_eq!((cache.get(&[4; 32]), cache.bytes()), (None, 3 * (ROW_BYTES + 16)), "too large for all of it");
        let mut none = RowCache::new(0);
        none.insert([0; 32], &[]);
        assert_eq!((none.get(&[0; 32]), none.bytes()), (None, 0));
    }

    #[test]
    fn whatever_changes_a_row_changes_its_key() {
        let text = Sequence { ids: vec![1, 2, 3], content: 1..2, prompt_tokens: 0, ..Sequence::default() };
        let pair = PairTokens { ids: vec![1, 2, 3], segments: vec![0, 0, 1], ..PairTokens::default() };
        let info = EmbedderInfo { digest: "d".into(), precision: "bf16".into(), ..EmbedderInfo::default() };
        let model = model_key(&info, 1);
        let keys = [
            row_key(&model, Ask::Vector, &Input::Text(text.clone())),
            row_key(&model, Ask::Vector, &Input::Text(Sequence { ids: vec![1, 2, 4], ..text.clone() })),
            row_key(&model, Ask::Vector, &Input::Text(Sequence { prompt_tokens: 1, ..text.clone() })),
            row_key(&model, Ask::Vector, &Input::Text(Sequence { content: 0..2, ..text.clone() })),
            row_key(&model_key(&info, 2), Ask::Vector, &Input::Text(text.clone())),
            row_key(&model_key(&EmbedderInfo { precision: "int8".into(), ..info.clone() }, 1), Ask::Vector, &Input::Text(text.clone())),
            row_key(&model_key(&EmbedderInfo { digest: "e".into(), ..info }, 1), Ask::Vector, &Input::Text(text)),
            row_key(&model, Ask::SequenceLogits, &Input::Pair(pair.clone())),
            row_key(&model, Ask::SequenceLogits, &Input::Pair(PairTokens { segments: vec![0, 1, 1], ..pair })),
        ];
        let distinct: std::collections::BTreeSet<Key> = keys.into_iter().collect();
        assert_eq!(distinct.len(), keys.len());
    }
}
