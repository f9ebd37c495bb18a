//! `html_to_text`.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::{DocumentOperation, TextScope};
use crate::task::TaskError;
use crate::task::text::{HtmlToTextRequest, TextOutput};

/// Elements open at once. The renderer's time grows with the square of the depth, and browsers stop nesting at 512.
const DEPTH_MAX: usize = 2_048;

/// Wider than any paragraph, and small enough to compute with. The renderer's arithmetic overflows on some documents when columns are few.
const UNWRAPPED_COLUMNS: usize = 1 << 40;

pub(super) struct HtmlToText;

impl DocumentOperation for HtmlToText {
    type Request = HtmlToTextRequest;
    type Output = TextOutput;
    const NAME: &'static str = "html_to_text";
    const SUMMARY: &'static str = "Takes the readable text out of HTML.";
    // A document tree: a node of about 200 bytes for tags as short as `<b>`.
    const BYTES_PER_BYTE: u64 = 80;

    fn run(text: &str, _request: &HtmlToTextRequest, scope: &TextScope<'_>) -> Result<TextOutput, TaskError> {
        scope.cancel.check()?;
        html_to_text(text).map(|text| TextOutput { text })
    }
}

/// The text of an HTML document or fragment, each paragraph on one line.
///
/// Errors: `InvalidPayload` when elements are nested too deep, or the renderer gives up; a panic of the renderer counts as that.
pub(super) fn html_to_text(html: &str) -> Result<String, TaskError> {
    let depth = depth_bound(html);
    if depth > DEPTH_MAX {
        return Err(TaskError::invalid("text", format!("HTML elements are nested up to {depth} deep; at most {DEPTH_MAX} are allowed")));
    }
    let render = || {
        let config = html2text::config::plain_no_decorate().no_table_borders().allow_width_overflow();
        config.string_from_read(html.as_bytes(), UNWRAPPED_COLUMNS)
    };
    match catch_unwind(AssertUnwindSafe(render)) {
        Ok(Ok(text)) => Ok(text),
        Ok(Err(error)) => Err(TaskError::invalid("text", format!("the HTML cannot be rendered: {error}"))),
        Err(_panic) => Err(TaskError::invalid("text", "the HTML cannot be rendered: the renderer gave up")),
    }
}

/// An upper bound of how deep elements nest: open tags less closing tags, without elements that cannot hold others or that close themselves.
fn depth_bound(html: &str) -> usize {
    const NOT_NESTING: [&str; 32] = [
        "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track", "wbr", "p", "li", "dt",
        "dd", "tr", "td", "th", "thead", "tbody", "tfoot", "option", "optgroup", "rp", "rt", "colgroup", "caption", "html", "body",
    ];
    let bytes = html.as_bytes();
    let (mut depth, mut deepest) = (0_usize, 0_usize);
    for at in memchr::memchr_iter(b'<', bytes) {
        let closing = bytes.get(at + 1) == Some(&b'/');
        let name_start = at + 1 + usize::from(closing);
        let name_len = bytes[name_start..].iter().take(16).take_while(|byte| byte.is_ascii_alphanumeric()).count();
        let name = &html[name_start..name_start + name_len];
        if name.is_empty() || NOT_NESTING.iter().any(|known| known.eq_ignore_ascii_case(name)) {
            continue;
        }
        depth = if closing { depth.saturating_sub(1) } else { depth + 1 };
        deepest = deepest.max(depth);
    }
    deepest
}
