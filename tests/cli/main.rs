//! The command line from outside: the built program, its output, its exit codes.

mod batch;
mod commands;
mod doors;
mod harness;
mod precision;
mod server;
mod settings;
mod worker;
