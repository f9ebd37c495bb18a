//! Loads are shared, pinned models stay, memory comes back, and the choice of evictions holds for any set.

use std::path::Path;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::resource::BudgetLimits;

fn fixtures() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models/fixtures")
}

fn shelf_with(host_bytes: u64) -> (Shelf, Ledger) {
    let ledger = Ledger::new(&BudgetLimits { host_bytes, threads: 2, devices: BTreeMap::default() });
    let source = SourceOptions { model_dirs: vec![fixtures()], ..SourceOptions::default() };
    let options = ShelfOptions {
        source,
        device: DeviceClass::Host,
        precision: PrecisionPolicy::fixed(tallow_models::Precision::Exact),
        room: BatchRoom::default(),
        share: None,
    };
    (Shelf::new(ComputePool::new(2).unwrap(), ledger.clone(), options), ledger)
}

#[tokio::test]
async fn many_callers_share_one_load() {
    let (shelf, ledger) = shelf_with(1 << 30);
    let pins = futures_util::future::join_all((0..16).map(|_| shelf.get("tiny-bert", None))).await;
    let pins: Vec<Pinned> = pins.into_iter().map(|pin| pin.unwrap()).collect();
    assert!(pins.iter().all(|pin| std::ptr::eq(pin.model(), pins[0].model())));
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
    drop(shelf.get("tiny-bert", None).await.unwrap());
    let bytes = shelf.loaded()[0].bytes;
    let (shelf, ledger) = shelf_with(bytes * 5 / 2);
    drop(shelf.get("tiny-bert", None).await.unwrap());
    drop(shelf.get("tiny-distilbert", None).await.unwrap());
    let pinned = shelf.get("tiny-bert", None).await.unwrap();
    let third = shelf.get("tiny-roberta", None).await.unwrap();
    let names: Vec<String> = shelf.loaded().into_iter().map(|model| model.name).collect();
    assert_eq!(names, ["tiny-bert", "tiny-roberta"]);
    let mut waiting = Box::pin(shelf.get("tiny-mpnet", None));
    until_pending(&mut waiting, || ledger.snapshot().host.used > 0).await;
    drop(third);
    let fourth = soon(waiting).await.expect("it loads as soon as one of the others is idle");
    let names: Vec<String> = shelf.loaded().into_iter().map(|model| model.name).collect();
    assert_eq!(names, ["tiny-bert", "tiny-mpnet"]);
    assert!(ledger.snapshot().host.peak <= bytes * 5 / 2);
    drop((pinned, fourth));
}

