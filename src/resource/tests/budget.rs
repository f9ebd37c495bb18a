//! The accounts: all or nothing, symmetric, and never above a limit, for any sequence of claims.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use crate::resource::{Account, Budget, BudgetLimits};
use crate::task::{DeviceClass, MemoryShare, ModelDemand, ResourceDemand, TaskError};

fn limits(host_bytes: u64, threads: u32, cuda_bytes: u64) -> BudgetLimits {
    BudgetLimits { host_bytes, threads, devices: BTreeMap::from([("cuda:0".into(), cuda_bytes)]) }
}

fn demand(host_bytes: u64) -> ResourceDemand {
    ResourceDemand { host_bytes, ..ResourceDemand::default() }
}

fn shared(host_bytes: u64, account: &str, limit_bytes: u64) -> ResourceDemand {
    ResourceDemand { share: Some(MemoryShare { account: account.into(), limit_bytes }), ..demand(host_bytes) }
}

fn on(device: DeviceClass, device_bytes: u64) -> ResourceDemand {
    ResourceDemand { device, device_bytes, ..ResourceDemand::default() }
}

#[test]
fn a_refused_claim_books_nothing() {
    let mut budget = Budget::new(&limits(100, 2, 50));
    budget.claim(&ResourceDemand { threads: 2, ..demand(10) }).unwrap();
    let before = budget.clone();
    let refused = [
        (ResourceDemand { device: DeviceClass::Cuda(0), device_bytes: 51, ..demand(1) }, "cuda:0 memory"),
        (ResourceDemand { threads: 1, ..shared(1, "a", 10) }, "compute threads"),
        (shared(11, "a", 10), "executor a memory"),
        (demand(91), "host memory"),
        (on(DeviceClass::Cuda(1), 0), "cuda:1 memory"),
        (on(DeviceClass::Metal, 1), "metal memory"),
        (demand(u64::MAX), "host memory"),
        (ResourceDemand { device_bytes: u64::MAX, ..shared(90, "a", u64::MAX - 1) }, "executor a memory"),
    ];
    for (demand, resource) in refused {
        let shortage = budget.claim(&demand).unwrap_err();
        assert_eq!(shortage.resource, resource);
        assert!(shortage.needed > shortage.free, "{shortage:?}");
        assert_eq!(budget, before, "{resource}");
    }
}

#[test]
fn an_account_can_be_filled_to_the_last_byte() {
    let mut budget = Budget::new(&limits(u64::MAX, 1, 50));
    budget.claim(&demand(u64::MAX)).unwrap();
    assert!(budget.claim(&demand(1)).is_err());
    budget.claim(&demand(0)).unwrap();
    budget.release(&demand(u64::MAX));
    assert_eq!(budget.host, Account { used: 0, limit: u64::MAX, peak: u64::MAX, lasting: 0 });
}

#[test]
fn a_share_covers_host_and_device_memory_together() {
    let mut budget = Budget::new(&limits(100, 1, 100));
    let model = ResourceDemand { device: DeviceClass::Cuda(0), device_bytes: 60, ..shared(20, "models", 90) };
    budget.claim(&model).unwrap();
    assert_eq!(budget.shares["models"].used, 80);
    assert_eq!(budget.claim(&shared(11, "models", 90)).unwrap_err().resource, "executor models memory");
    budget.claim(&shared(10, "models", 90)).unwrap();
    budget.release(&model);
    assert_eq!(budget.shares["models"], Account { used: 10, limit: 90, peak: 90, lasting: 0 });
    assert_eq!((budget.devices["cuda:0"].used, budget.host.used), (0, 10));
}

#[test]
fn a_share_follows_the_limit_of_the_latest_demand() {
    let mut budget = Budget::new(&limits(1000, 1, 0));
    budget.claim(&shared(50, "a", 50)).unwrap();
    budget.claim(&shared(40, "a", 100)).unwrap();
    assert_eq!(budget.shares["a"], Account { used: 90, limit: 100, peak: 90, lasting: 0 });
    let shrunk = budget.claim(&shared(1, "a", 60)).unwrap_err();
    assert_eq!((shrunk.free, shrunk.limit), (0, 60));
    assert_eq!(budget.shares["a"].limit, 100, "a refused claim changes no limit");
    budget.release(&shared(50, "a", 50));
    budget.claim(&shared(20, "a", 60)).unwrap();
    assert_eq!(budget.shares["a"], Account { used: 60, limit: 60, peak: 90, lasting: 0 });
}

