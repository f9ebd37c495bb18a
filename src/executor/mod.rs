//! Floor 6, the concrete executors and the registry that puts many behind one.

pub mod inference;
pub mod operation;
mod registry;
pub mod text;
pub mod vector;

pub use registry::{ExecutorRegistry, REGISTERED_EXECUTORS_MAX};
pub use text::{TextOptions, TextProcessingExecutor};
pub use vector::{VectorComputationExecutor, VectorOptions};
