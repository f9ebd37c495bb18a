//! Floor 3, who may ask: bearer tokens, the files that keep them, and the names they stand for.
//!
//! Knows no HTTP and no command line. Invariant: a token's text never appears in a log, a `Debug` output or an error.

mod access;
mod error;
mod store;
mod token;

pub use access::{Access, Identity, Keyring};
pub use error::SecurityError;
pub use store::{Stored, TOKEN_FILE, TokenStore};
pub use token::{Token, TokenDigest};

#[cfg(test)]
mod tests;
