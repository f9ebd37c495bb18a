//! The routes of text-embeddings-inference, so that its clients work: each is one submitted task in another shape.

pub(crate) mod docs;
pub(crate) mod view;

use axum::extract::{Extension, Request, State};
use axum::response::Response;
use serde_json::{Map, Value, json};

use super::body;
use super::call::{Answered, Words, checked_model, infer, written};
use super::error::ApiError;
use super::gate::Caller;
use super::rerank::output;
use super::state::AppState;
use crate::task::TaskExecutor as _;
use crate::task::inference::{
    ClassifyResult, EmbedResult, EmbedSparseResult, EmbedTokensResult, LabelScore, RerankResult, SimilarityResult, TEXTS_MAX, TextTokens,
    TokenizeResult,
};
use view::{EmbedBody, Info, PredictBody, PredictInputs, Rank, RankBody, SimilarityBody, SparseValue, TextsBody, Token, TokenizeBody};

type Answer = Result<Response, ApiError>;

/// What clients of these routes call the texts.
const WORDS: Words = Words { texts: "inputs", single: false, long_text: "set `truncate` to true, or split the text" };

/// A task's data: the operation, its model and the fields that are given.
struct Data(Map<String, Value>);

impl Data {
    fn of(operation: &'static str, model: Option<String>) -> Result<Self, ApiError> {
        let mut fields = Map::new();
        fields.insert("operation".into(), operation.into());
        if let Some(model) = model {
            fields.insert("model".into(), checked_model(model)?.into());
        }
        Ok(Self(fields))
    }

    fn with(mut self, key: &'static str, value: impl Into<Value>) -> Self {
        self.0.insert(key.into(), value.into());
        self
    }

    fn maybe(self, key: &'static str, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(value) => self.with(key, value),
            None => self,
        }
    }

    fn truncate(self, truncate: bool) -> Self {
        self.with("long_input", if truncate { "truncate" } else { "error" })
    }

    async fn ask(self, state: &AppState, caller: &Caller) -> Result<Answered, ApiError> {
        let words = (!self.0.contains_key("documents")).then_some(WORDS);
        infer(state, caller, self.0.into(), words).await
    }
}

pub(crate) async fn embed(State(state): State<AppState>, caller: Extension<Caller>, call: Request) -> Answer {
    let asked: EmbedBody = body::json(&state, call).await?;
    let data = Data::of("embed", asked.model)?
        .with("texts", asked.inputs.into_texts())
        .with("normalize", asked.normalize)
        .maybe("prompt_name", asked.prompt_name)
        .maybe("dimensions", asked.dimensions)
        .with("any_dimensions", true)
        .truncate(asked.truncate);
    let answered = data.ask(&state, &caller).await?;
    answered.written(move |answered| Ok(output::<EmbedResult>(answered.result.output)?.embeddings)).await
}

pub(crate) async fn embed_all(State(state): State<AppState>, caller: Extension<Caller>, call: Request) -> Answer {
    let asked: TextsBody = body::json(&state, call).await?;
    let data = Data::of("embed_tokens", asked.model)?.with("texts", asked.inputs.into_texts()).truncate(asked.truncate);
    let answered = data.ask(&state, &caller).await?;
    answered
        .written(move |answered| {
            let items = output::<EmbedTokensResult>(answered.result.output)?.items;
            Ok(items.into_iter().map(|item| item.embeddings.unwrap_or_default()).collect::<Vec<Vec<Value>>>())
        })
        .await
}

pub(crate) async fn embed_sparse(State(state): State<AppState>, caller: Extension<Caller>, call: Request) -> Answer {
    let asked: TextsBody = body::json(&state, call).await?;
    let data = Data::of("embed_sparse", asked.model)?.with("texts", asked.inputs.into_texts()).truncate(asked.truncate);
    let answered = data.ask(&state, &caller).await?;
    answered
        .written(move |answered| {
            let items = output::<EmbedSparseResult>(answered.result.output)?.items;
            let row = |row: Vec<crate::task::inference::TokenWeight>| -> Vec<SparseValue> {
                row.into_iter().map(|weight| SparseValue { index: weight.index, value: weight.value }).collect()
            };
            Ok(items.into_iter().map(row).collect::<Vec<_>>())
        })
        .await
}

pub(crate) async fn rerank(State(state): State<AppState>, caller: Extension<Caller>, call: Request) -> Answer {
    let asked: RankBody = body::json(&state, call).await?;
    let data = Data::of("rerank", asked.model)?
        .with("query", asked.query)
        .with("documents", asked.texts)
        .with("raw_scores", asked.raw_scores)
        .with("return_documents", asked.return_text)
        .truncate(asked.truncate);
    let answered = data.ask(&state, &caller).await?;
    answered
        .written(move |answered| {
            let results = output::<RerankResult>(answered.result.output)?.results;
            let rank =
                |ranked: crate::task::inference::Ranked| Rank { index: ranked.index, score: ranked.relevance_score, text: ranked.document };
            Ok(results.into_iter().map(rank).collect::<Vec<Rank>>())
        })
        .await
}

