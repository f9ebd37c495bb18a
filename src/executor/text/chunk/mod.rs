//! `chunk`: cuts documents into pieces that fit a budget and end where the text does.
//!
//! One linear pass for every kind of document. [`boundaries`] lists where the structure allows a cut and how good it is, a [`meter::Meter`] says how far a
//! budget reaches, and [`cutter`] takes the best boundary within reach. The rule (highest level that fits, then as late as possible) is that of the
//! `text-splitter` crate, whose implementation looks at the whole rest of the text again for every chunk and so takes time that grows with the
//! square of the length; the tests compare the two.

mod boundaries;
mod code;
mod cutter;
mod markdown;
mod meter;

use super::documents::{PARALLEL_BYTES_MIN, map_texts};
use super::offsets::CharOffsets;
use super::segment::{sentences, words};
use super::tokens::{check_model, model_tokenizer};
use super::{Operation, TextScope, TextState};
use crate::executor::operation::Cost;
use crate::task::text::{
    CHUNK_SIZE_MAX, Chunk, ChunkBy, ChunkOutput, ChunkRequest, ChunkUnit, TextInput, TextRequest, TextTokenizer, check_range,
};
use crate::task::{Parts, TaskError};
use boundaries::Structure;
use cutter::{Cutter, Piece};
use meter::{CharacterMeter, LentTokenizer, Meter, TokenMeter, UnitMeter};

/// Bytes per byte of text beside the chunks: the parsed request, boundaries, spans of words.
const WORK_BYTES_PER_BYTE: u64 = 8;
/// A syntax tree takes more.
const CODE_BYTES_PER_BYTE: u64 = 120;
/// A chunk's text in the answer and in the answer's JSON form, per byte, with what is beside the text.
const ANSWER_BYTES_PER_BYTE: u64 = 3;
/// What is beside a chunk's text in both forms.
const CHUNK_BYTES: u64 = 1_200;

pub(super) struct ChunkDocuments;

impl Operation<TextState> for ChunkDocuments {
    type Request = ChunkRequest;
    type Output = ChunkOutput;
    const NAME: &'static str = "chunk";
    const SUMMARY: &'static str =
        "Cuts into chunks by tokens, characters, words, sentences, Markdown or code structure, with offsets into the source.";

    fn check(request: &ChunkRequest, state: &TextState, _parts: &Parts) -> Result<Cost, TaskError> {
        let input = request.input()?;
        check_range("size", request.size, 1..=CHUNK_SIZE_MAX)?;
        if request.overlap >= request.size {
            let reason = format!("found {}; it must be less than `size` ({})", request.overlap, request.size);
            return Err(TaskError::invalid("overlap", reason));
        }
        let structured = matches!(request.by, ChunkBy::Markdown | ChunkBy::Code);
        if request.unit.is_some() && !structured {
            return Err(TaskError::invalid("unit", "only allowed for `by: \"markdown\"` and `by: \"code\"`; `by` says it here"));
        }
        match (request.by, request.language) {
            (ChunkBy::Code, None) => return Err(TaskError::invalid("language", "missing; `rust`, `python` or `javascript` for code")),
            (ChunkBy::Code, Some(_)) | (_, None) => {}
            (_, Some(_)) => return Err(TaskError::invalid("language", "only allowed for `by: \"code\"`")),
        }
        check_model(unit_of(request) == Unit::Tokens, request.model.as_deref(), state)?;
        Ok(cost(request, input))
    }

    fn run(request: &ChunkRequest, scope: &TextScope<'_>) -> Result<ChunkOutput, TaskError> {
        let tokenizer = match unit_of(request) {
            Unit::Tokens => Some(model_tokenizer(scope.state, request.model.as_deref())?),
            _ => None,
        };
        let model = tokenizer.as_ref().map(|tokenizer| tokenizer.model().to_owned());
        let documents = match request.input()? {
            TextInput::One(text) => vec![chunk_text(text, request, tokenizer.as_deref(), scope)?],
            TextInput::Many(texts) => map_texts(texts, |idx, text| {
                let mut document = chunk_text(text, request, tokenizer.as_deref(), scope)?;
                for chunk in &mut document.chunks {
                    chunk.text_idx = Some(idx);
                }
                Ok(document)
            })?,
        };
        let unparsed_texts = documents.iter().enumerate().filter(|(_, document)| document.is_unparsed).map(|(idx, _)| idx).collect();
        let chunks: Vec<Chunk> = documents.into_iter().flat_map(|document| document.chunks).collect();
        Ok(ChunkOutput { count: chunks.len(), chunks, model, unparsed_texts })
    }
}