#[test]
fn a_task_that_wants_more_threads_than_there_are_gets_them_all() {
    let mut budget = Budget::new(&limits(100, 4, 0));
    let greedy = ResourceDemand { threads: u32::MAX, ..demand(1) };
    budget.claim(&greedy).unwrap();
    assert_eq!(budget.threads.used, 4);
    assert!(budget.claim(&ResourceDemand { threads: 1, ..demand(1) }).is_err());
    budget.claim(&demand(1)).unwrap();
    budget.release(&greedy);
    assert_eq!((budget.threads.used, budget.host.used), (0, 1));
    assert!(budget.check_can_ever_fit(&greedy).is_ok());
}

#[test]
fn what_can_never_fit_is_told_apart_from_what_does_not_fit_now() {
    let mut budget = Budget::new(&limits(100, 1, 50));
    budget.claim(&demand(100)).unwrap();
    assert!(budget.check_can_ever_fit(&demand(100)).is_ok());
    let error = budget.check_can_ever_fit(&demand(101)).unwrap_err();
    assert_eq!(error, TaskError::DoesNotFit { resource: "host memory".into(), needed_bytes: 101, available_bytes: 100 });
    let error = budget.check_can_ever_fit(&shared(11, "a", 10)).unwrap_err();
    assert_eq!(error, TaskError::DoesNotFit { resource: "executor a memory".into(), needed_bytes: 11, available_bytes: 10 });
    assert_eq!(budget.check_can_ever_fit(&on(DeviceClass::Cuda(0), 51)).unwrap_err().code(), "does_not_fit");
    assert_eq!(budget.check_can_ever_fit(&on(DeviceClass::Cuda(3), 0)).unwrap_err().code(), "device_unavailable");
}

#[test]
fn idle_share_accounts_make_room_and_busy_ones_are_kept() {
    let mut budget = Budget::new(&limits(1_000_000, 1, 0));
    budget.claim(&shared(5, "busy", 10)).unwrap();
    for index in 0..5000 {
        let one = shared(1, &format!("e{index}"), 10);
        budget.claim(&one).unwrap();
        budget.release(&one);
        assert!(budget.shares.len() <= 1024);
    }
    assert_eq!(budget.shares["busy"].used, 5);
    let mut crowded = Budget::new(&limits(1_000_000, 1, 0));
    for index in 0..1024 {
        crowded.claim(&shared(1, &format!("e{index}"), 10)).unwrap();
    }
    assert_eq!(crowded.claim(&shared(1, "one-more", 10)).unwrap_err().resource, "executor accounts");
    crowded.claim(&shared(1, "e7", 10)).unwrap();
}

prop_compose! {
    fn any_demand()(host in 0u64..60, device in 0usize..3, device_bytes in 0u64..40, threads in 0u32..6, share in 0usize..4, limit in 20u64..90)
        -> ResourceDemand {
        ResourceDemand {
            host_bytes: host,
            device_bytes,
            threads,
            device: [DeviceClass::Host, DeviceClass::Cuda(0), DeviceClass::Cuda(1)][device],
            model: None,
            share: (share < 3).then(|| MemoryShare { account: ["a", "b", "c"][share].into(), limit_bytes: limit }),
        }
    }
}

/// What the live claims of an account add up to, computed anew.
fn held(live: &[ResourceDemand], amount: impl Fn(&ResourceDemand) -> u64) -> u64 {
    live.iter().map(amount).sum()
}

fn assert_books_agree(budget: &Budget, live: &[ResourceDemand]) -> Result<(), TestCaseError> {
    prop_assert_eq!(budget.host.used, held(live, |d| d.host_bytes));
    prop_assert_eq!(budget.threads.used, held(live, |d| u64::from(d.threads).min(budget.threads.limit)));
    let on_device = |d: &ResourceDemand| if d.device == DeviceClass::Cuda(0) { d.device_bytes } else { 0 };
    prop_assert_eq!(budget.devices["cuda:0"].used, held(live, on_device));
    for (name, account) in &budget.shares {
        let of_share = |d: &ResourceDemand| match &d.share {
            Some(share) if Arc::ptr_eq(&share.account, name) || share.account == *name => d.host_bytes + d.device_bytes,
            _ => 0,
        };
        prop_assert_eq!(account.used, held(live, of_share));
    }
    for account in [&budget.host, &budget.threads, &budget.devices["cuda:0"]] {
        prop_assert!(account.used <= account.limit && account.used <= account.peak && account.peak <= account.limit);
    }
    Ok(())
}

