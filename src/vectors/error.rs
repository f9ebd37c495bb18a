//! Why something cannot be done with a set. Each door says it in its own words.

/// Names of sets that an error lists.
const NAMES_SHOWN: usize = 16;

/// Why something cannot be done with a set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SetError {
    /// A value is wrong. `field` is its path from the caller's view: `vectors`, `ids[3]`, `metadata[2].lang`, `filter.and[0].eq`.
    #[error("{field}: {reason}")]
    Invalid {
        /// Where.
        field: String,
        /// What was found and what is allowed.
        reason: String,
    },
    /// No set has this name.
    #[error("no set is named `{name}`; {known}")]
    Missing {
        /// The name.
        name: String,
        /// Names that there are, in a sentence.
        known: String,
    },
    /// It needs more memory than can be had even when every task has ended.
    #[error("needs {needed_bytes} bytes of {resource}, {free_bytes} can be had")]
    DoesNotFit {
        /// The account.
        resource: String,
        /// Bytes needed.
        needed_bytes: u64,
        /// Bytes that can be had.
        free_bytes: u64,
    },
    /// It needs more memory than is free now; running tasks and idle models hold what it lacks.
    #[error("needs {needed_bytes} bytes of {resource}, {free_bytes} are free now: tasks and models hold the rest")]
    Busy {
        /// The account.
        resource: String,
        /// Bytes needed.
        needed_bytes: u64,
        /// Bytes free.
        free_bytes: u64,
    },
    /// A file of the store is not what was written.
    #[error("the saved set `{name}` is damaged: {reason}")]
    Damaged {
        /// The set.
        name: String,
        /// Which file, and what is wrong with it.
        reason: String,
    },
    /// The store cannot be read or written.
    #[error("the store of sets failed: {reason}")]
    Store {
        /// What was done, and the system's words.
        reason: String,
    },
    /// The caller wanted to stop; nothing was changed.
    #[error("stopped")]
    Stopped,
}

impl SetError {
    /// A wrong value.
    pub fn invalid(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Invalid { field: field.into(), reason: reason.into() }
    }

    /// A name that is not there, with some that are.
    pub(super) fn missing<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Self {
        let mut names: Vec<&str> = known.take(NAMES_SHOWN + 1).collect();
        let more = names.len() > NAMES_SHOWN;
        names.truncate(NAMES_SHOWN);
        let known = match names.len() {
            0 => "there are no sets; `set.create` makes one".into(),
            _ => format!("there are: {}{}", names.join(", "), if more { ", ..." } else { "" }),
        };
        Self::Missing { name: name.chars().take(80).collect(), known }
    }
}
