//! Floor 3, tasks between workers as bytes: the messages, and the frame that carries one. Pure.
//!
//! Never opens a connection and never asks who is on it: [`check_sender`] is given the name that the connection's key stands for.
//! Invariant: whatever decodes was within its bounds before anything of its size was allocated, and encodes back to an equal message.

mod error;
mod frame;
mod message;

pub use error::WireError;
pub use frame::{FRAME_BYTES_MAX, Frame, PREFIX_BYTES, WIRE_VERSION, check_sender};
pub use message::{TaskMessage, TaskProtocol};

#[cfg(test)]
mod tests;