proptest! {
    /// Whatever is claimed and released in whatever order: the books equal the live claims, no limit is passed, a claim is refused only where
    /// it does not fit, and in the end nothing is left.
    #[test]
    fn the_books_equal_the_live_claims_and_stay_within_the_limits(
        host_limit in 0u64..200, threads in 0u32..8, cuda in 0u64..100,
        steps in prop::collection::vec((any_demand(), prop::option::of(0usize..8)), 1..60),
    ) {
        let mut budget = Budget::new(&limits(host_limit, threads, cuda));
        let mut live: Vec<ResourceDemand> = Vec::new();
        for (demand, release) in steps {
            if let Some(index) = release.filter(|index| *index < live.len()) {
                budget.release(&live.swap_remove(index));
            }
            let before = budget.clone();
            match budget.claim(&demand) {
                Ok(()) => {
                    prop_assert!(budget.check_can_ever_fit(&demand).is_ok());
                    // An empty demand is granted even where a shrunken limit is already passed.
                    if let Some(share) = demand.share.as_ref().filter(|_| demand.host_bytes + demand.device_bytes > 0) {
                        prop_assert!(budget.shares[&share.account].used <= share.limit_bytes);
                    }
                    live.push(demand);
                }
                Err(shortage) => {
                    prop_assert!(shortage.needed > shortage.free);
                    prop_assert_eq!(&budget, &before);
                }
            }
            assert_books_agree(&budget, &live)?;
        }
        for demand in live.drain(..) {
            budget.release(&demand);
        }
        assert_books_agree(&budget, &[])?;
    }

    #[test]
    fn what_an_idle_worker_can_meet_it_grants(demand in any_demand()) {
        let mut idle = Budget::new(&limits(100, 4, 50));
        let ever = idle.check_can_ever_fit(&demand).is_ok();
        prop_assert_eq!(idle.claim(&demand).is_ok(), ever);
    }
}

#[test]
fn a_model_is_booked_once_however_many_claims_name_it() {
    let mut budget = Budget::new(&BudgetLimits { host_bytes: 100, threads: 4, devices: BTreeMap::new() });
    let model = |name: &str, owner| ModelDemand { owner, name: name.into(), host_bytes: 50, device_bytes: 0 };
    let using = |host_bytes, name: &str| ResourceDemand { model: Some(model(name, 1)), ..shared(host_bytes, "models", 90) };
    budget.claim(&using(10, "a")).unwrap();
    budget.claim(&using(20, "a")).unwrap();
    assert_eq!((budget.host.used, budget.shares["models"].used, budget.model_claims(&model("a", 1))), (80, 80, 2));
    let short = budget.claim(&using(5, "b")).unwrap_err();
    assert_eq!((short.resource.as_str(), short.needed, short.free), ("host memory", 55, 20));
    assert_eq!((short.relieved_by(&using(0, "a")), short.relieved_by(&using(7, "a"))), (50, 57));
    let short = budget.claim(&using(15, "a")).unwrap_err();
    assert_eq!(
        (short.resource.as_str(), short.relieved_by(&demand(3)), short.relieved_by(&using(7, "a"))),
        ("executor models memory", 0, 57)
    );
    assert!(budget.claim(&ResourceDemand { model: Some(model("a", 2)), ..demand(0) }).is_err(), "the same name of another shelf");
    budget.release(&using(10, "a"));
    assert_eq!(budget.host.used, 70);
    budget.release(&using(20, "a"));
    assert_eq!((budget.host.used, budget.shares["models"].used, budget.model_claims(&model("a", 1))), (0, 0, 0));
}

#[test]
fn what_never_fits_beside_its_model_is_refused_with_both_numbers() {
    let budget = Budget::new(&BudgetLimits { host_bytes: 100, threads: 4, devices: BTreeMap::new() });
    let model = ModelDemand { owner: 1, name: "m".into(), host_bytes: 50, device_bytes: 0 };
    let using = |host_bytes| ResourceDemand { model: Some(model.clone()), ..demand(host_bytes) };
    assert_eq!(budget.check_can_ever_fit(&using(50)), Ok(()));
    let refused = budget.check_can_ever_fit(&using(51)).unwrap_err().to_string();
    assert_eq!(refused, "does not fit: needs 101 bytes of host memory (51 for the task and 50 for model `m`), 100 can be had");
    let refused = budget.check_can_ever_fit(&using(u64::MAX)).unwrap_err();
    assert_eq!(refused.code(), "does_not_fit", "sums do not wrap");
}
