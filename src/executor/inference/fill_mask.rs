//! `fill_mask`: words for masked places.

use tallow_models::encoder::MaskFill;
use tallow_models::text::{PairTokens, Special};
use tallow_models::{Ability, Encoder, ModelError};

use super::texts::{HeadRun, SLICE_TOKEN_TEXTS, check_count, library_bytes, singles, token_bytes};
use super::{InferenceOperation, InferenceScope};
use crate::embed::{Answer, Ask, EmbedError};
use crate::shelf::ModelSketch;
use crate::task::TaskError;
use crate::task::inference::{CANDIDATES_MAX, Candidate, FillMaskRequest, FillMaskResult, Mask};

/// Candidates per mask when the request names no number.
const CANDIDATES: usize = 5;
/// The shortest spelling of a mask in a text; there are no more masks than bytes over this.
const MASK_BYTES: u64 = 6;

pub(super) struct FillMask;

impl InferenceOperation for FillMask {
    type Request = FillMaskRequest;
    type Output = FillMaskResult;
    const NAME: &'static str = "fill_mask";
    const SUMMARY: &'static str = "Proposes words for masked places in texts.";
    const MAY_BE_BRIEF: bool = false;

    fn model(request: &FillMaskRequest) -> Option<&str> {
        request.model.as_deref()
    }

    fn needs(_: &FillMaskRequest, _: &ModelSketch) -> Option<Ability> {
        Some(Ability::FillMask)
    }

    fn thread_bytes(request: &FillMaskRequest, _: &ModelSketch) -> u64 {
        library_bytes(&request.texts.0)
    }

    fn check(request: &FillMaskRequest, model: &ModelSketch) -> Result<u64, TaskError> {
        request.texts.check("texts")?;
        check_count("top_k", request.top_k, CANDIDATES_MAX)?;
        let top = request.top_k.unwrap_or(CANDIDATES) as u64;
        // Every candidate repeats its text.
        let answers = request.texts.0.iter().map(|text| {
            let masks = (text.len() as u64 / MASK_BYTES).min(model.tokens_max(text.len()));
            masks.saturating_mul(top).saturating_mul(256 + 2 * text.len() as u64)
        });
        Ok(answers.fold(0, u64::saturating_add).saturating_add(token_bytes(&request.texts, model, SLICE_TOKEN_TEXTS)))
    }

    async fn run(request: &FillMaskRequest, scope: &mut InferenceScope<'_>) -> Result<FillMaskResult, TaskError> {
        let encoder = scope.encoder(Ability::FillMask)?;
        let top = request.top_k.unwrap_or(CANDIDATES);
        let ask = Ask::Masks { top: u16::try_from(top).unwrap_or(u16::MAX) };
        let run = HeadRun::over_texts((encoder, ask), request.long_input, "filling masks");
        let mut items: Vec<Vec<Mask>> = Vec::with_capacity(request.texts.0.len());
        let cancel = scope.cancel;
        let filled = |index: usize, tokens: PairTokens, answer: Answer| {
            let fills = answer.fills()?;
            if fills.is_empty() {
                return Err(EmbedError::Text { index, reason: no_mask(encoder, &tokens) });
            }
            // Every candidate spells its whole text again.
            let spelled = fills.iter().map(|fill| match cancel.is_cancelled() {
                true => Err(ModelError::Stopped),
                false => mask(encoder, &tokens, (fill, fills.len())),
            });
            items.push(spelled.collect::<Result<_, ModelError>>()?);
            Ok(())
        };
        let usage = run.each(&singles(&request.texts), scope, filled).await?;
        Ok(FillMaskResult { model: scope.model.info().name.clone(), items, usage })
    }
}

fn no_mask(encoder: &Encoder, sequence: &PairTokens) -> String {
    let mask = encoder.tokenizer().mask().and_then(|id| encoder.tokenizer().token(id)).unwrap_or_default();
    let cut = if sequence.is_cut() { " after it was cut" } else { "" };
    format!("no mask{cut}; this model's mask is spelled `{mask}`")
}

/// Candidates of one mask; the special tokens around a text with one mask are left out, as transformers does.
fn mask(encoder: &Encoder, sequence: &PairTokens, (fill, masks): (&MaskFill, usize)) -> Result<Mask, ModelError> {
    let bytes = sequence.places.get(fill.token).and_then(Option::as_ref).map_or(0..0, |place| place.bytes.clone());
    let special = if masks == 1 { Special::LeftOut } else { Special::Kept };
    let candidate = |&(token, score): &(u32, f32)| {
        let sequence = encoder.filled(sequence, fill.token, token, special)?;
        Ok(Candidate { token, token_str: encoder.tokenizer().decode(&[token], Special::Kept)?, score, sequence })
    };
    let candidates = fill.best.iter().map(candidate).collect::<Result<_, ModelError>>()?;
    Ok(Mask { start_byte: bytes.start, end_byte: bytes.end, candidates })
}
