//! The one error of this crate.

/// Why a kernel refused its operands or stopped.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum KernelError {
    /// Two operands that must agree in a length do not.
    #[error("{op}: expected {expected} {what}, got {got}")]
    Mismatch {
        /// The operation.
        op: &'static str,
        /// What is counted: `dimensions`, `rows`, `outputs`.
        what: &'static str,
        /// The length that was needed.
        expected: usize,
        /// The length that was given.
        got: usize,
    },
    /// A length is zero or above its bound.
    #[error("{op}: {what} must be 1 to {max}, got {got}")]
    OutOfRange {
        /// The operation.
        op: &'static str,
        /// What is counted.
        what: &'static str,
        /// The largest value allowed.
        max: usize,
        /// The value that was given.
        got: usize,
    },
    /// The metric does not apply to this kind of row.
    #[error("{op}: {reason}")]
    Unsupported {
        /// The operation.
        op: &'static str,
        /// What does not apply to what, and what does.
        reason: &'static str,
    },
    /// A value cannot be represented in the target type, or is not finite where it must be.
    #[error("{op}: value {value} at row {row}, column {column} cannot be represented")]
    NotRepresentable {
        /// The operation.
        op: &'static str,
        /// Row of the first such value.
        row: usize,
        /// Column of the first such value.
        column: usize,
        /// The value.
        value: f32,
    },
    /// The caller's stop function answered true.
    #[error("stopped by the caller")]
    Stopped,
}
