//! `set.delete`.

use super::convert::{filter, id_count, row_ids};
use super::watched;
use super::write::check_set;
use crate::executor::operation::{Cost, Operation, Scope};
use crate::executor::vector::VectorState;
use crate::executor::vector::output::cost;
use crate::task::vector::set::{SetDeleteOutput, SetDeleteRequest};
use crate::task::{Parts, TaskError};
use crate::vectors::Doomed;

/// Rows that go.
pub(in crate::executor::vector) struct Delete;

impl Operation<VectorState> for Delete {
    type Request = SetDeleteRequest;
    type Output = SetDeleteOutput;
    const NAME: &'static str = "set.delete";
    const SUMMARY: &'static str = "Deletes rows of a resident set by their names or by a filter.";

    fn check(request: &Self::Request, state: &VectorState, parts: &Parts) -> Result<Cost, TaskError> {
        check_set(&request.set)?;
        let held = match (&request.ids, &request.filter) {
            (Some(ids), None) => id_count(ids, parts)? as u64 * 80,
            (None, Some(found)) => {
                filter(found)?;
                state.rows_of(&request.set) * 16
            }
            (Some(_), Some(_)) => return Err(TaskError::invalid("filter", "found together with `ids`; one of them is allowed")),
            (None, None) => return Err(TaskError::invalid("ids", "missing; `ids` or `filter` says which rows go")),
        };
        Ok(cost(held, 0))
    }

    fn run(request: &Self::Request, scope: &Scope<'_, VectorState>) -> Result<Self::Output, TaskError> {
        let set = watched(scope, "reading the set", |watch| scope.state.sets.get(&request.set, watch))?;
        let (written, asked) = match (&request.ids, &request.filter) {
            (Some(ids), _) => {
                let mut ids = row_ids(ids, scope.parts)?;
                // A name that is asked for twice goes once and is missing never.
                ids.sort_unstable();
                ids.dedup();
                (watched(scope, "deleting rows", |watch| set.delete(Doomed::Ids(&ids), watch))?, Some(ids.len()))
            }
            (None, Some(found)) => {
                let filter = filter(found)?;
                (watched(scope, "deleting rows", |watch| set.delete(Doomed::Filter(&filter), watch))?, None)
            }
            (None, None) => return Err(TaskError::invalid("ids", "missing; `ids` or `filter` says which rows go")),
        };
        Ok(SetDeleteOutput {
            set: request.set.clone(),
            version: written.version,
            deleted: written.removed,
            missing: asked.map(|asked| asked - written.removed),
            rows: written.len,
        })
    }
}
