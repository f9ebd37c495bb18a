//! `extract`: regular expressions that never backtrack.
//!
//! The search for one match takes time linear in the rest of the text. All matches together can take time with the square of its length: where the
//! expression looks to the end of the text before it settles for a short match, each match costs a search to the end. An effort limit bounds that.

use std::time::{Duration, Instant};

use regex::{Regex, RegexBuilder};

use super::documents::{answer, cost_of, matches_bytes};
use super::offsets::CharOffsets;
use super::{Operation, TextScope, TextState};
use crate::executor::operation::Cost;
use crate::task::text::{
    ExtractGroup, ExtractMatch, ExtractOutput, ExtractRequest, GROUPS_MAX, MATCHES_MAX, PATTERN_BYTES_MAX, TextAnswer, TextRequest,
    TruncatedBy, check_range,
};
use crate::task::{CancelHandle, Parts, TaskError};

/// Bounds of the compiled program and of the automaton that is built while searching.
const PROGRAM_BYTES_MAX: usize = 1 << 20;
const AUTOMATON_BYTES_MAX: usize = 8 << 20;
/// Text of the matches in both forms of the answer; each group repeats it.
const BYTES_PER_BYTE: u64 = 4;

pub(super) struct Extract;

impl Operation<TextState> for Extract {
    type Request = ExtractRequest;
    type Output = TextAnswer<ExtractOutput>;
    const NAME: &'static str = "extract";
    const SUMMARY: &'static str = "Finds a regular expression, with groups and offsets, without backtracking and within an effort limit.";

    fn check(request: &ExtractRequest, _state: &TextState, _parts: &Parts) -> Result<Cost, TaskError> {
        let input = request.input()?;
        check_range("matches_max", request.matches_max, 1..=MATCHES_MAX)?;
        check_range("effort_ms", usize::try_from(request.effort_ms).unwrap_or(usize::MAX), 1..=60_000)?;
        let groups = compile(request)?.captures_len();
        if groups > GROUPS_MAX + 1 {
            return Err(TaskError::invalid("pattern", format!("found {} groups; at most {GROUPS_MAX} are allowed", groups - 1)));
        }
        let groups = groups as u64;
        let mut cost = cost_of(input, BYTES_PER_BYTE * groups);
        let automata = (PROGRAM_BYTES_MAX + AUTOMATON_BYTES_MAX) as u64 * 4;
        cost.host_bytes =
            cost.host_bytes.saturating_add(matches_bytes(input, request.matches_max).saturating_mul(groups)).saturating_add(automata);
        Ok(cost)
    }

    fn run(request: &ExtractRequest, scope: &TextScope<'_>) -> Result<TextAnswer<ExtractOutput>, TaskError> {
        let regex = compile(request)?;
        let bounds = Bounds { matches_max: request.matches_max, deadline: Instant::now() + Duration::from_millis(request.effort_ms) };
        answer(request, scope, |text| extract(text, &regex, &bounds, scope.cancel))
    }
}

fn compile(request: &ExtractRequest) -> Result<Regex, TaskError> {
    let len = request.pattern.len();
    if len == 0 || len > PATTERN_BYTES_MAX {
        return Err(TaskError::invalid("pattern", format!("found {len} bytes; 1 to {PATTERN_BYTES_MAX} are allowed")));
    }
    RegexBuilder::new(&request.pattern)
        .case_insensitive(request.ignore_case)
        .multi_line(request.multi_line)
        .dot_matches_new_line(request.dot_matches_newline)
        .size_limit(PROGRAM_BYTES_MAX)
        .dfa_size_limit(AUTOMATON_BYTES_MAX)
        .build()
        .map_err(|error| TaskError::invalid("pattern", error.to_string()))
}

/// Where the list of matches ends at the latest.
struct Bounds {
    matches_max: usize,
    deadline: Instant,
}

fn extract(text: &str, regex: &Regex, bounds: &Bounds, cancel: &CancelHandle) -> Result<ExtractOutput, TaskError> {
    let has_groups = regex.captures_len() > 1;
    let names: Vec<Option<&str>> = regex.capture_names().collect();
    let (mut starts, mut ends) = (CharOffsets::new(text), CharOffsets::new(text));
    let mut matches = Vec::new();
    let mut truncated_by = None;
    // Spans first: that is the fast engine, and groups are then looked for inside the span only.
    for found in regex.find_iter(text) {
        cancel.check()?;
        if matches.len() == bounds.matches_max {
            truncated_by = Some(TruncatedBy::MatchesMax);
            break;
        }
        if Instant::now() >= bounds.deadline {
            truncated_by = Some(TruncatedBy::Effort);
            break;
        }
        let mut groups = Vec::new();
        if has_groups && let Some(captures) = regex.captures_at(text, found.start()) {
            for (group, name) in names.iter().enumerate().skip(1) {
                groups.extend(captures.get(group).map(|part| ExtractGroup {
                    group,
                    name: name.map(str::to_owned),
                    text: part.as_str().to_owned(),
                    start_byte: part.start(),
                    end_byte: part.end(),
                }));
            }
        }
        matches.push(ExtractMatch {
            text: found.as_str().to_owned(),
            start_byte: found.start(),
            end_byte: found.end(),
            start_char: starts.at(found.start()),
            end_char: ends.at(found.end()),
            groups,
        });
    }
    Ok(ExtractOutput { count: matches.len(), matches, truncated: truncated_by.is_some(), truncated_by })
}
