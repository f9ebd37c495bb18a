//! The ledger under threads: at no instant is more held than there is, and no release is missed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use crate::resource::{BudgetLimits, Claim, Ledger};
use crate::task::{MemoryShare, ModelDemand, ResourceDemand};

const HOST_LIMIT: u64 = 1000;
const SHARE_LIMIT: u64 = 300;

fn ledger(host_bytes: u64) -> Ledger {
    Ledger::new(&BudgetLimits { host_bytes, threads: 4, devices: BTreeMap::new() })
}

fn demand(host_bytes: u64) -> ResourceDemand {
    ResourceDemand { host_bytes, ..ResourceDemand::default() }
}

/// Claims and releases at random; what is held outside the ledger's own books is counted beside it.
fn claim_and_release(ledger: &Ledger, held: &AtomicU64, held_by_share: &AtomicU64, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut claims = Vec::new();
    for _ in 0..4000 {
        if !claims.is_empty() && random.random_bool(0.5) {
            give_back(claims.swap_remove(random.random_range(0..claims.len())), held, held_by_share);
            continue;
        }
        let share = random.random_bool(0.5).then(|| MemoryShare { account: "a".into(), limit_bytes: SHARE_LIMIT });
        let wanted = ResourceDemand { threads: random.random_range(0..3), share, ..demand(random.random_range(0..250)) };
        let Ok(claim) = ledger.try_claim(&wanted) else { continue };
        let share_bytes = if wanted.share.is_some() { wanted.host_bytes } else { 0 };
        let now = held.fetch_add(wanted.host_bytes, Ordering::SeqCst) + wanted.host_bytes;
        let share_now = held_by_share.fetch_add(share_bytes, Ordering::SeqCst) + share_bytes;
        assert!(now <= HOST_LIMIT && share_now <= SHARE_LIMIT, "seed {seed}: {now} bytes held, {share_now} of them by the share");
        claims.push(claim);
    }
    claims.into_iter().for_each(|claim| give_back(claim, held, held_by_share));
}

/// Counts down before the ledger does, so that the count beside it never runs ahead.
fn give_back(claim: Claim, held: &AtomicU64, held_by_share: &AtomicU64) {
    let bytes = claim.demand().host_bytes;
    held.fetch_sub(bytes, Ordering::SeqCst);
    held_by_share.fetch_sub(if claim.demand().share.is_some() { bytes } else { 0 }, Ordering::SeqCst);
    drop(claim);
}

#[test]
fn the_limits_hold_at_every_instant_under_threads() {
    for seed in 0..8u64 {
        let ledger = ledger(HOST_LIMIT);
        let (held, held_by_share) = (AtomicU64::new(0), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (ledger, held, held_by_share) = (&ledger, &held, &held_by_share);
                scope.spawn(move || claim_and_release(ledger, held, held_by_share, seed * 100 + thread));
            }
            for _ in 0..2000 {
                let books = ledger.snapshot();
                assert!(books.host.used <= HOST_LIMIT && books.threads.used <= 4, "seed {seed}: {books:?}");
                assert!(books.shares.get("a").is_none_or(|share| share.used <= SHARE_LIMIT), "seed {seed}: {books:?}");
            }
        });
        let end = ledger.snapshot();
        assert_eq!((end.host.used, end.threads.used, end.shares["a"].used), (0, 0, 0), "seed {seed}");
        assert!(end.host.peak > HOST_LIMIT / 2, "seed {seed}: the limit was put to the test");
    }
}

#[test]
fn models_are_booked_once_for_any_sequence_of_claims() {
    for seed in 0..16u64 {
        let mut random = StdRng::seed_from_u64(seed);
        let ledger = ledger(HOST_LIMIT);
        let mut claims: Vec<Claim> = Vec::new();
        for _ in 0..2000 {
            if !claims.is_empty() && random.random_bool(0.5) {
                claims.swap_remove(random.random_range(0..claims.len()));
            } else {
                let number = random.random_range(0..4u64);
                let model =
                    ModelDemand { owner: number % 2, name: (number / 2).to_string().into(), host_bytes: 200 + number, device_bytes: 0 };
                let wanted = ResourceDemand { model: Some(model), ..demand(random.random_range(0..200)) };
                claims.extend(ledger.try_claim(&wanted).ok());
            }
            let models: BTreeSet<_> = claims.iter().filter_map(|claim| claim.demand().model.clone()).collect();
            let held = claims.iter().map(|claim| claim.demand().host_bytes).chain(models.iter().map(|model| model.host_bytes)).sum::<u64>();
            assert!(held <= HOST_LIMIT && ledger.snapshot().host.used == held, "seed {seed}: {held} bytes are held");
        }
    }
}

#[tokio::test]
async fn a_release_between_the_refusal_and_the_wait_is_not_missed() {
    let ledger = ledger(10);
    let claim = ledger.try_claim(&demand(10)).unwrap();
    let released = ledger.released();
    assert!(ledger.try_claim(&demand(1)).is_err());
    drop(claim);
    released.await;
    assert!(ledger.try_claim(&demand(1)).is_ok());
}

#[tokio::test]
async fn every_waiter_wakes() {
    let ledger = ledger(10);
    let claim = ledger.try_claim(&demand(10)).unwrap();
    let waits: Vec<_> = (0..50).map(|_| ledger.released()).collect();
    drop(claim);
    for wait in waits {
        wait.await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn waiting_for_releases_lets_everyone_through() {
    let ledger = ledger(3);
    let mut runs = tokio::task::JoinSet::new();
    for _ in 0..200 {
        let ledger = ledger.clone();
        runs.spawn(async move {
            loop {
                let released = ledger.released();
                if let Ok(claim) = ledger.try_claim(&demand(2)) {
                    tokio::task::yield_now().await;
                    drop(claim);
                    return;
                }
                released.await;
            }
        });
    }
    let through = runs.join_all().await.len();
    assert_eq!((through, ledger.snapshot().host.used), (200, 0));
}

#[test]
fn a_claim_dropped_by_a_panic_gives_back() {
    let ledger = ledger(10);
    let inside = ledger.clone();
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
        let _claim = inside.try_claim(&demand(10)).unwrap();
        panic!("on purpose");
    }));
    assert!(outcome.is_err());
    assert_eq!(ledger.snapshot().host.used, 0);
}
