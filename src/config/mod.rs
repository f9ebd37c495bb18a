//! Floor 9, settings: what the command line, the environment and one TOML file may say, and in which order it counts.
//!
//! Every setting is defined once, in a layer struct that is both a group of command-line flags (with their `TALLOW_*` twins) and a
//! table of the file. A value counts in the order flag, environment, file, default. Knows no command and composes nothing.

mod checks;
mod file;
mod layer;
mod quantity;
mod settings;

pub use file::{ConfigError, ConfigFile, default_config_path};
pub use layer::{ClientLayer, LogFormat, ServeLayer, WorkerLayer};
pub use quantity::{ByteSize, Span};
pub use settings::{ClientSettings, DEFAULT_LISTEN, DEFAULT_URL, ServeSettings, WorkerSettings, default_data_dir};

#[cfg(test)]
mod tests;
