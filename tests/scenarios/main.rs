//! The worker as its users meet it: a manager with several executors at once, under limits, floods, faults and noise. Public names only.
//!
//! Each file is one promise. Scenarios that measure time or memory run alone ([`support::alone`]); the others share the machine.

mod bad_inputs;
mod batches;
mod deadlines;
mod fairness;
mod faults;
mod flood;
mod graph;
mod library;
mod memory;
mod models;
mod sets;
mod storms;
mod support;
mod throughput;
