//! `set.get`.

use super::convert::{id_count, id_word, meta_words, row_ids};
use super::watched;
use super::write::check_set;
use crate::executor::operation::{Cost, Operation, Scope};
use crate::executor::vector::VectorState;
use crate::executor::vector::output::{array_bytes, cost, emit};
use crate::task::vector::Numbers;
use crate::task::vector::set::{SetGetOutput, SetGetRequest};
use crate::task::{Parts, TaskError};

/// Rows between two questions whether to stop.
const PIECE_ROWS: usize = 1024;
/// Bytes of what a row carries while it is written.
const META_BYTES: u64 = 512;

/// Rows by their names.
pub(in crate::executor::vector) struct Get;

impl Operation<VectorState> for Get {
    type Request = SetGetRequest;
    type Output = SetGetOutput;
    const NAME: &'static str = "set.get";
    const SUMMARY: &'static str = "Rows of a resident set by their names, with what they carry.";

    fn check(request: &Self::Request, state: &VectorState, parts: &Parts) -> Result<Cost, TaskError> {
        check_set(&request.set)?;
        let count = id_count(&request.ids, parts)?;
        // A set that another task makes first counts as a common one; what leaves is bounded once more when the width is known.
        let dim = state.spec_of(&request.set).map_or(1024, |spec| spec.dim);
        let vectors = if request.vectors { array_bytes("vectors", request.encoding, count.saturating_mul(dim), 4)? } else { 0 };
        let metadata = if request.metadata { count as u64 * META_BYTES } else { 0 };
        Ok(cost(vectors.saturating_add(metadata).saturating_add(count as u64 * 160), 0))
    }

    fn run(request: &Self::Request, scope: &Scope<'_, VectorState>) -> Result<Self::Output, TaskError> {
        let set = watched(scope, "reading the set", |watch| scope.state.sets.get(&request.set, watch))?;
        let (version, dim) = (set.version(), set.spec().dim);
        let asked = row_ids(&request.ids, scope.parts)?;
        if request.vectors {
            array_bytes("vectors", request.encoding, asked.len().saturating_mul(dim), 4)?;
        }
        let (mut ids, mut missing, mut places) = (Vec::new(), Vec::new(), Vec::new());
        for asked in asked.chunks(PIECE_ROWS) {
            scope.cancel.check()?;
            for id in asked {
                match version.find(id) {
                    Some(place) => {
                        places.push(place);
                        ids.push(id_word(id.clone()));
                    }
                    None => missing.push(id_word(id.clone())),
                }
            }
        }
        let mut vectors = None;
        if request.vectors {
            let mut values = vec![0f32; places.len() * dim];
            for (at, (place, out)) in places.iter().zip(values.chunks_exact_mut(dim)).enumerate() {
                if at % PIECE_ROWS == 0 {
                    scope.cancel.check()?;
                }
                version.widen(*place, out);
            }
            vectors = emit(scope, ("vectors", request.encoding), Numbers::F32(values), vec![places.len(), dim])?;
        }
        let metadata = request.metadata.then(|| places.iter().map(|place| meta_words(version.metadata(*place))).collect());
        Ok(SetGetOutput { set: request.set.clone(), version: version.number(), ids, missing, vectors, metadata })
    }
}
