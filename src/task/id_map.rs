//! A map by task id that hashes with one keyed folded multiplication. Ids come from outside, so the key is drawn per map.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};

use super::TaskId;

/// Values by task id. Cost: 16 bytes of key per entry, aligned to 4.
pub struct IdMap<V> {
    map: HashMap<Key, V, IdHash>,
}

impl<V> IdMap<V> {
    /// An empty map with a key of its own.
    #[must_use]
    pub fn new() -> Self {
        Self { map: HashMap::with_hasher(IdHash::new()) }
    }

    /// The value of an id.
    #[must_use]
    pub fn get(&self, task_id: &TaskId) -> Option<&V> {
        self.map.get(&Key::of(task_id))
    }

    /// The value of an id, to change it.
    pub fn get_mut(&mut self, task_id: &TaskId) -> Option<&mut V> {
        self.map.get_mut(&Key::of(task_id))
    }

    /// True when the id has a value.
    #[must_use]
    pub fn contains(&self, task_id: &TaskId) -> bool {
        self.map.contains_key(&Key::of(task_id))
    }

    /// Gives an id a value and returns the one it had.
    pub fn insert(&mut self, task_id: &TaskId, value: V) -> Option<V> {
        self.map.insert(Key::of(task_id), value)
    }

    /// Takes the value of an id out.
    pub fn remove(&mut self, task_id: &TaskId) -> Option<V> {
        self.map.remove(&Key::of(task_id))
    }

    /// Every value, in no particular order.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.map.values()
    }

    /// How many ids have a value.
    #[must_use]
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// True when no id has a value.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }
}

impl<V> Default for IdMap<V> {
    fn default() -> Self {
        Self::new()
    }
}

/// An id with the alignment of small values, so that an entry with a 4-byte value takes 20 bytes and not 32.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Key([u32; 4]);

impl Key {
    fn of(task_id: &TaskId) -> Self {
        let id = task_id.as_u128();
        Self([(id >> 96) as u32, (id >> 64) as u32, (id >> 32) as u32, id as u32])
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let [a, b, c, d] = self.0.map(u128::from);
        state.write_u128((a << 96) | (b << 64) | (c << 32) | d);
    }
}

#[derive(Clone)]
struct IdHash {
    key: (u64, u64),
}

impl IdHash {
    fn new() -> Self {
        let random = RandomState::new();
        Self { key: (random.hash_one(1u8), random.hash_one(2u8) | 1) }
    }
}

impl BuildHasher for IdHash {
    type Hasher = IdHasher;

    fn build_hasher(&self) -> IdHasher {
        IdHasher { key: self.key, hash: 0 }
    }
}

struct IdHasher {
    key: (u64, u64),
    hash: u64,
}

impl IdHasher {
    fn fold(left: u64, right: u64) -> u64 {
        let product = u128::from(left) * u128::from(right);
        (product as u64) ^ ((product >> 64) as u64)
    }
}

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.hash
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.hash = Self::fold(self.hash ^ u64::from(*byte) ^ self.key.0, self.key.1);
        }
    }

    fn write_u128(&mut self, id: u128) {
        let (high, low) = ((id >> 64) as u64, id as u64);
        self.hash = Self::fold(Self::fold(low ^ self.key.0, self.key.1) ^ high, self.key.1);
    }
}
