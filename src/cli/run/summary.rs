//! What a run did, by kind of task, with throughput.

use std::collections::BTreeMap;
use std::time::Instant;

use super::super::output::{align, note};
use super::sink::Ended;

#[derive(Clone, Copy, Debug, Default)]
struct Row {
    done: u64,
    failed: u64,
    compute_ms: f64,
    bytes: u64,
}

/// Counts lines as they end.
pub(crate) struct Summary {
    started: Instant,
    rows: BTreeMap<String, Row>,
    skipped: u64,
}

impl Summary {
    /// Starts the clock.
    pub(crate) fn new() -> Self {
        Self { started: Instant::now(), rows: BTreeMap::new(), skipped: 0 }
    }

    /// Counts a line that ended.
    pub(crate) fn count(&mut self, ended: &Ended) {
        let row = self.rows.entry(ended.label.clone()).or_default();
        match ended.outcome {
            Ok(_) => row.done += 1,
            Err(_) => row.failed += 1,
        }
        row.compute_ms += ended.compute_ms().unwrap_or(0.0);
        row.bytes += ended.bytes as u64;
    }

    /// Counts a line whose answer was there.
    pub(crate) fn skip(&mut self) {
        self.skipped += 1;
    }

    /// Lines that failed.
    #[must_use]
    pub(crate) fn failed_count(&self) -> u64 {
        self.rows.values().map(|row| row.failed).sum()
    }

    /// Writes the table to standard error, unless asked for quiet.
    pub(crate) fn tell(&self, quiet: bool) {
        if quiet {
            return;
        }
        let seconds = self.started.elapsed().as_secs_f64();
        let mut total = Row::default();
        let mut rows: Vec<Vec<String>> = Vec::new();
        for (label, row) in &self.rows {
            total.done += row.done;
            total.failed += row.failed;
            total.compute_ms += row.compute_ms;
            total.bytes += row.bytes;
            rows.push(cells(label, row, seconds));
        }
        if rows.len() != 1 {
            rows.push(cells("all", &total, seconds));
        }
        for line in align(&["tasks", "done", "failed", "compute ms", "ms each", "tasks/s", "MB/s in"], &rows) {
            note(&line);
        }
        let skipped = if self.skipped > 0 { format!(", {} were answered before", self.skipped) } else { String::new() };
        note(&format!("{} lines in {seconds:.2} s{skipped}", total.done + total.failed));
    }
}

fn cells(label: &str, row: &Row, seconds: f64) -> Vec<String> {
    let count = row.done + row.failed;
    let each = if row.done > 0 { row.compute_ms / row.done as f64 } else { 0.0 };
    let per_second = |amount: f64| if seconds > 0.0 { amount / seconds } else { 0.0 };
    vec![
        label.to_owned(),
        row.done.to_string(),
        row.failed.to_string(),
        format!("{:.1}", row.compute_ms),
        format!("{each:.2}"),
        format!("{:.0}", per_second(count as f64)),
        format!("{:.2}", per_second(row.bytes as f64 / 1e6)),
    ]
}
