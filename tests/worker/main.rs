//! The worker from outside: one integration binary, one module per door.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "tests may unwrap")]

mod http;
