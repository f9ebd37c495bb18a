//! Ordered sets in which the first member that is small enough is found without looking at those that are not. Pure.
//!
//! Each set is a treap: a search tree by key that is a heap by a number drawn from the id, so its expected depth is logarithmic whatever comes in.
//! Every node knows the least that anything below it asks for; a search leaves out each branch in which nothing can fit. All sets of a forest share its
//! nodes, and an id is in one set at most. Costs of every operation: logarithmic in the size of the set, expected; a search by two independent sizes at
//! once (host and device memory) may visit more where the smallest of each are different members.

use super::super::chunked::Chunked;

/// No member; the root of an empty set.
pub(super) const NONE: u32 = u32::MAX;

/// Bytes that a task asks for, that are the least of many, or that are free.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Bytes {
    pub(super) host: u64,
    pub(super) device: u64,
    /// Host and device together, which an executor's share bounds.
    pub(super) both: u64,
}

impl Bytes {
    /// More than anything asks for.
    pub(super) const MAX: Self = Self { host: u64::MAX, device: u64::MAX, both: u64::MAX };

    pub(super) fn new(host: u64, device: u64) -> Self {
        Self { host, device, both: host.saturating_add(device) }
    }

    pub(super) fn within(&self, free: &Self) -> bool {
        self.host <= free.host && self.device <= free.device && self.both <= free.both
    }

    fn least(self, other: Self) -> Self {
        Self { host: self.host.min(other.host), device: self.device.min(other.device), both: self.both.min(other.both) }
    }
}

#[derive(Clone, Copy)]
struct Node {
    key: (u64, u64),
    left: u32,
    right: u32,
    own: Bytes,
    least: Bytes,
}

impl Default for Node {
    fn default() -> Self {
        Self { key: (0, 0), left: NONE, right: NONE, own: Bytes::default(), least: Bytes::default() }
    }
}

/// The nodes of any number of sets.
#[derive(Default)]
pub(super) struct Forest {
    nodes: Chunked<Node>,
}

impl Forest {
    /// Adds a member that is in no set; returns the new root. Keys of one set differ.
    pub(super) fn insert(&mut self, root: u32, id: u32, key: (u64, u64), own: Bytes) -> u32 {
        self.nodes.ensure(id);
        self.nodes[id] = Node { key, left: NONE, right: NONE, own, least: own };
        self.insert_below(root, id)
    }

    fn insert_below(&mut self, root: u32, id: u32) -> u32 {
        if root == NONE {
            return id;
        }
        let key = self.nodes[id].key;
        if weight(id) > weight(root) {
            (self.nodes[id].left, self.nodes[id].right) = self.split(root, key);
            self.pull(id);
            return id;
        }
        if key < self.nodes[root].key {
            self.nodes[root].left = self.insert_below(self.nodes[root].left, id);
        } else {
            self.nodes[root].right = self.insert_below(self.nodes[root].right, id);
        }
        self.pull(root);
        root
    }

    /// Takes a member out; returns the new root.
    pub(super) fn remove(&mut self, root: u32, id: u32) -> u32 {
        if root == NONE {
            return NONE;
        }
        if root == id {
            return self.merge(self.nodes[id].left, self.nodes[id].right);
        }
        if self.nodes[id].key < self.nodes[root].key {
            self.nodes[root].left = self.remove(self.nodes[root].left, id);
        } else {
            self.nodes[root].right = self.remove(self.nodes[root].right, id);
        }
        self.pull(root);
        root
    }

    /// Changes what a member asks for.
    pub(super) fn resize(&mut self, root: u32, id: u32, own: Bytes) {
        if root == NONE {
            return;
        }
        if root == id {
            self.nodes[id].own = own;
        } else if self.nodes[id].key < self.nodes[root].key {
            self.resize(self.nodes[root].left, id, own);
        } else {
            self.resize(self.nodes[root].right, id, own);
        }
        self.pull(root);
    }

    /// The first member by key that asks for no more than is free and that `accepts` takes.
    pub(super) fn first(&self, root: u32, free: &Bytes, accepts: &mut dyn FnMut(u32) -> bool) -> Option<u32> {
        if root == NONE || !self.nodes[root].least.within(free) {
            return None;
        }
        let node = &self.nodes[root];
        self.first(node.left, free, accepts)
            .or_else(|| (node.own.within(free) && accepts(root)).then_some(root))
            .or_else(|| self.first(node.right, free, accepts))
    }

    /// What a member asks for.
    pub(super) fn own(&self, id: u32) -> Bytes {
        self.nodes[id].own
    }

    /// The key of a member.
    pub(super) fn key(&self, id: u32) -> (u64, u64) {
        self.nodes[id].key
    }

    /// The least that members of a set that is not empty ask for, each size by itself.
    pub(super) fn least(&self, root: u32) -> Bytes {
        self.nodes[root].least
    }

    /// The members with smaller keys, and the others.
    fn split(&mut self, root: u32, key: (u64, u64)) -> (u32, u32) {
        if root == NONE {
            return (NONE, NONE);
        }
        if self.nodes[root].key < key {
            let (middle, right) = self.split(self.nodes[root].right, key);
            self.nodes[root].right = middle;
            self.pull(root);
            (root, right)
        } else {
            let (left, middle) = self.split(self.nodes[root].left, key);
            self.nodes[root].left = middle;
            self.pull(root);
            (left, root)
        }
    }

    /// One set of two, of which the first has the smaller keys.
    fn merge(&mut self, left: u32, right: u32) -> u32 {
        if left == NONE || right == NONE {
            return if left == NONE { right } else { left };
        }
        if weight(left) > weight(right) {
            self.nodes[left].right = self.merge(self.nodes[left].right, right);
            self.pull(left);
            left
        } else {
            self.nodes[right].left = self.merge(left, self.nodes[right].left);
            self.pull(right);
            right
        }
    }

    fn pull(&mut self, id: u32) {
        let Node { left, right, own, .. } = self.nodes[id];
        let mut least = own;
        for child in [left, right] {
            if child != NONE {
                least = least.least(self.nodes[child].least);
            }
        }
        self.nodes[id].least = least;
    }
}

/// A number that looks drawn, the same for an id every time (splitmix64).
fn weight(id: u32) -> u64 {
    let mut z = u64::from(id).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
