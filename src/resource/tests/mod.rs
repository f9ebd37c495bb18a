//! What there is and who holds it, on made-up hosts, on this one, and under load.

mod budget;
mod bytes;
mod compute;
mod device;
mod probe;
mod simulation;
mod threads;
