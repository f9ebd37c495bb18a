//! `diff`: what changed between two texts, by lines or words.

use std::time::{Duration, Instant};

use similar::{Algorithm, ChangeTag, TextDiff};

use super::{Operation, TextScope, TextState};
use crate::executor::operation::Cost;
use crate::task::text::{DiffLevel, DiffOutput, DiffRequest, TEXT_BYTES_MAX, check_range};
use crate::task::{Parts, TaskError};

/// Slices, their numbers and the search's frontier: about 60 bytes per line or word and 60 per edit, a word with its space taken as two bytes at least.
const LINES_BYTES_PER_BYTE: u64 = 40;
const WORDS_BYTES_PER_BYTE: u64 = 80;

pub(super) struct Diff;

impl Operation<TextState> for Diff {
    type Request = DiffRequest;
    type Output = DiffOutput;
    const NAME: &'static str = "diff";
    const SUMMARY: &'static str = "Tells what changed between two texts, by lines (unified format) or words.";

    fn check(request: &DiffRequest, _state: &TextState, _parts: &Parts) -> Result<Cost, TaskError> {
        for (field, text) in [("old", &request.old), ("new", &request.new)] {
            if text.len() > TEXT_BYTES_MAX {
                return Err(TaskError::invalid(field, format!("found {} bytes; at most {TEXT_BYTES_MAX} bytes are allowed", text.len())));
            }
        }
        check_range("context", request.context, 0..=1_000)?;
        check_range("effort_ms", usize::try_from(request.effort_ms).unwrap_or(usize::MAX), 1..=60_000)?;
        let factor = match request.level {
            DiffLevel::Lines => LINES_BYTES_PER_BYTE,
            DiffLevel::Words => WORDS_BYTES_PER_BYTE,
        };
        Ok(Cost { host_bytes: (request.old.len() as u64 + request.new.len() as u64).saturating_mul(factor), parallel: false })
    }

    fn run(request: &DiffRequest, scope: &TextScope<'_>) -> Result<DiffOutput, TaskError> {
        let deadline = Instant::now() + Duration::from_millis(request.effort_ms);
        let mut config = TextDiff::configure();
        config.algorithm(Algorithm::Myers).deadline(deadline);
        let diff = match request.level {
            DiffLevel::Lines => config.diff_lines(request.old.as_str(), request.new.as_str()),
            DiffLevel::Words => config.diff_unicode_words(request.old.as_str(), request.new.as_str()),
        };
        let effort_exhausted = Instant::now() >= deadline;
        scope.cancel.check()?;
        let (mut added, mut removed, mut unchanged) = (0, 0, 0);
        for change in diff.iter_all_changes() {
            match change.tag() {
                ChangeTag::Insert => added += 1,
                ChangeTag::Delete => removed += 1,
                ChangeTag::Equal => unchanged += 1,
            }
        }
        scope.cancel.check()?;
        let shown = match request.level {
            DiffLevel::Lines => diff.unified_diff().context_radius(request.context).header("old", "new").to_string(),
            DiffLevel::Words => inline(&diff),
        };
        let total = added + removed + 2 * unchanged;
        Ok(DiffOutput {
            diff: shown,
            added,
            removed,
            unchanged,
            ratio: if total == 0 { 1.0 } else { 2.0 * unchanged as f64 / total as f64 },
            equal: request.old == request.new,
            effort_exhausted,
        })
    }
}

/// Neighbouring changes of one kind share their brackets.
fn inline(diff: &TextDiff<'_, '_, str>) -> String {
    let mut shown = String::new();
    let mut open = ChangeTag::Equal;
    let mut switch = |shown: &mut String, to: ChangeTag| {
        if to != open {
            shown.push_str(closing(open));
            shown.push_str(opening(to));
            open = to;
        }
    };
    for change in diff.iter_all_changes() {
        switch(&mut shown, change.tag());
        shown.push_str(change.value());
    }
    switch(&mut shown, ChangeTag::Equal);
    shown
}

fn opening(tag: ChangeTag) -> &'static str {
    match tag {
        ChangeTag::Equal => "",
        ChangeTag::Delete => "[-",
        ChangeTag::Insert => "{+",
    }
}

fn closing(tag: ChangeTag) -> &'static str {
    match tag {
        ChangeTag::Equal => "",
        ChangeTag::Delete => "-]",
        ChangeTag::Insert => "+}",
    }
}
