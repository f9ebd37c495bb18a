//! Where output goes: results to standard output, everything else to standard error, and a closed pipe ends the command quietly.

use std::io::{self, BufWriter, IsTerminal as _, StdoutLock, Write};

use serde::Serialize;

use super::exit::CliError;

/// Standard output, buffered; flushed when a command ends and wherever someone may be watching.
pub(crate) struct Out {
    writer: BufWriter<StdoutLock<'static>>,
    json: bool,
    color: bool,
    width: usize,
}

/// Columns assumed where there is no terminal.
const WIDTH_DEFAULT: usize = 100;

impl Out {
    /// Locks standard output. `json` asks for machine-readable output. Colors only on a terminal, and not with `NO_COLOR` set.
    #[must_use]
    pub(crate) fn new(json: bool) -> Self {
        let stdout = io::stdout();
        let terminal = stdout.is_terminal();
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let columns = if terminal { terminal_size::terminal_size() } else { None };
        let width = columns.map_or(WIDTH_DEFAULT, |(columns, _rows)| usize::from(columns.0).clamp(40, 240));
        Self { writer: BufWriter::with_capacity(64 * 1024, stdout.lock()), json, color: terminal && !no_color, width }
    }

    /// True when the user asked for JSON.
    #[must_use]
    pub(crate) fn json(&self) -> bool {
        self.json
    }

    /// Columns to fill.
    #[must_use]
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// Writes one line.
    pub(crate) fn line(&mut self, text: &str) -> Result<(), CliError> {
        self.writer.write_all(text.as_bytes())?;
        self.writer.write_all(b"\n")?;
        Ok(())
    }

    /// Writes bytes as they are.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<(), CliError> {
        Ok(self.writer.write_all(bytes)?)
    }

    /// Writes one value as one line of JSON.
    pub(crate) fn json_line<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), CliError> {
        serde_json::to_writer(&mut self.writer, value).map_err(io::Error::from)?;
        self.writer.write_all(b"\n")?;
        Ok(())
    }

    /// Writes one value as indented JSON.
    pub(crate) fn json_pretty<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), CliError> {
        serde_json::to_writer_pretty(&mut self.writer, value).map_err(io::Error::from)?;
        self.writer.write_all(b"\n")?;
        Ok(())
    }

    /// Hands what is buffered to the reader.
    pub(crate) fn flush(&mut self) -> Result<(), CliError> {
        Ok(self.writer.flush()?)
    }

    /// `text` in a style, where colors are wanted.
    #[must_use]
    pub(crate) fn style(&self, style: Style, text: &str) -> String {
        if !self.color {
            return text.to_owned();
        }
        let code = match style {
            Style::Strong => "1",
            Style::Faint => "2",
            Style::Good => "32",
            Style::Bad => "31",
            Style::Name => "36",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }

    /// Writes rows as aligned columns under a header; numbers to the right. JSON callers write their own values.
    pub(crate) fn table(&mut self, header: &[&str], rows: &[Vec<String>]) -> Result<(), CliError> {
        for line in align(header, rows) {
            self.line(&line)?;
        }
        Ok(())
    }
}

/// How a piece of text looks on a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// Headings.
    Strong,
    /// What may be overlooked.
    Faint,
    /// Success.
    Good,
    /// Failure.
    Bad,
    /// Names.
    Name,
}

/// Rows as aligned columns under a header. A column of numbers is aligned to the right; trailing blanks are cut.
#[must_use]
pub(crate) fn align(header: &[&str], rows: &[Vec<String>]) -> Vec<String> {
    let cell_width = |text: &str| text.chars().count();
    let widths: Vec<usize> = (0..header.len())
        .map(|column| {
            rows.iter().filter_map(|row| row.get(column)).map(|cell| cell_width(cell)).max().unwrap_or(0).max(cell_width(header[column]))
        })
        .collect();
    let numeric: Vec<bool> = (0..header.len())
        .map(|column| {
            let mut cells = rows.iter().filter_map(|row| row.get(column)).filter(|cell| !cell.is_empty()).peekable();
            cells.peek().is_some() && cells.all(|cell| cell.starts_with(|c: char| c.is_ascii_digit() || c == '-'))
        })
        .collect();
    let render = |cells: &mut dyn Iterator<Item = &str>| {
        let mut line = String::new();
        for (column, cell) in cells.enumerate().take(header.len()) {
            let blanks = " ".repeat(widths[column].saturating_sub(cell_width(cell)));
            let (before, after) = if numeric[column] { (blanks.as_str(), "") } else { ("", blanks.as_str()) };
            line.extend([if column == 0 { "" } else { "  " }, before, cell, after]);
        }
        line.truncate(line.trim_end().len());
        line
    };
    std::iter::once(render(&mut header.iter().copied())).chain(rows.iter().map(|row| render(&mut row.iter().map(String::as_str)))).collect()
}

/// Tells the user something that is no result. Nobody may be listening, and then nothing is lost.
pub(crate) fn note(text: &str) {
    let mut stderr = io::stderr().lock();
    let _nobody_listens = writeln!(stderr, "{text}");
}

/// `text` on one line of at most `width` characters; what is left out shows as `…`, and control characters as blanks.
#[must_use]
pub(crate) fn clip(text: &str, width: usize) -> String {
    let mut line = String::new();
    let mut count = 0;
    let mut blank = false;
    for c in text.chars() {
        if c.is_whitespace() || c.is_control() {
            blank = !line.is_empty();
            continue;
        }
        if count + usize::from(blank) + 1 > width.saturating_sub(1) {
            line.push('…');
            return line;
        }
        if std::mem::take(&mut blank) {
            line.push(' ');
            count += 1;
        }
        line.push(c);
        count += 1;
    }
    line
}
