//! Names across lines: which lines a line takes values from, and under which ids those run.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::Value;

use super::journal::Key;
use crate::task::{SubmissionSpec, TaskId};

/// Bytes of skipped named lines that are kept so that later lines can take values from them.
const SKIPPED_BYTES_MAX: usize = 256 << 20;
/// Named lines of one file.
const NAMES_MAX: usize = 1_000_000;

/// A named line above the present one.
#[derive(Clone, Debug)]
struct Known {
    line: u64,
    key: Key,
    state: State,
}

#[derive(Clone, Debug)]
enum State {
    /// It runs, or ran, under this id.
    Submitted(TaskId),
    /// Its answer was there; its text is kept in case a later line takes values from it.
    Skipped(String),
    /// It was refused.
    Refused,
}

/// The named lines so far.
#[derive(Debug, Default)]
pub(crate) struct Names {
    known: HashMap<String, Known>,
    skipped_bytes: usize,
}

/// A skipped line that has to run after all, because a later line takes values from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Revived {
    /// Its name.
    pub(crate) name: String,
    /// Its text.
    pub(crate) text: String,
    /// Its line.
    pub(crate) line: u64,
}

/// The names that a task mentions in `depends_on` and `$from`; ids of tasks are no names.
#[must_use]
pub(crate) fn mentions(spec: &SubmissionSpec) -> BTreeSet<String> {
    let mut found: BTreeSet<String> = spec.depends_on.iter().filter(|name| is_name(name)).cloned().collect();
    collect(&spec.data, &mut found);
    found
}

fn is_name(text: &str) -> bool {
    text.parse::<TaskId>().is_err()
}

fn collect(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => match fields.get("$from") {
            Some(Value::String(name)) if is_name(name) => {
                found.insert(name.clone());
            }
            Some(Value::String(_)) => {}
            _ => fields.values().for_each(|field| collect(field, found)),
        },
        Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
        _ => {}
    }
}

impl Names {
    /// The keys of the lines a task takes values from. Errors: a name that no line above has, or whose line was refused.
    pub(crate) fn keys(&self, mentioned: &BTreeSet<String>) -> Result<BTreeMap<String, Key>, String> {
        let key = |name: &String| match self.known.get(name) {
            None => Err(format!("`{name}` is not the name of a line above")),
            Some(Known { line, state: State::Refused, .. }) => Err(format!("`{name}` (line {line}) was refused")),
            Some(known) => Ok((name.clone(), known.key)),
        };
        mentioned.iter().map(key).collect()
    }

    /// The skipped lines that must run so that a task can take values from the mentioned ones: all they take values from themselves, in
    /// the order of their lines.
    #[must_use]
    pub(crate) fn to_revive(&self, mentioned: &BTreeSet<String>) -> Vec<Revived> {
        let mut wanted: BTreeMap<u64, Revived> = BTreeMap::new();
        let mut open: Vec<String> = mentioned.iter().cloned().collect();
        while let Some(name) = open.pop() {
            let Some(Known { line, state: State::Skipped(text), .. }) = self.known.get(&name) else { continue };
            if wanted.contains_key(line) {
                continue;
            }
            if let Ok(spec) = super::feed::parse(text) {
                open.extend(mentions(&spec));
            }
            wanted.insert(*line, Revived { name, text: text.clone(), line: *line });
        }
        wanted.into_values().collect()
    }

    /// Checks that a name is free. Errors: an earlier line has it, or there are too many names.
    pub(crate) fn check_free(&self, name: &str) -> Result<(), String> {
        match self.known.get(name) {
            Some(known) => Err(format!("`{name}` is also the name of line {}", known.line)),
            None if self.known.len() >= NAMES_MAX => Err(format!("more than {NAMES_MAX} names in one file")),
            None => Ok(()),
        }
    }

    /// A named line runs under this id.
    pub(crate) fn submitted(&mut self, name: &str, line: u64, key: Key, id: TaskId) {
        if let Some(Known { state: State::Skipped(text), .. }) =
            self.known.insert(name.to_owned(), Known { line, key, state: State::Submitted(id) })
        {
            self.skipped_bytes -= text.len();
        }
    }

    /// A named line's answer was there. Errors: too much text of such lines would have to be kept.
    pub(crate) fn skipped(&mut self, name: &str, line: u64, key: Key, text: String) -> Result<(), String> {
        self.skipped_bytes += text.len();
        if self.skipped_bytes > SKIPPED_BYTES_MAX {
            return Err(format!(
                "more than {SKIPPED_BYTES_MAX} bytes of answered named lines; split the file, or start over with --overwrite"
            ));
        }
        self.known.insert(name.to_owned(), Known { line, key, state: State::Skipped(text) });
        Ok(())
    }

    /// A named line was refused.
    pub(crate) fn refused(&mut self, name: &str, line: u64, key: Key) {
        self.known.entry(name.to_owned()).or_insert(Known { line, key, state: State::Refused });
    }

    /// Replaces names of lines above by the ids they run under. Every mentioned name must have passed [`Names::keys`].
    pub(crate) fn substitute(&self, spec: &mut SubmissionSpec) {
        for name in &mut spec.depends_on {
            self.rename(name);
        }
        self.rename_in(&mut spec.data);
    }

    fn rename(&self, name: &mut String) {
        if let Some(Known { state: State::Submitted(id), .. }) = self.known.get(name.as_str()) {
            *name = id.to_string();
        }
    }

    fn rename_in(&self, value: &mut Value) {
        match value {
            Value::Object(fields) => match fields.get_mut("$from") {
                Some(Value::String(name)) => self.rename(name),
                _ => fields.values_mut().for_each(|field| self.rename_in(field)),
            },
            Value::Array(items) => items.iter_mut().for_each(|item| self.rename_in(item)),
            _ => {}
        }
    }
}
