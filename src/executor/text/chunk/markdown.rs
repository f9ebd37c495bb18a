//! The structure of Markdown (CommonMark and GitHub's tables, task lists, strikethrough, footnotes) as `pulldown-cmark` reads it.

use pulldown_cmark::{Event, HeadingLevel, Options, Parser, Tag, TagEnd};

use super::super::segment::CHECK_EVERY;
use super::boundaries::{Boundary, Structure, for_each_line_run};
use crate::task::{CancelHandle, TaskError};

/// Headings are the best places to cut before, blocks come next, the deeper the worse, then items and rows, then lines.
const HEADING_LEVEL: u32 = 1_000;
const BLOCK_LEVEL: u32 = 900;
const LINE_LEVEL: u32 = 1;

/// Boundaries and headings of a Markdown document. Errors: cancellation.
pub(super) fn structure(text: &str, cancel: &CancelHandle) -> Result<Structure, TaskError> {
    let mut boundaries = Vec::new();
    for_each_line_run(text, |run, line_breaks| {
        boundaries.push(Boundary { at: line_start(text, run.end), level: LINE_LEVEL + u32::from(line_breaks > 1) });
    });
    let mut reader = Reader { text, boundaries, headings: Vec::new(), open: None, depth: 0 };
    let options = Options::ENABLE_TABLES | Options::ENABLE_FOOTNOTES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TASKLISTS;
    for (idx, (event, range)) in Parser::new_ext(text, options).into_offset_iter().enumerate() {
        if idx % CHECK_EVERY == 0 {
            cancel.check()?;
        }
        reader.read(event, range.start, range.end);
    }
    let Reader { mut boundaries, headings, .. } = reader;
    // A heading stays with what follows it: nothing may be cut there.
    let glued: std::collections::HashSet<usize> = headings.iter().map(|heading| content_after(text, heading.end)).collect();
    boundaries.retain(|boundary| !glued.contains(&content_after(text, boundary.at)));
    let mut structure = Structure::new(boundaries);
    for heading in headings {
        structure.push_heading(heading.start, heading.rank, heading.title.trim());
    }
    Ok(structure)
}

struct HeadingSpan {
    start: usize,
    end: usize,
    rank: usize,
    title: String,
}

struct Reader<'a> {
    text: &'a str,
    boundaries: Vec<Boundary>,
    headings: Vec<HeadingSpan>,
    open: Option<HeadingSpan>,
    depth: u32,
}

impl Reader<'_> {
    fn read(&mut self, event: Event<'_>, start: usize, end: usize) {
        match event {
            Event::Start(Tag::Heading { level, .. }) => {
                let rank = rank_of(level);
                self.open = Some(HeadingSpan { start, end, rank, title: String::new() });
                self.push(start, HEADING_LEVEL - u32::try_from(rank).unwrap_or(6));
            }
            Event::End(TagEnd::Heading(_)) => self.headings.extend(self.open.take()),
            Event::Text(part) | Event::Code(part) => {
                if let Some(heading) = &mut self.open {
                    heading.title.push_str(&part);
                }
            }
            Event::SoftBreak | Event::HardBreak => {
                if let Some(heading) = &mut self.open {
                    heading.title.push(' ');
                }
            }
            Event::Start(tag) => self.open_block(&tag, start),
            Event::End(TagEnd::List(_) | TagEnd::Item | TagEnd::BlockQuote(_) | TagEnd::FootnoteDefinition) => {
                self.depth = self.depth.saturating_sub(1)
            }
            Event::Rule => self.push(start, BLOCK_LEVEL),
            _ => {}
        }
    }

    fn open_block(&mut self, tag: &Tag<'_>, start: usize) {
        let block = BLOCK_LEVEL.saturating_sub(self.depth.saturating_mul(2)).max(LINE_LEVEL + 3);
        match tag {
            Tag::List(_) | Tag::Item | Tag::BlockQuote(_) | Tag::FootnoteDefinition(_) => {
                self.push(start, block);
                self.depth += 1;
            }
            Tag::Paragraph | Tag::CodeBlock(_) | Tag::HtmlBlock | Tag::Table(_) => self.push(start, block),
            Tag::TableRow => self.push(start, LINE_LEVEL + 2),
            _ => {}
        }
    }

    fn push(&mut self, start: usize, level: u32) {
        self.boundaries.push(Boundary { at: line_start(self.text, start), level });
    }
}

fn rank_of(level: HeadingLevel) -> usize {
    match level {
        HeadingLevel::H1 => 1,
        HeadingLevel::H2 => 2,
        HeadingLevel::H3 => 3,
        HeadingLevel::H4 => 4,
        HeadingLevel::H5 => 5,
        HeadingLevel::H6 => 6,
    }
}

/// The start of the line when only white space lies between it and `at`, else `at`.
pub(super) fn line_start(text: &str, at: usize) -> usize {
    let head = &text[..at];
    let kept = head.trim_end_matches([' ', '\t']);
    if kept.is_empty() || kept.ends_with(['\n', '\r']) { kept.len() } else { at }
}

fn content_after(text: &str, at: usize) -> usize {
    at + (text[at..].len() - text[at..].trim_start().len())
}
