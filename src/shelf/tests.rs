//! Loads are shared, pinned models stay, memory comes back, and the choice of evictions holds for any set.

use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::resource::BudgetLimits;

fn fixtures() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models/fixtures")
}

fn shelf_with(host_bytes: u64) -> (Shelf, Ledger) {
    let ledger = Ledger::new(&BudgetLimits { host_bytes, threads: 2, devices: BTreeMap::default() });
    let source = SourceOptions { model_dirs: vec![fixtures()], ..SourceOptions::default() };
    let options = ShelfOptions { source, device: DeviceClass::Host, share: None };
    (Shelf::new(ComputePool::new(2).unwrap(), ledger.clone(), options), ledger)
}

#[tokio::test]
async fn many_callers_share_one_load() {
    let (shelf, ledger) = shelf_with(1 << 30);
    let pins = futures_util::future::join_all((0..16).map(|_| shelf.get("tiny-bert"))).await;
    let pins: Vec<Pinned> = pins.into_iter().map(|pin| pin.unwrap()).collect();
    assert!(pins.iter().all(|pin| Arc::ptr_eq(&pin.model, &pins[0].model)));
    let loaded = shelf.loaded();
    assert_eq!((loaded.len(), loaded[0].in_use), (1, 16));
    assert_eq!(ledger.snapshot().host.used, loaded[0].bytes, "the model is booked once");
    assert_eq!(shelf.unload("tiny-bert"), Unload::InUse);
    drop(pins);
    assert_eq!(shelf.unload("tiny-bert"), Unload::Unloaded(loaded[0].bytes));
    assert_eq!(ledger.snapshot().host.used, 0);
    assert_eq!(shelf.unload("tiny-bert"), Unload::NotLoaded);
}

#[tokio::test]
async fn the_least_recently_used_model_makes_room_and_a_pinned_one_stays() {
    let (shelf, _) = shelf_with(1 << 30);
    drop(shelf.get("tiny-bert").await.unwrap());
    let bytes = shelf.loaded()[0].bytes;
    let (shelf, ledger) = shelf_with(bytes * 5 / 2);
    drop(shelf.get("tiny-bert").await.unwrap());
    drop(shelf.get("tiny-distilbert").await.unwrap());
    let pinned = shelf.get("tiny-bert").await.unwrap();
    let third = shelf.get("tiny-roberta").await.unwrap();
    let names: Vec<String> = shelf.loaded().into_iter().map(|model| model.name).collect();
    assert_eq!(names, ["tiny-bert", "tiny-roberta"]);
    let refused = shelf.get("tiny-mpnet").await.map(drop).unwrap_err();
    assert_eq!(refused.code(), "overloaded", "{refused}");
    assert!(ledger.snapshot().host.peak <= bytes * 5 / 2);
    drop((pinned, third));
    shelf.get("tiny-mpnet").await.map(drop).unwrap();
}

#[tokio::test]
async fn a_model_larger_than_the_budget_never_fits() {
    let (shelf, ledger) = shelf_with(1 << 20);
    assert_eq!(shelf.get("tiny-bert").await.map(drop).unwrap_err().code(), "does_not_fit");
    assert_eq!(ledger.snapshot().host.used, 0);
    assert!(shelf.loaded().is_empty());
}

#[tokio::test]
async fn a_failed_load_leaves_nothing_behind() {
    let (shelf, ledger) = shelf_with(1 << 30);
    for (name, code) in
        [("no-such-model", "model_missing"), ("../../etc", "model_missing"), ("a/b/c", "invalid_payload"), ("a..b", "invalid_payload")]
    {
        let error = shelf.get(name).await.map(drop).unwrap_err();
        assert_eq!(error.code(), code, "{name}: {error}");
    }
    assert!(shelf.inner.slots.lock().is_empty());
    assert_eq!(ledger.snapshot().host.used, 0);
}

/// Resident bytes of this process, from the system.
#[cfg(target_os = "linux")]
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn twenty_loads_and_unloads_give_their_memory_back() {
    let Ok(root) = std::env::var("TALLOW_TEST_MODELS") else {
        eprintln!("skipped: TALLOW_TEST_MODELS is not set");
        return;
    };
    let name = Path::new(&root).join("all-MiniLM-L6-v2").display().to_string();
    let (shelf, _) = shelf_with(4 << 30);
    let mut after_first = 0;
    for cycle in 0..20 {
        let pin = shelf.get(&name).await.unwrap();
        let claimed = shelf.loaded()[0].bytes;
        drop(pin);
        assert!(matches!(shelf.unload(&name), Unload::Unloaded(_)));
        if cycle == 0 {
            after_first = resident_bytes();
        } else {
            let grown = resident_bytes().saturating_sub(after_first);
            assert!(grown < claimed / 5, "cycle {cycle}: {grown} bytes more than after the first unload");
        }
    }
}

proptest! {
    #[test]
    fn evictions_free_enough_and_never_touch_a_pinned_model(
        models in prop::collection::vec((0u64..1000, any::<bool>(), 0u64..50), 0..20),
        needed in 0u64..5000,
    ) {
        let candidates: Vec<Candidate> =
            models.iter().map(|&(bytes, pinned, last_use)| Candidate { bytes, pinned, last_use }).collect();
        let free: u64 = candidates.iter().filter(|c| !c.pinned).map(|c| c.bytes).sum();
        match choose_evictions(&candidates, needed) {
            None => prop_assert!(free < needed),
            Some(chosen) => {
                prop_assert!(chosen.iter().all(|&index| !candidates[index].pinned));
                let freed: u64 = chosen.iter().map(|&index| candidates[index].bytes).sum();
                prop_assert!(freed >= needed);
                for &spared in &chosen {
                    let bytes = candidates[spared].bytes;
                    prop_assert!(bytes == 0 || freed - bytes < needed, "no chosen model is needless");
                }
            }
        }
    }
}

#[tokio::test]
async fn loads_that_nobody_waits_for_take_no_place() {
    let (shelf, _) = shelf_with(1 << 30);
    for number in 0..SHELF_MODELS_MAX + 2 {
        // A caller that gives up: its future is dropped with the load under way.
        let name = format!("given-up-{number}");
        let mut given_up = Box::pin(shelf.get(&name));
        assert!(futures_util::poll!(given_up.as_mut()).is_pending());
        drop(given_up);
    }
    shelf.get("tiny-bert").await.map(drop).expect("a place is free");
}

#[tokio::test]
async fn idle_models_make_room_for_a_task_that_nothing_else_could_help() {
    let (shelf, ledger) = shelf_with(1 << 30);
    drop(shelf.get("tiny-bert").await.unwrap());
    let demand = ResourceDemand { host_bytes: (1 << 30) - 1, ..ResourceDemand::default() };
    assert!(ledger.try_claim(&demand).is_err());
    shelf.make_room(&demand);
    assert!(ledger.try_claim(&demand).is_ok() && shelf.loaded().is_empty());
}
