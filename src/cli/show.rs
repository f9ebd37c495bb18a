//! Results as people read them: scalars as `name  value`, lists as tables, long things clipped with a count of what is left out. Pure.

use serde_json::{Map, Value};

use super::output::{align, clip};

/// How much of a result is shown.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ShowLimits {
    /// Columns of a line.
    pub(crate) width: usize,
    /// Entries of a list before the rest is counted.
    pub(crate) rows: usize,
}

/// Numbers of a vector that are shown.
const NUMBERS_SHOWN: usize = 4;
/// Columns that the text of one table cell may take.
const CELL_WIDTH: usize = 60;

/// A result as lines, without a line break at their ends.
#[must_use]
pub(crate) fn lines(value: &Value, limits: ShowLimits) -> Vec<String> {
    match value {
        Value::Object(fields) if !fields.is_empty() => object(fields, limits),
        Value::Array(items) => list(items, limits),
        other => vec![inline(other, limits.width)],
    }
}

fn object(fields: &Map<String, Value>, limits: ShowLimits) -> Vec<String> {
    let mut lines = Vec::new();
    let is_block = |value: &Value| {
        matches!(value, Value::Array(items) if is_nested(items)) || matches!(value, Value::Object(inner) if !inner.is_empty())
    };
    let name_width = fields.iter().filter(|(_, value)| !is_block(value)).map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    for (name, value) in fields.iter().filter(|(_, value)| !is_block(value)) {
        lines.push(format!("{name:name_width$}  {}", inline(value, limits.width.saturating_sub(name_width + 2))));
    }
    for (name, value) in fields.iter().filter(|(_, value)| is_block(value)) {
        lines.push(match value {
            Value::Array(items) => format!("{name} ({})", items.len()),
            _ => name.clone(),
        });
        let inner = ShowLimits { width: limits.width.saturating_sub(2).max(20), ..limits };
        lines.extend(self::lines(value, inner).into_iter().map(|line| format!("  {line}")));
    }
    lines
}

/// Lists of scalars stay on one line where they are numbers; lists of anything else become lines.
fn is_nested(items: &[Value]) -> bool {
    items.iter().any(|item| item.is_object() || item.is_array() || item.is_string())
}

fn list(items: &[Value], limits: ShowLimits) -> Vec<String> {
    if !is_nested(items) {
        return vec![inline_array(items)];
    }
    let shown = &items[..items.len().min(limits.rows)];
    let mut lines = match shown.iter().map(Value::as_object).collect::<Option<Vec<_>>>() {
        Some(objects) if !objects.is_empty() => table(&objects, limits.width),
        _ => shown.iter().map(|item| inline(item, limits.width)).collect(),
    };
    if items.len() > shown.len() {
        lines.push(format!("… {} more", items.len() - shown.len()));
    }
    lines
}

/// Objects as rows; a column for every field of the first one that others share.
fn table(objects: &[&Map<String, Value>], width: usize) -> Vec<String> {
    let mut header: Vec<&str> = Vec::new();
    for object in objects {
        for name in object.keys().map(String::as_str) {
            if !header.contains(&name) {
                header.push(name);
            }
        }
    }
    // Text goes last: it takes what room there is.
    header.sort_by_key(|name| objects.iter().any(|object| object.get(*name).is_some_and(is_long_text)));
    let cell_width = CELL_WIDTH.min(width);
    let rows: Vec<Vec<String>> = objects
        .iter()
        .map(|object| header.iter().map(|name| object.get(*name).map_or_else(String::new, |value| inline(value, cell_width))).collect())
        .collect();
    align(&header, &rows).into_iter().map(|line| cut(line, width)).collect()
}

fn is_long_text(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.chars().count() > 24)
}

fn cut(line: String, width: usize) -> String {
    match line.char_indices().nth(width) {
        Some((at, _)) => format!("{}…", line[..at].trim_end()),
        None => line,
    }
}

/// A value on one line of at most `width` characters.
#[must_use]
pub(crate) fn inline(value: &Value, width: usize) -> String {
    match value {
        Value::Null => "-".into(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => number_text(number),
        Value::String(text) => clip(text, width),
        Value::Array(items) if is_nested(items) && items.iter().all(Value::is_string) => {
            clip(&items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", "), width)
        }
        Value::Array(items) if is_nested(items) => format!("[{} entries]", items.len()),
        Value::Array(items) => inline_array(items),
        Value::Object(fields) if fields.is_empty() => "{}".into(),
        Value::Object(fields) => {
            clip(&fields.iter().map(|(name, value)| format!("{name}={}", inline(value, 40))).collect::<Vec<_>>().join(" "), width)
        }
    }
}

fn inline_array(items: &[Value]) -> String {
    let text = |item: &Value| inline(item, 40);
    if items.len() <= NUMBERS_SHOWN * 2 {
        return format!("[{}]", items.iter().map(text).collect::<Vec<_>>().join(", "));
    }
    format!("[{}, … {} numbers]", items[..NUMBERS_SHOWN].iter().map(text).collect::<Vec<_>>().join(", "), items.len())
}

/// Whole numbers as they are, others with four significant decimals.
fn number_text(number: &serde_json::Number) -> String {
    match number.as_f64() {
        Some(value) if number.is_f64() && value.fract() != 0.0 => {
            let magnitude = value.abs();
            if (1e-3..1e6).contains(&magnitude) { format!("{value:.4}") } else { format!("{value:.3e}") }
        }
        _ => number.to_string(),
    }
}
