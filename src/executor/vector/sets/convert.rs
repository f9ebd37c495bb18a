//! Between the words of tasks and those of sets.

use std::collections::BTreeMap;

use tallow_kernels::distance::Metric;

use crate::task::vector::set::{IdsInput, MetadataInput, MetadataValue, SetDtype, SetFilter, SetIdKind, SetSketch};
use crate::task::vector::{ItemId, VectorMetric};
use crate::task::{Dtype, Parts, TaskError};
use crate::vectors::{Bounds, Filter, IdKind, MetaColumns, MetaValue, RowDtype, RowId, SketchKind};

pub(super) fn metric_word(metric: Metric) -> VectorMetric {
    match metric {
        Metric::Cosine => VectorMetric::Cosine,
        Metric::Dot => VectorMetric::Dot,
        Metric::L2 => VectorMetric::L2,
        Metric::L2Squared => VectorMetric::L2Squared,
        Metric::L1 => VectorMetric::L1,
        Metric::Hamming => VectorMetric::Hamming,
        Metric::Jaccard => VectorMetric::Jaccard,
    }
}

pub(super) fn row_dtype(dtype: SetDtype) -> RowDtype {
    match dtype {
        SetDtype::F32 => RowDtype::F32,
        SetDtype::F16 => RowDtype::F16,
        SetDtype::Bf16 => RowDtype::Bf16,
        SetDtype::Int8 => RowDtype::Int8,
        SetDtype::Binary => RowDtype::Binary,
    }
}

pub(super) fn dtype_word(dtype: RowDtype) -> SetDtype {
    match dtype {
        RowDtype::F32 => SetDtype::F32,
        RowDtype::F16 => SetDtype::F16,
        RowDtype::Bf16 => SetDtype::Bf16,
        RowDtype::Int8 => SetDtype::Int8,
        RowDtype::Binary => SetDtype::Binary,
    }
}

pub(super) fn id_kind(kind: SetIdKind) -> IdKind {
    match kind {
        SetIdKind::Integer => IdKind::Integer,
        SetIdKind::String => IdKind::Text,
    }
}

pub(super) fn id_kind_word(kind: IdKind) -> SetIdKind {
    match kind {
        IdKind::Integer => SetIdKind::Integer,
        IdKind::Text => SetIdKind::String,
    }
}

pub(super) fn sketch_kind(sketch: SetSketch, (dtype, metric): (RowDtype, Metric)) -> SketchKind {
    match sketch {
        SetSketch::None => SketchKind::None,
        SetSketch::Int8 => SketchKind::Int8,
        SetSketch::Auto => SketchKind::auto(dtype, metric),
    }
}

pub(super) fn sketch_word(sketch: SketchKind) -> SetSketch {
    match sketch {
        SketchKind::None => SetSketch::None,
        SketchKind::Int8 => SetSketch::Int8,
    }
}

pub(super) fn id_word(id: RowId) -> ItemId {
    match id {
        RowId::Integer(id) => ItemId::Integer(id),
        RowId::Text(id) => ItemId::Text(id),
    }
}

/// How many names there are. Errors: `InvalidPayload` at `ids` for a part that is missing or holds no list of `i64`.
pub(super) fn id_count(ids: &IdsInput, parts: &Parts) -> Result<usize, TaskError> {
    match ids {
        IdsInput::List(ids) => Ok(ids.len()),
        IdsInput::Named(name) => {
            let part = parts.get(name).ok_or_else(|| TaskError::invalid("ids", format!("no binary part is named `{name}`")))?;
            match (part.dtype(), part.shape()) {
                (Dtype::I64, [count]) => Ok(*count),
                (dtype, shape) => {
                    Err(TaskError::invalid("ids", format!("found {} {shape:?}; names in a part are i64 [rows]", dtype.name())))
                }
            }
        }
    }
}

/// The names. Errors: those of [`id_count`].
pub(super) fn row_ids(ids: &IdsInput, parts: &Parts) -> Result<Vec<RowId>, TaskError> {
    id_count(ids, parts)?;
    Ok(match ids {
        IdsInput::List(ids) => ids.iter().map(row_id).collect(),
        IdsInput::Named(name) => {
            let bytes = parts.get(name).map(|part| part.bytes().clone()).unwrap_or_default();
            bytes.as_chunks::<8>().0.iter().map(|id| RowId::Integer(i64::from_le_bytes(*id))).collect()
        }
    })
}

fn row_id(id: &ItemId) -> RowId {
    match id {
        ItemId::Integer(id) => RowId::Integer(*id),
        ItemId::Text(id) => RowId::Text(id.clone()),
    }
}

