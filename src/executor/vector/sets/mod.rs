//! Operations on resident sets: requests in, the sets of `vectors` below. What a set refuses is said here in the words of a task.

mod admin;
mod convert;
mod delete;
mod files;
mod get;
mod search;
mod write;

use std::time::Duration;

use super::VectorState;
use crate::executor::operation::Scope;
use crate::task::{TaskError, TaskSink};
use crate::vectors::{SetError, Watch};

pub(super) use admin::{Create, Drop, List, Stats, infos};
pub(super) use delete::Delete;
pub(super) use files::{Load, Save};
pub(super) use get::Get;
pub(super) use search::Search;
pub(super) use write::{Append, Upsert};

/// When a task may come back that found the memory in use.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A set's refusal as the task's.
fn refused(scope: &Scope<'_, VectorState>, error: SetError) -> TaskError {
    match error {
        SetError::Stopped => scope.cancel.cause(),
        SetError::Invalid { field, reason } => TaskError::invalid(field, reason),
        missing @ SetError::Missing { .. } => TaskError::invalid("set", missing.to_string()),
        damaged @ SetError::Damaged { .. } => TaskError::invalid("set", format!("{damaged}; `set.drop` takes it away")),
        SetError::DoesNotFit { resource, needed_bytes, free_bytes } => {
            TaskError::DoesNotFit { resource, needed_bytes, available_bytes: free_bytes }
        }
        busy @ SetError::Busy { .. } => TaskError::Overloaded { retry_after: RETRY_AFTER, reason: busy.to_string() },
        other => TaskError::internal(other.to_string(), ""),
    }
}

/// Runs `work` on the sets, until the task is cancelled; tells progress.
fn watched<T>(
    scope: &Scope<'_, VectorState>,
    message: &'static str,
    work: impl FnOnce(Watch<'_>) -> Result<T, SetError>,
) -> Result<T, TaskError> {
    let stop = || scope.cancel.is_cancelled();
    let sink: &dyn TaskSink = scope.sink.as_ref();
    let progress = |share: f32| sink.progress(share, message);
    work(Watch { stop: &stop, progress: &progress }).map_err(|error| refused(scope, error))
}
