//! `set.create`, `set.drop`, `set.list` and `set.stats`.

use super::convert::{dtype_word, id_kind, id_kind_word, metric_word, row_dtype, sketch_kind, sketch_word};
use super::watched;
use super::write::check_set;
use crate::executor::operation::{Cost, Operation, Scope};
use crate::executor::vector::VectorState;
use crate::executor::vector::compare::kernel_metric;
use crate::executor::vector::output::cost;
use crate::task::vector::set::{
    SetBytesOutput, SetCreateRequest, SetDropOutput, SetDropRequest, SetInfo, SetListOutput, SetListRequest, SetStateName, SetStatsRequest,
};
use crate::task::{Parts, TaskError};
use crate::vectors::{FieldKind, SetListing, SetSpec, SetState, SetStore};

/// Bytes of a listed set while it is written.
const LISTED_BYTES: u64 = 8192;

/// A new set.
pub(in crate::executor::vector) struct Create;

impl Operation<VectorState> for Create {
    type Request = SetCreateRequest;
    type Output = SetInfo;
    const NAME: &'static str = "set.create";
    const SUMMARY: &'static str = "Makes an empty resident set of a dimension, a metric and a dtype.";

    fn check(request: &Self::Request, _state: &VectorState, _parts: &Parts) -> Result<Cost, TaskError> {
        check_set(&request.set)?;
        spec(request).check().map_err(|error| match error {
            crate::vectors::SetError::Invalid { field, reason } => TaskError::invalid(field, reason),
            other => TaskError::invalid("data", other.to_string()),
        })?;
        Ok(cost(LISTED_BYTES, 0))
    }

    fn run(request: &Self::Request, scope: &Scope<'_, VectorState>) -> Result<Self::Output, TaskError> {
        watched(scope, "making the set", |watch| scope.state.sets.create(&request.set, spec(request), watch))?;
        info_of(&scope.state.sets, &request.set)
    }
}

fn spec(request: &SetCreateRequest) -> SetSpec {
    let (dtype, metric) = (row_dtype(request.dtype), kernel_metric(request.metric));
    let sketch = sketch_kind(request.sketch, (dtype, metric));
    SetSpec { dim: request.dim, metric, dtype, ids: id_kind(request.ids), sketch, persistent: request.persistent }
}

/// A set that goes.
pub(in crate::executor::vector) struct Drop;

impl Operation<VectorState> for Drop {
    type Request = SetDropRequest;
    type Output = SetDropOutput;
    const NAME: &'static str = "set.drop";
    const SUMMARY: &'static str = "Takes a resident set out of memory and out of the store.";

    fn check(request: &Self::Request, _state: &VectorState, _parts: &Parts) -> Result<Cost, TaskError> {
        check_set(&request.set)?;
        Ok(cost(0, 0))
    }

    fn run(request: &Self::Request, scope: &Scope<'_, VectorState>) -> Result<Self::Output, TaskError> {
        let bytes = watched(scope, "dropping the set", |watch| scope.state.sets.drop_set(&request.set, request.keep_saved, watch))?;
        Ok(SetDropOutput { set: request.set.clone(), saved: request.keep_saved, bytes })
    }
}

/// Every set.
pub(in crate::executor::vector) struct List;

impl Operation<VectorState> for List {
    type Request = SetListRequest;
    type Output = SetListOutput;
    const NAME: &'static str = "set.list";
    const SUMMARY: &'static str = "Every set, in memory or saved, with its figures.";

    fn check(_request: &Self::Request, _state: &VectorState, _parts: &Parts) -> Result<Cost, TaskError> {
        Ok(cost(crate::vectors::SETS_MAX as u64 * LISTED_BYTES, 0))
    }

    fn run(_request: &Self::Request, scope: &Scope<'_, VectorState>) -> Result<Self::Output, TaskError> {
        Ok(SetListOutput { sets: infos(&scope.state.sets) })
    }
}

/// One set.
pub(in crate::executor::vector) struct Stats;

impl Operation<VectorState> for Stats {
    type Request = SetStatsRequest;
    type Output = SetInfo;
    const NAME: &'static str = "set.stats";
    const SUMMARY: &'static str = "What a set is and what it holds: rows, bytes of rows, names, metadata, sketch.";

    fn check(request: &Self::Request, _state: &VectorState, _parts: &Parts) -> Result<Cost, TaskError> {
        check_set(&request.set)?;
        Ok(cost(LISTED_BYTES, 0))
    }

    fn run(request: &Self::Request, scope: &Scope<'_, VectorState>) -> Result<Self::Output, TaskError> {
        // A name that is not there gets the error that lists those that are.
        watched(scope, "looking at the set", |_watch| match scope.state.sets.spec(&request.set) {
            Err(damaged @ crate::vectors::SetError::Damaged { .. }) => Err(damaged),
            other => other,
        })?;
        info_of(&scope.state.sets, &request.set)
    }
}

fn info_of(sets: &SetStore, name: &str) -> Result<SetInfo, TaskError> {
    let listed = sets.list().into_iter().find(|listing| listing.name == name);
    let mut info = info(listed.ok_or_else(|| TaskError::invalid("set", format!("the set `{name}` was dropped meanwhile")))?);
    if let Some(set) = sets.resident(name) {
        let word = |kind: &FieldKind| match kind {
            FieldKind::Flag => "flag",
            FieldKind::Number => "number",
            FieldKind::Text => "text",
            FieldKind::Texts => "texts",
        };
        info.fields = Some(set.version().schema().iter().map(|(name, kind)| (name.to_string(), word(kind).to_owned())).collect());
    }
    Ok(info)
}

/// Every set, as listings and reports show them.
pub(in crate::executor::vector) fn infos(sets: &SetStore) -> Vec<SetInfo> {
    sets.list().into_iter().map(info).collect()
}

fn info(listing: SetListing) -> SetInfo {
    let (state, saved_version, error) = match listing.state {
        SetState::Resident { saved_version } => (SetStateName::Resident, saved_version, None),
        SetState::Saved => (SetStateName::Saved, Some(listing.version), None),
        SetState::Damaged(reason) => (SetStateName::Damaged, None, Some(reason)),
    };
    let bytes = listing.bytes;
    let spec = listing.spec.as_ref();
    SetInfo {
        set: listing.name,
        state,
        error,
        dim: spec.map(|spec| spec.dim),
        metric: spec.map(|spec| metric_word(spec.metric)),
        dtype: spec.map(|spec| dtype_word(spec.dtype)),
        ids: spec.map(|spec| id_kind_word(spec.ids)),
        sketch: spec.map(|spec| sketch_word(spec.sketch)),
        persistent: spec.is_some_and(|spec| spec.persistent),
        rows: listing.rows,
        dead_rows: listing.dead,
        version: listing.version,
        saved_version,
        segments: listing.segments,
        fields: None,
        bytes: SetBytesOutput {
            rows: bytes.rows,
            ids: bytes.ids,
            metadata: bytes.metadata,
            sketch: bytes.sketch,
            overhead: bytes.overhead,
            total: bytes.total(),
            booked: listing.held_bytes,
        },
    }
}
