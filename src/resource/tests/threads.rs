//! The thread plan.

use crate::resource::{HostCpus, POOL_THREADS_MAX, ThreadFlags, ThreadPlan};

fn cpus(online: usize, allowed: usize, quota: Option<f64>, usable: usize) -> HostCpus {
    HostCpus { online, allowed, cores: allowed.div_ceil(2), quota, usable }
}

fn plan(cpus: &HostCpus) -> (usize, usize, usize) {
    let plan = ThreadPlan::new(cpus, ThreadFlags::default()).unwrap();
    assert_eq!(plan.reasons.len(), 3);
    (plan.compute, plan.candle, plan.runtime)
}

#[test]
fn pools_follow_from_the_host() {
    assert_eq!(plan(&cpus(1, 1, None, 1)), (1, 1, 2));
    assert_eq!(plan(&cpus(2, 2, None, 2)), (2, 1, 2));
    assert_eq!(plan(&cpus(16, 16, None, 16)), (16, 8, 4));
    assert_eq!(plan(&cpus(256, 256, None, 256)), (256, 128, 8));
    assert_eq!(plan(&cpus(64, 64, Some(2.5), 2)), (2, 2, 2));
    assert_eq!(plan(&cpus(0, 0, None, 0)), (1, 1, 2), "a probe that found nothing still makes a plan");
}

#[test]
fn the_reason_names_what_binds() {
    let reason = |cpus: &HostCpus| ThreadPlan::new(cpus, ThreadFlags::default()).unwrap().reasons.remove(0);
    assert_eq!(reason(&cpus(64, 64, Some(2.5), 2)), "compute: 2, the cgroup quota allows 2.50 processors of 64");
    assert_eq!(reason(&cpus(64, 4, None, 4)), "compute: 4, the affinity mask allows 4 processors of 64");
    assert_eq!(reason(&cpus(4, 4, Some(9.0), 4)), "compute: 4, the machine has 4 processors");
}

#[test]
fn flags_win_within_bounds() {
    let flags = ThreadFlags { runtime: Some(3), compute: Some(5), candle: None };
    let plan = ThreadPlan::new(&cpus(16, 16, None, 16), flags).unwrap();
    assert_eq!((plan.runtime, plan.compute, plan.candle), (3, 5, 5));
    for count in [0, POOL_THREADS_MAX + 1, usize::MAX] {
        for flags in [
            ThreadFlags { runtime: Some(count), ..ThreadFlags::default() },
            ThreadFlags { compute: Some(count), ..ThreadFlags::default() },
            ThreadFlags { candle: Some(count), ..ThreadFlags::default() },
        ] {
            assert!(ThreadPlan::new(&cpus(16, 16, None, 16), flags).is_err(), "{flags:?}");
        }
    }
}
