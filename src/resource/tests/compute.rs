//! Tests of the compute threads.

use std::sync::{Arc, Barrier};

use crate::resource::ComputePool;
use crate::task::TaskError;

fn pool() -> ComputePool {
    ComputePool::new(2).expect("threads start")
}

#[tokio::test]
async fn single_work_stays_on_one_thread_and_split_work_has_them_all() {
    let pool = pool();
    assert_eq!(pool.run_single(|| Ok(rayon::current_num_threads())).await, Ok(1));
    assert_eq!(pool.run(|| Ok(rayon::current_num_threads())).await, Ok(2));
}

#[tokio::test]
async fn as_many_singles_run_side_by_side_as_there_are_threads_and_more_wait() {
    let pool = pool();
    let both = Arc::new(Barrier::new(2));
    let meet = || {
        let both = Arc::clone(&both);
        pool.run_single(move || {
            both.wait();
            Ok(())
        })
    };
    let (a, b, c, d) = tokio::join!(meet(), meet(), meet(), meet());
    assert_eq!([a, b, c, d], [Ok(()), Ok(()), Ok(()), Ok(())]);
}

#[tokio::test]
async fn a_panic_fails_its_own_work_and_gives_the_lane_back() {
    let pool = pool();
    for _ in 0..8 {
        let outcome = pool.run_single::<(), _>(|| panic!("planted")).await;
        assert_eq!(outcome, Err(TaskError::internal("the executor panicked; only this task is affected", "planted")));
    }
    assert_eq!(pool.run_single(|| Ok(1)).await, Ok(1));
}