/// Columns of `rows` places each. Errors: `InvalidPayload` at `metadata` when there is not an object for each row.
pub(super) fn meta_columns(metadata: Option<&MetadataInput>, rows: usize) -> Result<MetaColumns, TaskError> {
    match metadata {
        None => Ok(MetaColumns::new()),
        Some(MetadataInput::Columns(columns)) => {
            let column = |values: &Vec<Option<MetadataValue>>| values.iter().map(|value| value.as_ref().map(meta_value)).collect();
            Ok(columns.iter().map(|(name, values)| (name.clone(), column(values))).collect())
        }
        Some(MetadataInput::Rows(objects)) if objects.len() != rows => {
            Err(TaskError::invalid("metadata", format!("found {} objects for {rows} vectors; one each is needed", objects.len())))
        }
        Some(MetadataInput::Rows(objects)) => {
            let mut columns = MetaColumns::new();
            for (row, object) in objects.iter().enumerate() {
                for (name, value) in object.iter().filter_map(|(name, value)| Some((name, value.as_ref()?))) {
                    // A set has few fields; many different ones are refused before they take a column each.
                    if columns.len() > crate::vectors::FIELDS_MAX && !columns.contains_key(name) {
                        let limit = crate::vectors::FIELDS_MAX;
                        return Err(TaskError::invalid(format!("metadata[{row}].{name}"), format!("a set has at most {limit} fields")));
                    }
                    columns.entry(name.clone()).or_insert_with(|| vec![None; rows])[row] = Some(meta_value(value));
                }
            }
            Ok(columns)
        }
    }
}

/// Heap bytes of metadata while it is on its way into a set, at most: as it was parsed, as columns, as dictionaries.
pub(super) fn meta_bytes(metadata: Option<&MetadataInput>, rows: usize) -> u64 {
    let value = |value: &Option<MetadataValue>| match value {
        Some(MetadataValue::Text(text)) => 160 + 3 * text.len() as u64,
        Some(MetadataValue::List(texts)) => 160 + texts.iter().map(|text| 100 + 3 * text.len() as u64).sum::<u64>(),
        _ => 100,
    };
    match metadata {
        None => 0,
        Some(MetadataInput::Columns(columns)) => columns.values().flatten().map(value).sum(),
        Some(MetadataInput::Rows(objects)) => {
            let mut names: Vec<&str> = objects.iter().flat_map(BTreeMap::keys).map(String::as_str).collect();
            names.sort_unstable();
            names.dedup();
            let values: u64 = objects.iter().flat_map(BTreeMap::values).map(value).sum();
            values + names.len().min(crate::vectors::FIELDS_MAX + 1) as u64 * rows as u64 * 40
        }
    }
}

pub(super) fn meta_value(value: &MetadataValue) -> MetaValue {
    match value {
        MetadataValue::Boolean(flag) => MetaValue::Flag(*flag),
        MetadataValue::Number(number) => MetaValue::Number(*number),
        MetadataValue::Text(text) => MetaValue::Text(text.clone()),
        MetadataValue::List(texts) => MetaValue::Texts(texts.clone()),
    }
}

fn meta_word(value: MetaValue) -> MetadataValue {
    match value {
        MetaValue::Flag(flag) => MetadataValue::Boolean(flag),
        MetaValue::Number(number) => MetadataValue::Number(number),
        MetaValue::Text(text) => MetadataValue::Text(text),
        MetaValue::Texts(texts) => MetadataValue::List(texts),
    }
}

/// What a row carries, as it is answered.
pub(super) fn meta_words(row: BTreeMap<String, MetaValue>) -> BTreeMap<String, MetadataValue> {
    row.into_iter().map(|(name, value)| (name, meta_word(value))).collect()
}

/// A filter. Errors: `InvalidPayload` at the condition that passes a bound of the language.
pub(super) fn filter(found: &SetFilter) -> Result<Filter, TaskError> {
    let filter = translated(found);
    match filter.check() {
        Ok(()) => Ok(filter),
        Err(crate::vectors::SetError::Invalid { field, reason }) => Err(TaskError::invalid(field, reason)),
        Err(other) => Err(TaskError::invalid("filter", other.to_string())),
    }
}

/// JSON is at most 64 levels deep, and so is this recursion.
fn translated(found: &SetFilter) -> Filter {
    match found {
        SetFilter::And(inner) => Filter::And(inner.iter().map(translated).collect()),
        SetFilter::Or(inner) => Filter::Or(inner.iter().map(translated).collect()),
        SetFilter::Not(inner) => Filter::Not(Box::new(translated(inner))),
        SetFilter::Eq(found) => Filter::Eq { field: found.field.clone(), value: meta_value(&found.value) },
        SetFilter::In(found) => Filter::In { field: found.field.clone(), values: found.values.iter().map(meta_value).collect() },
        SetFilter::Range(found) => {
            let bounds = Bounds { gte: found.gte, gt: found.gt, lte: found.lte, lt: found.lt };
            Filter::Range { field: found.field.clone(), bounds }
        }
        SetFilter::Exists(found) => Filter::Exists(found.field.clone()),
    }
}
