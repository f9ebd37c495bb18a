//! Floor 4, the task manager: pure decisions under a thin run loop.
//!
//! The pure files (`state`, `queue`, `admission`, `retry`, `retention`, `dependencies`, `references`, `idempotency`, `ring`, `timers`, `histogram`,
//! `throughput`) know no clock,
//! lock, chance or I/O. `core` applies them to the table of tasks behind one short lock; `run_loop` takes turns with it and owns the runs; `task_manager`
//! is the handle. The manager knows executors only as [`crate::task::TaskExecutor`]. Invariants: a terminal status never changes; an outcome counts only for
//! the attempt that is running; an accepted task ends; what runs holds its claim until the work has returned.

pub mod admission;
pub mod chunked;
mod clock;
mod core;
pub mod dependencies;
mod events;
mod handlers;
pub mod histogram;
pub mod idempotency;
mod large;
mod names;
mod options;
pub mod queue;
pub mod references;
mod registers;
pub mod retention;
pub mod retry;
pub mod ring;
mod run;
mod run_loop;
mod shared;
pub mod state;
mod table;
mod task_manager;
pub mod throughput;
pub mod timers;
mod views;

#[cfg(test)]
mod tests;

pub use clock::{Clock, ManualClock, SystemClock};
pub use dependencies::DEPENDENCY_COUNT_MAX;
pub use events::{Delivery, EventCursor, EventReader, EventRecord};
pub use handlers::{EventNotifier, MetricsCollector, MetricsSnapshot, NOTIFIER_CAPACITY, TaskEventHandler};
pub use histogram::Histogram;
pub use names::{DEADLINE_MS_MAX, NAME_BYTES_MAX, resolve_names};
pub use options::{HOST_BYTES_DEFAULT, ManagerOptions, OnShortage};
pub use references::{JSON_DEPTH_MAX, REFERENCE_COUNT_MAX};
pub use retry::{MAX_RETRY_COUNT, RetryPolicy};
pub use run::{METADATA_ATTEMPTS, METADATA_COMPUTE_MS, METADATA_QUEUE_MS};
pub use shared::{LABEL_BYTES_MAX, LABEL_COUNT_MAX, SUBMITTER_BYTES_MAX};
pub use task_manager::TaskManager;
pub use throughput::OperationStats;
pub use views::{
    DrainReport, LIST_LIMIT_DEFAULT, LIST_LIMIT_MAX, ManagerStats, StatusKind, StatusView, TaskFilter, TaskSummary, Totals, TypeStats,
};
