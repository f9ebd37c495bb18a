//! Floor 1, files to weights to forward pass: where models lie, how their files are checked and read, tokens, encoders.
//!
//! Knows no tasks, queues or environment; starts no threads; opens no socket but in `source/hub`.
#![forbid(unsafe_code)]

mod ability;
pub mod arch;
pub mod builtin;
pub mod device;
mod embedder;
pub mod encoder;
mod error;
pub mod gguf;
pub mod heads;
pub mod layers;
mod model;
pub mod pooling;
pub mod precision;
pub mod quality;
pub mod source;
pub mod tags;
pub mod text;
pub mod weights;

pub use ability::{Abilities, Ability};
pub use builtin::BuiltinEmbedder;
pub use embedder::{Embedder, EmbedderInfo, Sequence, StopCheck};
pub use encoder::Encoder;
pub use error::ModelError;
pub use model::Model;
pub use precision::{Precision, PrecisionChoice, PrecisionPolicy};
/// For moments after a model was read or let go: the pages of its memory go back to the system.
pub use tallow_kernels::heap::give_back as give_back_memory;
