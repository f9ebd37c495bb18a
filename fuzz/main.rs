//! Fuzz targets on the stable toolchain: broken and unusual input for everything that reads bytes or JSON from outside.
//!
//! Each target runs for `TALLOW_FUZZ_SECONDS` (1 by default) on inputs made from a seed and reports the seed, the number of inputs and, on a
//! failure, the input after shrinking. `TALLOW_FUZZ_SEED` repeats a run. A target fails when something panics, takes too long, or answers what its
//! contract rules out.

mod bytes;
mod documents;
mod harness;
mod json;
mod references;
mod sets;
mod tasks;
mod weights;
mod wire;
