//! Who has been served how much: start-time fair queueing among any number of parties. Pure.
//!
//! Every party has a tag that grows by what it is charged; the lowest goes first. A newcomer begins where the last one served stood, so that it waits for
//! no round, and has no credit for the time it was away; who leaves in the middle of others keeps what it was charged until they have caught up.

use std::collections::{BTreeMap, BTreeSet};

/// The parties of one share-out, by number.
#[derive(Debug, Default)]
pub(super) struct Shares {
    /// The tag at which the last party was served.
    now: u64,
    tags: BTreeMap<u64, u64>,
    order: BTreeSet<(u64, u64)>,
    /// Parties that left with a tag beyond `now`.
    away: BTreeSet<(u64, u64)>,
}

impl Shares {
    /// A party that wants to be served; nothing changes for one that does already.
    pub(super) fn join(&mut self, party: u64) {
        let tag = self.tags.get(&party).copied().unwrap_or(0).max(self.now);
        if self.order.contains(&(self.tags.get(&party).copied().unwrap_or(tag), party)) {
            return;
        }
        if let Some(old) = self.tags.insert(party, tag) {
            self.away.remove(&(old, party));
        }
        self.order.insert((tag, party));
    }

    /// Parties that want to be served, the one that goes first first. Equals go by number.
    pub(super) fn in_order(&self) -> impl Iterator<Item = u64> {
        self.order.iter().map(|(_, party)| *party)
    }

    /// A party of these was served to that amount.
    pub(super) fn charge(&mut self, party: u64, cost: u64) {
        let Some(tag) = self.tags.get_mut(&party) else { return };
        self.order.remove(&(*tag, party));
        self.now = self.now.max(*tag);
        *tag = tag.saturating_add(cost);
        self.order.insert((*tag, party));
        while let Some((tag, party)) = self.away.first().copied().filter(|(tag, _)| *tag <= self.now) {
            self.away.remove(&(tag, party));
            self.tags.remove(&party);
        }
    }

    /// A party that wants nothing more for now.
    pub(super) fn leave(&mut self, party: u64) {
        let Some(tag) = self.tags.get(&party).copied() else { return };
        self.order.remove(&(tag, party));
        if self.order.is_empty() {
            // Nobody competes: all begin anew.
            *self = Self::default();
        } else if tag > self.now {
            self.away.insert((tag, party));
        } else {
            self.tags.remove(&party);
        }
    }

    /// True when nobody wants to be served.
    pub(super) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Parties that are known, those away among them.
    #[cfg(test)]
    pub(super) fn known(&self) -> usize {
        self.tags.len()
    }
}

#[cfg(test)]
mod tests {
    use super::Shares;

    #[test]
    fn a_newcomer_goes_before_whoever_was_served_and_earns_nothing_by_waiting() {
        let mut shares = Shares::default();
        shares.join(7);
        for _ in 0..10 {
            shares.charge(7, 100);
        }
        shares.join(9);
        assert_eq!(shares.in_order().next(), Some(9));
        shares.charge(9, 150);
        assert_eq!(shares.in_order().next(), Some(7), "it has no credit from the time before it came");
    }

    #[test]
    fn who_leaves_and_comes_back_is_not_served_twice() {
        let mut shares = Shares::default();
        shares.join(1);
        shares.join(2);
        shares.charge(1, 100);
        shares.leave(1);
        shares.join(1);
        assert_eq!(shares.in_order().next(), Some(2));
    }

    #[test]
    fn parties_that_left_are_forgotten() {
        let mut shares = Shares::default();
        shares.join(0);
        for party in 1..1000 {
            shares.join(party);
            shares.charge(party, 1);
            shares.leave(party);
            shares.charge(0, 1);
        }
        assert!(shares.known() < 5, "{}", shares.known());
        shares.leave(0);
        assert!(shares.is_empty() && shares.known() == 0);
    }
}
