//! Where the structure of a document allows a cut, and how good a cut it is.

use std::ops::Range;

/// A place where a chunk may end: before byte `at`. A higher level is a better place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Boundary {
    pub(super) at: usize,
    pub(super) level: u32,
}

/// Titles longer than this (characters) are cut in heading paths and end in an ellipsis: a path is repeated in every chunk below it.
const TITLE_CHARS_MAX: usize = 200;

/// A heading: from `at` on, `path` holds.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Heading {
    at: usize,
    path: Vec<String>,
}

/// The boundaries of a document, sorted by place, one per place; the headings of a Markdown document.
#[derive(Debug, Default)]
pub(super) struct Structure {
    boundaries: Vec<Boundary>,
    headings: Vec<Heading>,
    /// Keep the indentation of a chunk's first line: it is part of code and of Markdown lists.
    pub(super) keeps_indentation: bool,
    /// Only the lines of this code are known: it took too long to parse.
    pub(super) is_unparsed: bool,
}

impl Structure {
    /// Plain text: a boundary after every run of white space with line breaks, its level the number of line breaks.
    pub(super) fn plain(text: &str) -> Self {
        let mut boundaries = Vec::new();
        for_each_line_run(text, |run, line_breaks| boundaries.push(Boundary { at: run.end, level: line_breaks }));
        Self { boundaries, headings: Vec::new(), keeps_indentation: false, is_unparsed: false }
    }

    /// A structure from boundaries in any order; of several at one place the best one counts.
    pub(super) fn new(mut boundaries: Vec<Boundary>) -> Self {
        boundaries.sort_unstable_by(|a, b| a.at.cmp(&b.at).then(b.level.cmp(&a.level)));
        boundaries.dedup_by_key(|boundary| boundary.at);
        Self { boundaries, headings: Vec::new(), keeps_indentation: true, is_unparsed: false }
    }

    /// Adds a heading of `rank` (1 is outermost); headings come in the order of the text.
    pub(super) fn push_heading(&mut self, at: usize, rank: usize, title: &str) {
        let mut path = self.headings.last().map(|heading| heading.path.clone()).unwrap_or_default();
        path.truncate(rank.saturating_sub(1));
        // A skipped rank leaves an empty step, so that later headings of that rank replace the right one.
        path.resize(rank.saturating_sub(1), String::new());
        let mut title: String = title.chars().take(TITLE_CHARS_MAX + 1).collect();
        if title.chars().nth(TITLE_CHARS_MAX).is_some() {
            title.pop();
            title.push('…');
        }
        path.push(title);
        self.headings.push(Heading { at, path });
    }

    /// The headings in force at byte `at`, outermost first, without skipped ranks.
    pub(super) fn headings_at(&self, at: usize) -> Vec<String> {
        let next = self.headings.partition_point(|heading| heading.at <= at);
        let path = next.checked_sub(1).map(|idx| self.headings[idx].path.as_slice()).unwrap_or_default();
        path.iter().filter(|title| !title.is_empty()).cloned().collect()
    }

    /// The boundaries in `range`.
    fn within(&self, range: Range<usize>) -> &[Boundary] {
        let first = self.boundaries.partition_point(|boundary| boundary.at < range.start);
        let past = self.boundaries.partition_point(|boundary| boundary.at < range.end);
        &self.boundaries[first..past.max(first)]
    }

    /// The last of the best boundaries in `range`.
    pub(super) fn best_within(&self, range: Range<usize>) -> Option<usize> {
        self.within(range).iter().max_by_key(|boundary| (boundary.level, boundary.at)).map(|boundary| boundary.at)
    }

    /// The first boundary in `range`.
    pub(super) fn first_within(&self, range: Range<usize>) -> Option<usize> {
        self.within(range).first().map(|boundary| boundary.at)
    }
}

/// Calls `each` with every maximal run of white space that holds line breaks, and how many (CR LF is one).
pub(super) fn for_each_line_run(text: &str, mut each: impl FnMut(Range<usize>, u32)) {
    let bytes = text.as_bytes();
    let mut from = 0;
    while let Some(found) = memchr::memchr2(b'\n', b'\r', &bytes[from..]) {
        let start = from + found;
        let end = start + (text[start..].len() - text[start..].trim_start().len());
        let run = &bytes[start..end];
        let feeds = memchr::memchr_iter(b'\n', run).count();
        let lone_returns = memchr::memchr_iter(b'\r', run).filter(|&at| run.get(at + 1) != Some(&b'\n')).count();
        each(start..end, u32::try_from(feeds + lone_returns).unwrap_or(u32::MAX));
        from = end;
    }
}
