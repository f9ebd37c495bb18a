//! What a task asks of the host, computed from its payload's shape before anything is allocated.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Task;

/// Bytes an unknown task is charged beside its payload: room for its bookkeeping and a small answer.
pub const BASE_TASK_BYTES: u64 = 64 * 1024;

/// Where a task runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceClass {
    /// The host's processors.
    #[default]
    Host,
    /// The CUDA device of that index.
    Cuda(usize),
    /// The Metal device.
    Metal,
}

/// The share of memory that one executor's tasks and models may hold together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryShare {
    /// Name of the account in the ledger.
    pub account: Arc<str>,
    /// The bound (`max_memory_mb` of the executor's capabilities), in bytes.
    pub limit_bytes: u64,
}

/// A model that a task needs in memory. Its bytes are booked once, however many claims name it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ModelDemand {
    /// Whose model it is: the same name may mean another model elsewhere.
    pub owner: u64,
    /// Its name.
    pub name: Arc<str>,
    /// Host memory that it holds while it is loaded, in bytes.
    pub host_bytes: u64,
    /// Device memory that it holds while it is loaded, in bytes.
    pub device_bytes: u64,
}

/// What a task needs to run; the manager claims all of it before the task starts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResourceDemand {
    /// Host memory at its peak, in bytes, the payload included and the model not.
    pub host_bytes: u64,
    /// Device memory at its peak, in bytes, the model's not included.
    pub device_bytes: u64,
    /// Compute threads it keeps busy; 0 for work that joins a batch of an engine.
    pub threads: u32,
    /// Where it runs.
    pub device: DeviceClass,
    /// The model it uses, if any, beside the bytes above: claimed with them, so that a task that runs never waits for its model's memory.
    pub model: Option<ModelDemand>,
    /// The executor's own memory bound, if it declares one.
    pub share: Option<MemoryShare>,
}

impl ResourceDemand {
    /// The default estimate: the payload's size three times over (parsed form, work copy, answer) plus [`BASE_TASK_BYTES`]; one thread.
    #[must_use]
    pub fn of_payload(task: &Task) -> Self {
        let payload = json_bytes(&task.payload.data) + task.payload.parts.values().map(|p| p.bytes().len() as u64).sum::<u64>();
        Self { host_bytes: BASE_TASK_BYTES.saturating_add(payload.saturating_mul(3)), threads: 1, ..Self::default() }
    }
}

/// Approximate heap bytes of a JSON value: what its text would take, numbers as 24 bytes.
#[must_use]
pub fn json_bytes(value: &serde_json::Value) -> u64 {
    match value {
        serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::Number(_) => 24,
        serde_json::Value::String(text) => 24 + text.len() as u64,
        serde_json::Value::Array(items) => 24 + items.iter().map(json_bytes).sum::<u64>(),
        serde_json::Value::Object(fields) => 24 + fields.iter().map(|(k, v)| 24 + k.len() as u64 + json_bytes(v)).sum::<u64>(),
    }
}