pub(crate) async fn predict(State(state): State<AppState>, caller: Extension<Caller>, call: Request) -> Answer {
    let asked: PredictBody = body::json(&state, call).await?;
    let (firsts, seconds, single) = predict_texts(asked.inputs)?;
    let data = Data::of("classify", asked.model)?
        .with("texts", firsts)
        .maybe("text_pairs", seconds)
        .with("raw_scores", asked.raw_scores)
        .truncate(asked.truncate);
    let answered = data.ask(&state, &caller).await?;
    answered
        .written(move |answered| {
            let mut items: Vec<Vec<LabelScore>> = output::<ClassifyResult>(answered.result.output)?.items;
            let one = if single { items.pop() } else { None };
            Ok(match one {
                Some(labels) => json!(labels),
                None => json!(items),
            })
        })
        .await
}

/// First texts, second texts if there are pairs, and whether one answer without an array around it is wanted.
type PredictTexts = (Vec<String>, Option<Vec<String>>, bool);

fn predict_texts(inputs: PredictInputs) -> Result<PredictTexts, ApiError> {
    let (rows, single) = match inputs {
        PredictInputs::One(text) => (vec![vec![text]], true),
        PredictInputs::Pair(texts) => (vec![texts], true),
        PredictInputs::Batch(rows) => (rows, false),
    };
    let width = rows.first().map_or(1, Vec::len);
    if !(1..=2).contains(&width) || rows.iter().any(|row| row.len() != width) {
        let message = "a text is one string, a pair is [first, second], a batch is [[text], ...] or [[first, second], ...]";
        return Err(ApiError::field("inputs", message));
    }
    let (mut firsts, mut seconds) = (Vec::with_capacity(rows.len()), Vec::with_capacity(rows.len()));
    for row in rows {
        let mut row = row.into_iter();
        firsts.extend(row.next());
        seconds.extend(row.next());
    }
    Ok((firsts, (width == 2).then_some(seconds), single))
}

pub(crate) async fn tokenize(State(state): State<AppState>, caller: Extension<Caller>, call: Request) -> Answer {
    let asked: TokenizeBody = body::json(&state, call).await?;
    let texts = asked.inputs.into_texts();
    let answered = Data::of("tokenize", asked.model)?.with("texts", texts.clone()).ask(&state, &caller).await?;
    answered
        .written(move |answered| {
            let items = output::<TokenizeResult>(answered.result.output)?.items;
            Ok(items.into_iter().zip(&texts).map(|(item, text)| tokens(item, text, asked.add_special_tokens)).collect::<Vec<_>>())
        })
        .await
}

/// The tokens of a text with their places in characters, counted in one walk. A token without a place is special.
fn tokens(item: TextTokens, text: &str, keep_special: bool) -> Vec<Token> {
    let (mut byte, mut chars) = (0, 0);
    let mut chars_before = |at: usize| {
        if at < byte {
            (byte, chars) = (0, 0);
        }
        chars += text.get(byte..at).map_or(0, |piece| piece.chars().count());
        byte = at;
        chars
    };
    let places = item.start_bytes.into_iter().zip(item.end_bytes);
    let mut found = Vec::with_capacity(item.ids.len());
    for ((id, spelling), (from, to)) in item.ids.into_iter().zip(item.tokens).zip(places) {
        if from != to {
            let (start, stop) = (chars_before(from), chars_before(to));
            let text = text.get(from..to).map_or(spelling, str::to_owned);
            found.push(Token { id, text, special: false, start: Some(start), stop: Some(stop) });
        } else if keep_special {
            found.push(Token { id, text: spelling, special: true, start: None, stop: None });
        }
    }
    found
}

pub(crate) async fn similarity(State(state): State<AppState>, caller: Extension<Caller>, call: Request) -> Answer {
    let asked: SimilarityBody = body::json(&state, call).await?;
    let data = Data::of("similarity", asked.model)?
        .with("texts_a", asked.inputs.source_sentence)
        .with("texts_b", asked.inputs.sentences)
        .truncate(asked.parameters.truncate);
    let answered = data.ask(&state, &caller).await?;
    answered.written(move |answered| Ok(output::<SimilarityResult>(answered.result.output)?.scores.pop().unwrap_or_default())).await
}

/// A precision as text-embeddings-inference names the type of weights.
fn dtype(precision: Option<&str>) -> &'static str {
    match precision {
        Some("bf16") => "bfloat16",
        Some("int8") => "int8",
        _ => "float32",
    }
}

/// What is declared and loaded; asks nothing of a model.
pub(crate) async fn info(State(state): State<AppState>) -> Answer {
    let reports = state.manager().executor().reports();
    let details = reports.into_iter().map(|report| report.details).find(|details| details.get("default_model").is_some());
    let details = details.unwrap_or_default();
    let default = details.get("default_model").and_then(Value::as_str).map(str::to_owned);
    let models: Vec<Value> = details.get("models").and_then(Value::as_array).cloned().unwrap_or_default();
    let loaded = models.iter().find(|model| model.get("name").and_then(Value::as_str) == default.as_deref());
    let info = Info {
        model_sha: loaded.and_then(|model| model.get("digest")?.as_str()).map(str::to_owned),
        max_input_length: loaded.and_then(|model| model.get("max_tokens")?.as_u64()),
        model_id: default,
        model_dtype: dtype(loaded.and_then(|model| model.get("precision")?.as_str())),
        max_client_batch_size: TEXTS_MAX,
        max_payload_bytes: state.options().limits.body_bytes_max,
        auto_truncate: false,
        models,
        version: env!("CARGO_PKG_VERSION"),
    };
    written(move || Ok(info)).await
}
