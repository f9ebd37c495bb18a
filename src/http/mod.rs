//! Floor 8, the HTTP API: submits, watches and lists tasks; nothing else.
//!
//! It speaks to the manager and knows no executor, model or device. Status codes exist here and nowhere below. Every route lies behind one gate
//! (`gate.rs`) that denies by default, bounds the head, gives every error the same shape and every answer a request id. Everything a client can make
//! grow is bounded in [`HttpLimits`].
//!
//! Invariant: an answer that says a task was accepted is true, and no accepted task is lost by what happens to its connection.

mod batch;
mod body;
mod call;
mod docs;
mod embeddings;
mod error;
mod events;
mod executors;
mod gate;
mod health;
mod host;
mod io;
mod json;
mod openapi;
mod options;
mod parts;
mod rerank;
mod route_docs;
mod routes;
mod serve;
mod state;
mod status;
mod tasks;
mod tei;
mod tensors;
mod view;

pub use options::{CallFacts, HttpLimits, HttpOptions};
pub use serve::{ServeError, serve};
pub use state::{ApiManager, AppState};

use routes::router;
