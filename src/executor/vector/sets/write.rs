//! `set.append` and `set.upsert`.

use super::convert::{id_count, meta_bytes, meta_columns, row_ids};
use super::watched;
use crate::executor::operation::{Cost, Operation, Scope};
use crate::executor::vector::VectorState;
use crate::executor::vector::input::{Loaded, load, shape_of};
use crate::executor::vector::output::cost;
use crate::task::vector::set::{IdsInput, MetadataInput, SetAppendRequest, SetUpsertRequest, SetWriteOutput};
use crate::task::vector::{NonFinite, VectorInput};
use crate::task::{Dtype, Parts, TaskError};
use crate::vectors::{NewRows, OnConflict, RowDtype, RowsIn, SetError, check_name};

/// Bytes of a name while it is on its way into a set: as it was parsed, as it is kept, in the table that finds it twice.
const ID_BYTES: u64 = 120;

/// Rows on their way into a set, whichever operation brings them.
#[derive(Clone, Copy)]
struct Writing<'a> {
    set: &'a str,
    vectors: &'a VectorInput,
    ids: Option<&'a IdsInput>,
    metadata: Option<&'a MetadataInput>,
    non_finite: NonFinite,
}

impl<'a> From<&'a SetAppendRequest> for Writing<'a> {
    fn from(request: &'a SetAppendRequest) -> Self {
        let SetAppendRequest { set, vectors, ids, metadata, non_finite } = request;
        Self { set, vectors, ids: ids.as_ref(), metadata: metadata.as_ref(), non_finite: *non_finite }
    }
}

impl<'a> From<&'a SetUpsertRequest> for Writing<'a> {
    fn from(request: &'a SetUpsertRequest) -> Self {
        let SetUpsertRequest { set, vectors, ids, metadata, non_finite } = request;
        Self { set, vectors, ids: Some(ids), metadata: metadata.as_ref(), non_finite: *non_finite }
    }
}

/// New rows.
pub(in crate::executor::vector) struct Append;

impl Operation<VectorState> for Append {
    type Request = SetAppendRequest;
    type Output = SetWriteOutput;
    const NAME: &'static str = "set.append";
    const SUMMARY: &'static str = "Adds rows with names and metadata to a resident set, all of them or none.";

    fn check(request: &Self::Request, _state: &VectorState, parts: &Parts) -> Result<Cost, TaskError> {
        check(request.into(), parts)
    }

    fn run(request: &Self::Request, scope: &Scope<'_, VectorState>) -> Result<Self::Output, TaskError> {
        write(request.into(), OnConflict::Refuse, scope)
    }
}

/// Rows that replace those of the same names.
pub(in crate::executor::vector) struct Upsert;

impl Operation<VectorState> for Upsert {
    type Request = SetUpsertRequest;
    type Output = SetWriteOutput;
    const NAME: &'static str = "set.upsert";
    const SUMMARY: &'static str = "Adds rows to a resident set in the place of those of the same names, all of them or none.";

    fn check(request: &Self::Request, _state: &VectorState, parts: &Parts) -> Result<Cost, TaskError> {
        check(request.into(), parts)
    }

    fn run(request: &Self::Request, scope: &Scope<'_, VectorState>) -> Result<Self::Output, TaskError> {
        write(request.into(), OnConflict::Replace, scope)
    }
}

/// Prices what is held beside the rows of the set, which are booked when they come: the set may not be there yet.
fn check(writing: Writing<'_>, parts: &Parts) -> Result<Cost, TaskError> {
    check_set(writing.set)?;
    let shape = shape_of("vectors", writing.vectors, parts)?;
    if let Some(ids) = writing.ids {
        let count = id_count(ids, parts)?;
        if count != shape.rows {
            return Err(TaskError::invalid("ids", format!("found {count} ids for {} vectors; one each is needed", shape.rows)));
        }
    }
    let held = shape.bytes() + shape.rows as u64 * ID_BYTES + meta_bytes(writing.metadata, shape.rows);
    Ok(cost(held, (shape.elements() as u64).saturating_mul(4)))
}

/// Errors: `InvalidPayload` at `set` for what names no set.
pub(super) fn check_set(name: &str) -> Result<(), TaskError> {
    check_name(name).map_err(|error| match error {
        SetError::Invalid { field, reason } => TaskError::invalid(field, reason),
        other => TaskError::invalid("set", other.to_string()),
    })
}

fn write(writing: Writing<'_>, on_conflict: OnConflict, scope: &Scope<'_, VectorState>) -> Result<SetWriteOutput, TaskError> {
    let set = watched(scope, "reading the set", |watch| scope.state.sets.get(writing.set, watch))?;
    let shape = shape_of("vectors", writing.vectors, scope.parts)?;
    check_shape("vectors", (shape.dim, shape.dtype), (set.spec().dim, set.spec().dtype))?;
    let loaded = load("vectors", writing.vectors, scope.parts, writing.non_finite)?;
    let values = match &loaded {
        Loaded::Real(matrix) => RowsIn::Values(&matrix.values),
        Loaded::Bits { bytes, .. } => RowsIn::Bits(bytes),
    };
    let ids = writing.ids.map(|ids| row_ids(ids, scope.parts)).transpose()?;
    let metadata = meta_columns(writing.metadata, shape.rows)?;
    let rows = NewRows { values: &values, ids: ids.as_deref(), metadata: &metadata };
    let written = watched(scope, "adding rows", |watch| set.write(rows, on_conflict, watch))?;
    Ok(SetWriteOutput {
        set: writing.set.to_owned(),
        version: written.version,
        added: written.added,
        replaced: written.removed,
        first_id: written.first_id,
        rows: written.len,
    })
}

/// Errors: `InvalidPayload` at `field` when vectors of this width do not go with a set of that one.
pub(super) fn check_shape(field: &str, (dim, dtype): (usize, Dtype), (set_dim, set_dtype): (usize, RowDtype)) -> Result<(), TaskError> {
    let is_bits = dtype == Dtype::U8;
    if is_bits && set_dtype != RowDtype::Binary {
        let reason = format!("found packed bits (dtype u8); the set keeps {} and takes values", set_dtype.name());
        return Err(TaskError::invalid(field, reason));
    }
    let (width, unit) = if is_bits { (set_dim.div_ceil(8), "bytes of packed bits") } else { (set_dim, "dimensions") };
    if dim != width {
        return Err(TaskError::invalid(field, format!("found {dim} {unit}; rows of the set have {width}")));
    }
    Ok(())
}