/// What `size` counts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    Characters,
    Words,
    Sentences,
    Tokens,
}

fn unit_of(request: &ChunkRequest) -> Unit {
    match (request.by, request.unit) {
        (ChunkBy::Words, _) | (_, Some(ChunkUnit::Words)) => Unit::Words,
        (ChunkBy::Sentences, _) => Unit::Sentences,
        (ChunkBy::Tokens, _) | (_, Some(ChunkUnit::Tokens)) => Unit::Tokens,
        (ChunkBy::Characters | ChunkBy::Markdown | ChunkBy::Code, _) => Unit::Characters,
    }
}

/// Overlap repeats text: `size / (size - overlap)` times in the worst case.
fn cost(request: &ChunkRequest, input: TextInput<'_>) -> Cost {
    let bytes = input.bytes();
    let (size, step) = (request.size as u64, (request.size - request.overlap) as u64);
    let answer_bytes = bytes.saturating_mul(size).div_ceil(step);
    // A unit has at least one byte, so a chunk advances by at least `step` bytes, unless the text's own boundaries cut it shorter.
    let chunk_count = bytes.div_ceil(step.div_ceil(4)).saturating_add(1);
    let work = if request.by == ChunkBy::Code { CODE_BYTES_PER_BYTE } else { WORK_BYTES_PER_BYTE };
    let host_bytes = bytes
        .saturating_mul(work)
        .saturating_add(answer_bytes.saturating_mul(ANSWER_BYTES_PER_BYTE))
        .saturating_add(chunk_count.saturating_mul(CHUNK_BYTES));
    Cost { host_bytes, parallel: bytes >= PARALLEL_BYTES_MIN }
}

/// The chunks of one text.
struct Document {
    chunks: Vec<Chunk>,
    is_unparsed: bool,
}

fn chunk_text(
    text: &str,
    request: &ChunkRequest,
    tokenizer: Option<&dyn TextTokenizer>,
    scope: &TextScope<'_>,
) -> Result<Document, TaskError> {
    let structure = match (request.by, request.language) {
        (ChunkBy::Markdown, _) => markdown::structure(text, scope.cancel)?,
        (ChunkBy::Code, Some(language)) => code::structure(text, language, code::deadline(text), scope.cancel)?,
        _ => Structure::plain(text),
    };
    let (size, overlap) = (request.size, request.overlap);
    let meter: Box<dyn Meter + '_> = match (unit_of(request), tokenizer) {
        (Unit::Words, _) => Box::new(UnitMeter::new(text, &words(text, scope.cancel)?, size, overlap)),
        (Unit::Sentences, _) => Box::new(UnitMeter::new(text, &sentences(text, scope.cancel)?, size, overlap)),
        (Unit::Tokens, Some(tokenizer)) => {
            Box::new(TokenMeter::new(text, LentTokenizer { tokenizer, cancel: scope.cancel }, size, overlap)?)
        }
        (Unit::Tokens, None) => return Err(TaskError::internal("token chunks need a tokenizer", "")),
        (Unit::Characters, _) => Box::new(CharacterMeter { text, size, overlap }),
    };
    let whole_units = unit_of(request) == Unit::Sentences;
    let pieces = Cutter { text, structure: &structure, meter: meter.as_ref(), whole_units, has_overlap: overlap > 0 }.cut(scope.cancel)?;
    Ok(Document { chunks: finish(text, &structure, pieces), is_unparsed: structure.is_unparsed })
}

fn finish(text: &str, structure: &Structure, pieces: Vec<Piece>) -> Vec<Chunk> {
    let (mut starts, mut ends) = (CharOffsets::new(text), CharOffsets::new(text));
    pieces
        .into_iter()
        .map(|Piece { range, size }| Chunk {
            start_char: starts.at(range.start),
            end_char: ends.at(range.end),
            headings: structure.headings_at(range.start),
            start_byte: range.start,
            end_byte: range.end,
            text: text[range].to_owned(),
            size,
            text_idx: None,
        })
        .collect()
}

#[cfg(test)]
mod tests;
