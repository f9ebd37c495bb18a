//! Floor 2, the words: tasks, payloads, results, errors, events, demands and the executor port.
//!
//! Knows nothing of managers, executors, transports, files or clocks (but for [`Task::new`]). Every other part of the worker speaks in these words,
//! and no part defines a second version of one.

mod context;
mod demand;
mod error;
mod event;
mod executor;
mod id;
mod id_map;
pub mod inference;
mod model;
mod part;
mod submission;
pub mod text;
pub mod vector;
mod wording;

pub use context::{CancelHandle, INLINE_PARTS_BYTES_MAX, PartSink, TaskContext, TaskSink, WorkUnit, execute_inline};
pub use demand::{BASE_TASK_BYTES, DeviceClass, MemoryShare, ModelDemand, ResourceDemand, json_bytes};
pub use error::TaskError;
pub use event::{EventError, EventHandler, TaskEvent};
pub use executor::{ExecutorCapabilities, ExecutorReport, OperationInfo, Prepared, TaskExecutor};
pub use id::TaskId;
pub use id_map::IdMap;
pub use model::{
    METADATA_EXECUTOR, METADATA_FAILED_COUNT, METADATA_OPERATION, Task, TaskPayload, TaskPriority, TaskResult, TaskStatus, TaskType,
};
pub use part::{Dtype, Part, Parts};
pub use submission::{Submission, SubmissionSpec};
pub use wording::{plainly, unserved};
