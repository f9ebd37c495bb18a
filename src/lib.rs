//! Tallow: a compute worker for inference and vectors.
//!
//! One worker executes *tasks* (text processing, vector computation, model inference) by priority and by the resources it really has.
//! The names at this root are the contract that other agents compile against; ARCHITECTURE.md draws the house.
#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(missing_docs))]

pub mod config;
pub mod embed;
pub mod executor;
pub mod http;
pub mod journal;
pub mod manager;
pub mod metrics;
pub mod resource;
pub mod security;
pub mod shelf;
pub mod task;
pub mod vectors;
pub mod wire;
pub mod worker;

#[doc(hidden)]
pub mod cli;

pub use executor::inference::{InferenceOptions, ModelInferenceExecutor};
pub use executor::{ExecutorRegistry, TextOptions, TextProcessingExecutor, VectorComputationExecutor, VectorOptions};
pub use manager::{
    EventNotifier, MAX_RETRY_COUNT, ManagerOptions, ManualClock, MetricsCollector, TaskEventHandler, TaskManager, resolve_names,
};
pub use task::*;
pub use wire::{TaskMessage, TaskProtocol};
