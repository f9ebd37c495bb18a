//! The HTTP API over real sockets on a port the system chose.

mod bad_input;
mod events;
mod flood;
mod gate;
mod harness;
mod heads;
mod openai;
mod sets;
mod tasks;