/// Polls a caller until the condition holds; it has to wait all the while.
async fn until_pending<F: Future + Unpin>(caller: &mut F, condition: impl Fn() -> bool) {
    soon(async {
        loop {
            assert!(futures_util::poll!(&mut *caller).is_pending());
            if condition() {
                return;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("it ends")
}

/// A load that the pool cannot begin yet, whose caller has given up.
async fn given_up_load(shelf: &Shelf, ledger: &Ledger) -> (std::sync::mpsc::Sender<()>, std::sync::mpsc::Sender<()>) {
    let pool = &shelf.inner.pool;
    let mut first = Box::pin(shelf.get("tiny-bert", None));
    assert!(futures_util::poll!(&mut first).is_pending());
    // The look-up ends; the load begins with the next poll.
    for _ in 0..2 {
        pool.run(|| Ok(())).await.unwrap();
    }
    let hold = || {
        let (sender, receiver) = std::sync::mpsc::channel::<()>();
        let mut held = Box::pin(pool.run(move || {
            // The sender's end is the signal.
            let _gone = receiver.recv();
            Ok(())
        }));
        async move {
            assert!(futures_util::poll!(&mut held).is_pending());
            sender
        }
    };
    let gates = (hold().await, hold().await);
    until_pending(&mut first, || ledger.snapshot().host.used > 0).await;
    drop(first);
    gates
}

#[tokio::test]
async fn a_load_whose_callers_gave_up_is_kept_and_never_begun_again() {
    let (shelf, ledger) = shelf_with(1 << 30);
    let gates = given_up_load(&shelf, &ledger).await;
    let model = shelf.model_demand("tiny-bert", &shelf.sketch("tiny-bert").unwrap());
    let mut second = Box::pin(shelf.get("tiny-bert", None));
    let mut third = Box::pin(shelf.get("tiny-bert", None));
    assert!(futures_util::poll!(&mut second).is_pending() && futures_util::poll!(&mut third).is_pending());
    assert_eq!(ledger.model_claims(&model), 1, "no second load is booked");
    drop(gates);
    soon(async {
        while shelf.loaded().is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(ledger.model_claims(&model), 1, "the load that nobody polls came to its end");
    let (second, third) = soon(futures_util::future::join(second, third)).await;
    assert!(std::ptr::eq(second.unwrap().model(), third.unwrap().model()));
    assert_eq!(shelf.loaded()[0].in_use, 0);
}

#[tokio::test]
async fn a_model_that_a_task_has_claimed_loads_at_once_and_stays() {
    let (shelf, _) = shelf_with(1 << 30);
    let demand = |shelf: &Shelf| {
        let model = shelf.model_demand("tiny-bert", &shelf.sketch("tiny-bert").unwrap());
        ResourceDemand { host_bytes: 1000, model: Some(model), ..ResourceDemand::default() }
    };
    let model_bytes = demand(&shelf).model.unwrap().host_bytes;
    let (shelf, ledger) = shelf_with(model_bytes + 1000);
    let demand = demand(&shelf);
    let claim = ledger.try_claim(&demand).expect("both fit");
    assert_eq!(ledger.snapshot().host.used, model_bytes + 1000, "the model is booked before it is loaded");
    let pinned = soon(shelf.get("tiny-bert", demand.model.as_ref())).await.unwrap();
    assert_eq!(ledger.snapshot().host.used, model_bytes + 1000, "and not again by its load");
    drop(pinned);
    assert_eq!(shelf.unload("tiny-bert"), Unload::InUse, "a task that has claimed it is about to use it");
    drop(claim);
    assert_eq!(ledger.snapshot().host.used, model_bytes);
    // Its own model is not what makes room for a task.
    let other = ResourceDemand { host_bytes: 1001, ..demand.clone() };
    shelf.make_room(&other);
    assert_eq!(shelf.loaded().len(), 1);
    assert_eq!(shelf.unload("tiny-bert"), Unload::Unloaded(model_bytes));
    assert_eq!(ledger.snapshot().host.used, 0);
}

#[tokio::test]
async fn a_task_whose_model_does_not_fit_beside_it_is_told_both_numbers() {
    let (shelf, ledger) = shelf_with(6 << 20);
    let model = shelf.model_demand("tiny-bert", &shelf.sketch("tiny-bert").unwrap());
    let demand = ResourceDemand { host_bytes: 4 << 20, model: Some(model.clone()), ..ResourceDemand::default() };
    assert!(model.host_bytes < 6 << 20);
    let refused = ledger.check_can_ever_fit(&demand).unwrap_err();
    let parts = format!("({} for the task and {} for model `tiny-bert`)", 4 << 20, model.host_bytes);
    assert!(refused.code() == "does_not_fit" && refused.to_string().contains(&parts), "{refused}");
}

#[tokio::test]
async fn callers_of_one_failing_load_share_its_error() {
    let folder = tempfile::tempdir().unwrap();
    let whole = fixtures().join("tiny-bert");
    let damaged = folder.path().join("damaged");
    std::fs::create_dir(&damaged).unwrap();
    for entry in std::fs::read_dir(&whole).unwrap() {
        let entry = entry.unwrap();
        if entry.path().is_file() {
            std::fs::copy(entry.path(), damaged.join(entry.file_name())).unwrap();
        }
    }
    std::fs::write(damaged.join("tokenizer.json"), b"{}").unwrap();
    let name = damaged.display().to_string();
    let (shelf, ledger) = shelf_with(1 << 30);
    let outcomes = soon(futures_util::future::join_all((0..8).map(|_| shelf.get(&name, None)))).await;
    let errors: Vec<TaskError> = outcomes.into_iter().map(|outcome| outcome.map(drop).unwrap_err()).collect();
    assert!(errors.iter().all(|error| *error == errors[0] && error.code() == "model_corrupt"), "{errors:?}");
    assert!(shelf.inner.slots.lock().is_empty(), "and nothing is left of it");
    assert_eq!(ledger.snapshot().host.used, 0);
}

#[tokio::test]
async fn a_missing_model_is_explained_to_the_one_who_asks() {
    let dir = fixtures().display().to_string();
    let missing = async |name: &str, source: SourceOptions| {
        let ledger = Ledger::new(&BudgetLimits { host_bytes: 1 << 30, threads: 2, devices: BTreeMap::default() });
        let options = ShelfOptions {
            source,
            device: DeviceClass::Host,
            precision: PrecisionPolicy::fixed(tallow_models::Precision::Exact),
            room: BatchRoom::default(),
            share: None,
        };
        let shelf = Shelf::new(ComputePool::new(1).unwrap(), ledger, options);
        let error = shelf.get(name, None).await.map(drop).unwrap_err();
        assert!(error.code() == "model_missing" && shelf.sketch(name).unwrap_err() == error, "{error}");
        error.to_string()
    };
    let here = SourceOptions { model_dirs: vec![fixtures()], ..SourceOptions::default() };
    let online = SourceOptions { offline: false, ..here.clone() };
    let served = |source: &SourceOptions| SourceOptions { allow_paths: false, ..source.clone() };
    let text = missing("no/such", online.clone()).await;
    assert!(text.contains(&dir) && text.ends_with("`tallow models pull no/such` fetches it from the hub"), "{text}");
    let text = missing("no/such", here.clone()).await;
    assert!(text.contains(&dir) && !text.contains("pull") && text.contains("HF_HUB_OFFLINE"), "{text}");
    let text = missing("/no/such/folder", online.clone()).await;
    assert!(text.contains("/no/such/folder") && !text.contains("pull"), "{text}");
    let text = missing("no/such", served(&online)).await;
    assert!(!text.contains(&dir) && text.contains("not on this worker") && text.contains("tallow models pull no/such"), "{text}");
    let text = missing("no/such", served(&here)).await;
    assert!(!text.contains(&dir) && !text.contains("pull") && text.contains("operator"), "{text}");
    // A folder without weights: what is missing is said where paths may be told, and no fetch would fill it.
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().display().to_string();
    std::fs::create_dir(folder.path().join("empty")).unwrap();
    std::fs::copy(fixtures().join("tiny-bert/config.json"), folder.path().join("empty/config.json")).unwrap();
    let incomplete = SourceOptions { model_dirs: vec![folder.path().to_owned()], ..online.clone() };
    let text = missing("empty", incomplete.clone()).await;
    assert!(text.contains(&place) && !text.contains("pull"), "{text}");
    let text = missing("empty", served(&incomplete)).await;
    assert!(!text.contains(&place) && !text.contains("pull") && text.contains("a file of it is missing"), "{text}");
}

#[tokio::test]
async fn a_model_larger_than_the_budget_never_fits() {
    let (shelf, ledger) = shelf_with(1 << 20);
    assert_eq!(shelf.get("tiny-bert", None).await.map(drop).unwrap_err().code(), "does_not_fit");
    assert_eq!(ledger.snapshot().host.used, 0);
    assert!(shelf.loaded().is_empty());
}

#[tokio::test]
async fn a_failed_load_leaves_nothing_behind() {
    let (shelf, ledger) = shelf_with(1 << 30);
    for (name, code) in
        [("no-such-model", "model_missing"), ("../../etc", "model_missing"), ("a/b/c", "invalid_payload"), ("a..b", "invalid_payload")]
    {
        let error = shelf.get(name, None).await.map(drop).unwrap_err();
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

/// Set in the process that runs one test alone.
#[cfg(target_os = "linux")]
const ALONE: &str = "TALLOW_TEST_ALONE";

#[cfg(target_os = "linux")]
#[tokio::test]
async fn twenty_loads_and_unloads_give_their_memory_back() {
    let Ok(root) = std::env::var("TALLOW_TEST_MODELS") else {
        eprintln!("skipped: TALLOW_TEST_MODELS is not set");
        return;
    };
    // What is resident belongs to the process, so the other tests may not run in it meanwhile.
    if std::env::var_os(ALONE).is_none() {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "shelf::tests::twenty_loads_and_unloads_give_their_memory_back", "--nocapture"]).env(ALONE, "1");
        let done = child.output().unwrap();
        let told = String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success() && told.contains("1 passed"), "{told}");
        return;
    }
    let name = Path::new(&root).join("all-MiniLM-L6-v2").display().to_string();
    let (shelf, _) = shelf_with(4 << 30);
    let mut after_first = 0;
    for cycle in 0..20 {
        let pin = shelf.get(&name, None).await.unwrap();
        let claimed = shelf.loaded()[0].bytes;
        drop(pin);
        assert!(matches!(shelf.unload(&name), Unload::Unloaded(_)));
        // The thread of the load lets go of its last buffers a moment after it has handed the model over.
        let settled = Duration::from_secs(10);
        let began = Instant::now();
        let bound = if cycle == 0 { u64::MAX } else { after_first + claimed / 5 };
        while resident_bytes() >= bound {
            assert!(began.elapsed() < settled, "cycle {cycle}: {} bytes resident, {after_first} after the first unload", resident_bytes());
            tokio::task::yield_now().await;
        }
        if cycle == 0 {
            after_first = resident_bytes();
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
        let mut given_up = Box::pin(shelf.get(&name, None));
        assert!(futures_util::poll!(given_up.as_mut()).is_pending());
        drop(given_up);
    }
    shelf.get("tiny-bert", None).await.map(drop).expect("a place is free");
}

#[tokio::test]
async fn idle_models_make_room_for_a_task_that_nothing_else_could_help() {
    let (shelf, ledger) = shelf_with(1 << 30);
    drop(shelf.get("tiny-bert", None).await.unwrap());
    let demand = ResourceDemand { host_bytes: (1 << 30) - 1, ..ResourceDemand::default() };
    assert!(ledger.try_claim(&demand).is_err());
    shelf.make_room(&demand);
    assert!(ledger.try_claim(&demand).is_ok() && shelf.loaded().is_empty());
}

#[tokio::test]
async fn asking_for_room_that_is_there_wakes_nobody() {
    let (shelf, ledger) = shelf_with(1 << 30);
    drop(shelf.get("tiny-bert", None).await.unwrap());
    let mut released = Box::pin(ledger.released());
    assert!(futures_util::poll!(&mut released).is_pending());
    shelf.make_room(&ResourceDemand { host_bytes: 1 << 20, ..ResourceDemand::default() });
    assert!(futures_util::poll!(&mut released).is_pending() && shelf.loaded().len() == 1);
}

#[tokio::test]
async fn a_model_waits_for_a_place_while_every_one_is_in_use() {
    let (shelf, _) = shelf_with(1 << 30);
    let mut pins: Vec<Pin> = (0..SHELF_MODELS_MAX).map(|number| shelf.pin(&format!("in-use-{number}")).unwrap()).collect();
    let mut waiting = Box::pin(shelf.get("tiny-bert", None));
    assert!(futures_util::poll!(&mut waiting).is_pending());
    assert!(shelf.pin("tiny-bert").is_none());
    pins.pop();
    soon(waiting).await.map(drop).unwrap();
}
