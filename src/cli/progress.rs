//! Progress on standard error: a bar on a terminal, else one line per tenth of the way.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::output::note;

/// What is over sooner needs no progress lines.
const QUIET_AT_FIRST: Duration = Duration::from_secs(2);

/// How far a command is. Silent with `--quiet`.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    quiet: bool,
    noun: &'static str,
    total: Option<u64>,
    done: u64,
    tenths_told: u64,
    started: Instant,
}

impl Progress {
    /// Starts at nothing done of `total` (if that is known) things called `noun`.
    #[must_use]
    pub(crate) fn new(noun: &'static str, total: Option<u64>, quiet: bool) -> Self {
        let wanted = !quiet && std::io::stderr().is_terminal() && std::env::var_os("HF_HUB_DISABLE_PROGRESS_BARS").is_none();
        let bar = wanted.then(|| {
            let bar = total.map_or_else(ProgressBar::no_length, ProgressBar::new);
            let template = match total {
                Some(_) => "{bar:30} {human_pos}/{human_len} {msg}, {per_sec}, {eta} left",
                None => "{spinner} {human_pos} {msg}, {per_sec}",
            };
            bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_invalid| ProgressStyle::default_bar()));
            bar.set_message(noun);
            bar
        });
        Self { bar, quiet, noun, total, done: 0, tenths_told: 0, started: Instant::now() }
    }

    /// Takes note of `count` more.
    pub(crate) fn add(&mut self, count: u64) {
        self.done += count;
        if let Some(bar) = &self.bar {
            bar.set_position(self.done);
            return;
        }
        let Some(total) = self.total.filter(|&total| total > 0 && !self.quiet) else { return };
        let tenths = self.done.min(total) * 10 / total;
        if tenths > self.tenths_told && self.started.elapsed() >= QUIET_AT_FIRST {
            self.tenths_told = tenths;
            note(&format!("{} %  {}/{total} {}", tenths * 10, self.done, self.noun));
        }
    }

    /// Takes the bar away.
    pub(crate) fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}
