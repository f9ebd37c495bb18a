//! The answers file: what an earlier run left there, and new answers appended to it.
//!
//! Two lines are the same task when their keys are equal: the SHA-256 of the line's text and of the keys of the named lines it takes values
//! from. So a changed line is executed again, and so is everything that depends on it; moving a line changes nothing.

use std::collections::{BTreeMap, HashMap};
use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, BufWriter, ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::super::draft::Draft;
use super::super::exit::CliError;
use super::answer::AnswerLine;

/// What makes two lines the same task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key(u128);

impl Key {
    /// The key of a line that takes values from lines of these keys, by name.
    #[must_use]
    pub(crate) fn of(text: &str, sources: &BTreeMap<String, Key>) -> Self {
        let mut hash = Sha256::new();
        hash.update(text.trim().as_bytes());
        for (name, key) in sources {
            hash.update([0]);
            hash.update(name.as_bytes());
            hash.update(key.0.to_be_bytes());
        }
        let digest = hash.finalize();
        Self(digest.iter().take(16).fold(0, |key, &byte| (key << 8) | u128::from(byte)))
    }

    /// 32 hexadecimal digits.
    #[must_use]
    pub(crate) fn text(self) -> String {
        format!("{:032x}", self.0)
    }

    fn parse(text: &str) -> Option<Self> {
        (text.len() == 32).then(|| u128::from_str_radix(text, 16).ok().map(Self)).flatten()
    }
}

/// What an earlier run left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Kept {
    /// Answers that count.
    pub(crate) answered: u64,
    /// Failed lines and a torn last line, taken out of the file to be redone.
    pub(crate) dropped: u64,
}

/// The file that answers go to.
pub(crate) struct AnswersFile {
    path: PathBuf,
    writer: BufWriter<File>,
    /// How many answers there are for a key: a file may hold the same line twice.
    answered: HashMap<Key, u32>,
    kept: Kept,
}

impl AnswersFile {
    /// Opens the file for appending. Answers of completed lines stay; failed ones, and a last line that was torn by an interruption, are taken
    /// out by rewriting the file beside itself. `overwrite` drops everything.
    ///
    /// Errors: the file holds something that `run` did not write.
    pub(crate) fn open(path: &Path, overwrite: bool) -> Result<Self, CliError> {
        let fail = |error: std::io::Error| CliError::file(path, &error);
        let mut answered = HashMap::new();
        let mut kept = Kept::default();
        if !overwrite {
            match File::open(path) {
                Ok(file) => Self::take_stock(path, file, &mut answered, &mut kept)?,
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(fail(error)),
            }
        }
        let file = OpenOptions::new().create(true).write(true).append(!overwrite).truncate(overwrite).open(path).map_err(fail)?;
        Ok(Self { path: path.to_owned(), writer: BufWriter::new(file), answered, kept })
    }

    /// Reads what is there, and rewrites the file without what must be redone.
    fn take_stock(path: &Path, file: File, answered: &mut HashMap<Key, u32>, kept: &mut Kept) -> Result<(), CliError> {
        let fail = |error: std::io::Error| CliError::file(path, &error);
        let mut draft = Draft::create(path)?;
        let mut reader = BufReader::new(file);
        let mut bytes = Vec::new();
        let mut number = 0u64;
        loop {
            bytes.clear();
            if reader.read_until(b'\n', &mut bytes).map_err(fail)? == 0 {
                break;
            }
            number += 1;
            let torn = bytes.last() != Some(&b'\n');
            match serde_json::from_slice::<AnswerLine>(&bytes).ok().and_then(|line| Some((Key::parse(&line.key)?, line.is_answered()))) {
                Some((key, true)) if !torn => {
                    *answered.entry(key).or_default() += 1;
                    kept.answered += 1;
                    draft.append(&bytes)?;
                }
                Some(_) => kept.dropped += 1,
                None if torn => kept.dropped += 1,
                None if bytes.iter().all(u8::is_ascii_whitespace) => {}
                None => {
                    let path = path.display();
                    return Err(CliError::usage(format!(
                        "{path}:{number}: not an answer of `run`; name another file, or start over with --overwrite"
                    )));
                }
            }
        }
        // A draft that says the same as the file is dropped unfinished.
        if kept.dropped > 0 { draft.finish() } else { Ok(()) }
    }

    /// What an earlier run left.
    #[must_use]
    pub(crate) fn kept(&self) -> Kept {
        self.kept
    }

    /// True when an answer for this key is there; each answer counts for one line.
    pub(crate) fn take_answered(&mut self, key: Key) -> bool {
        match self.answered.get_mut(&key) {
            Some(count) if *count > 0 => {
                *count -= 1;
                true
            }
            _ => false,
        }
    }

    /// Appends one answer.
    pub(crate) fn append(&mut self, line: &AnswerLine) -> Result<(), CliError> {
        let written =
            serde_json::to_writer(&mut self.writer, line).map_err(std::io::Error::from).and_then(|()| self.writer.write_all(b"\n"));
        written.map_err(|error| CliError::file(&self.path, &error))
    }

    /// Hands what is buffered to the system.
    pub(crate) fn flush(&mut self) -> Result<(), CliError> {
        self.writer.flush().map_err(|error| CliError::file(&self.path, &error))
    }
}
