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
    key: u64,
    parent: u32,
    left: u32,
    right: u32,
    own: Bytes,
    /// The least below it, itself included.
    least: Bytes,
}

impl Node {
    fn new(key: u64, own: Bytes) -> Self {
        Self { key, parent: NONE, left: NONE, right: NONE, own, least: own }
    }
}

impl Default for Node {
    fn default() -> Self {
        Self::new(0, Bytes::default())
    }
}

/// The nodes of any number of sets.
#[derive(Default)]
pub(super) struct Forest {
    nodes: Chunked<Node>,
}

impl Forest {
    /// Adds a member that is in no set; returns the new root. Equal keys are told apart by id.
    pub(super) fn insert(&mut self, root: u32, id: u32, key: u64, own: Bytes) -> u32 {
        self.nodes.ensure(id);
        self.nodes[id] = Node::new(key, own);
        let root = self.insert_below(root, id);
        self.nodes[root].parent = NONE;
        root
    }

    /// Adds a member that is in no set behind all others, of which `last` is the last; returns the new root. Cost: constant, expected.
    pub(super) fn append(&mut self, (root, last): (u32, u32), id: u32, key: u64, own: Bytes) -> u32 {
        self.nodes.ensure(id);
        self.nodes[id] = Node::new(key, own);
        if root == NONE {
            return id;
        }
        let own_weight = weight(id);
        let (mut above, mut below) = (last, NONE);
        while above != NONE && weight(above) < own_weight {
            (above, below) = (self.nodes[above].parent, above);
        }
        self.nodes[id].left = below;
        if below != NONE {
            self.pull(id);
        }
        self.nodes[id].parent = above;
        if above == NONE {
            return id;
        }
        self.nodes[above].right = id;
        self.pull_up(above);
        root
    }

    fn insert_below(&mut self, root: u32, id: u32) -> u32 {
        if root == NONE {
            return id;
        }
        if weight(id) > weight(root) {
            (self.nodes[id].left, self.nodes[id].right) = self.split(root, self.place(id));
            self.pull(id);
            return id;
        }
        if self.place(id) < self.place(root) {
            self.nodes[root].left = self.insert_below(self.nodes[root].left, id);
        } else {
            self.nodes[root].right = self.insert_below(self.nodes[root].right, id);
        }
        self.pull(root);
        root
    }

    /// Takes a member out; returns the new root.
    pub(super) fn remove(&mut self, root: u32, id: u32) -> u32 {
        let Node { parent, left, right, .. } = self.nodes[id];
        let merged = self.merge(left, right);
        if merged != NONE {
            self.nodes[merged].parent = parent;
        }
        if parent == NONE {
            return merged;
        }
        if self.nodes[parent].left == id {
            self.nodes[parent].left = merged;
        } else {
            self.nodes[parent].right = merged;
        }
        self.pull_up(parent);
        root
    }

    /// Changes what a member asks for.
    pub(super) fn resize(&mut self, id: u32, own: Bytes) {
        self.nodes[id].own = own;
        self.pull_up(id);
    }

    /// The last member by key of a set that is not empty.
    pub(super) fn last(&self, root: u32) -> u32 {
        let mut last = root;
        while self.nodes[last].right != NONE {
            last = self.nodes[last].right;
        }
        last
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
    pub(super) fn key(&self, id: u32) -> u64 {
        self.nodes[id].key
    }

    /// The least that members of a set that is not empty ask for, each size by itself.
    pub(super) fn least(&self, root: u32) -> Bytes {
        self.nodes[root].least
    }

    fn place(&self, id: u32) -> (u64, u32) {
        (self.nodes[id].key, id)
    }

    /// The members before a place, and the others.
    fn split(&mut self, root: u32, place: (u64, u32)) -> (u32, u32) {
        if root == NONE {
            return (NONE, NONE);
        }
        if self.place(root) < place {
            let (middle, right) = self.split(self.nodes[root].right, place);
            self.nodes[root].right = middle;
            self.pull(root);
            (root, right)
        } else {
            let (left, middle) = self.split(self.nodes[root].left, place);
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

    /// Makes a node know what is below it, and what is below it know the node. Returns true when its least is another than before.
    fn pull(&mut self, id: u32) -> bool {
        let Node { left, right, own, least: before, .. } = self.nodes[id];
        let mut least = own;
        for child in [left, right] {
            if child != NONE {
                let child = &mut self.nodes[child];
                child.parent = id;
                least = least.least(child.least);
            }
        }
        self.nodes[id].least = least;
        least != before
    }

    /// The same for a node and those above it, as far up as anything changes.
    fn pull_up(&mut self, id: u32) {
        let mut at = id;
        while at != NONE && self.pull(at) {
            at = self.nodes[at].parent;
        }
    }
}

/// A number that looks drawn, the same for an id every time (the finaliser of MurmurHash3).
fn weight(id: u32) -> u32 {
    let mut z = id ^ 0x9e37_79b9;
    z = (z ^ (z >> 16)).wrapping_mul(0x85eb_ca6b);
    z = (z ^ (z >> 13)).wrapping_mul(0xc2b2_ae35);
    z ^ (z >> 16)
}
