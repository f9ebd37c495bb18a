//! The table of operations: each is a typed request, a typed answer and a future between them.

use std::any::Any;
use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tallow_models::{Ability, Embedder, Encoder, Model, ModelError};

use super::{classify, embed, embed_sparse, embed_tokens, fill_mask, rerank, similarity, tag, tokens, zero_shot};
use crate::embed::{Desk, Seat};
use crate::executor::operation::{operation_info, parse_request};
use crate::shelf::{ModelSketch, Pinned, task_error};
use crate::task::{CancelHandle, OperationInfo, TaskContext, TaskError, TaskSink, TaskType};

/// What a running operation may use.
pub(crate) struct InferenceScope<'a> {
    pub(crate) model: &'a Model,
    pub(crate) embedder: &'a dyn Embedder,
    /// Where texts are tokenised and computed.
    pub(crate) desk: Desk<'a>,
    pub(crate) cancel: &'a CancelHandle,
    pub(crate) deadline: Option<Instant>,
    pub(crate) sink: &'a Arc<dyn TaskSink>,
    /// How the answer was made; goes into the result.
    pub(crate) metadata: HashMap<String, Value>,
}

impl<'a> InferenceScope<'a> {
    /// The encoder behind `ability`. Errors: `ModelUnsupported` listing what the model offers, `ModelCorrupt` where its weights lack the head.
    pub(crate) fn encoder(&self, ability: Ability) -> Result<&'a Encoder, TaskError> {
        self.model.encoder(ability).map_err(|error| self.error(error))
    }

    /// A model's error as the task's; a stop carries the cause of the cancel.
    pub(crate) fn error(&self, error: ModelError) -> TaskError {
        match error {
            ModelError::Stopped => self.cancel.cause(),
            other => task_error(&self.embedder.info().name, other),
        }
    }
}

/// One operation. `run` is polled on threads that may compute for a while, and waits for the batcher between its polls; it never panics on input.
pub(crate) trait InferenceOperation: 'static {
    type Request: DeserializeOwned + JsonSchema + Send + Sync + 'static;
    type Output: Serialize + JsonSchema + Send;
    const NAME: &'static str;
    const SUMMARY: &'static str;
    /// True where a short request is prepared and its answer written in less than a millisecond.
    const MAY_BE_BRIEF: bool = true;

    /// The model that is named, if one is.
    fn model(request: &Self::Request) -> Option<&str>;
    /// What the model must be able to do; nothing beyond its tokens by default.
    fn needs(_request: &Self::Request, _model: &ModelSketch) -> Option<Ability> {
        None
    }
    /// Bytes of each thread that prepares the texts: at least what tokenising the longest of them holds.
    fn thread_bytes(request: &Self::Request, model: &ModelSketch) -> u64;
    /// Checks what types cannot say; gives the bytes held beside payload and model.
    fn check(request: &Self::Request, model: &ModelSketch) -> Result<u64, TaskError>;
    fn run(request: &Self::Request, scope: &mut InferenceScope<'_>) -> impl Future<Output = Result<Self::Output, TaskError>> + Send;
}

pub(super) type ErasedRequest = Arc<dyn Any + Send + Sync>;
type Checked = (ErasedRequest, Option<String>);
type CheckFn = fn(&ErasedRequest, &ModelSketch) -> Result<u64, TaskError>;
type NeedsFn = fn(&ErasedRequest, &ModelSketch) -> Result<Option<Ability>, TaskError>;
/// The answer, and how it was made.
type Answer = Result<(Value, HashMap<String, Value>), TaskError>;
type RunFn = fn(ErasedRequest, Setting) -> Pin<Box<dyn Future<Output = Answer> + Send>>;

/// What one run of an operation owns.
pub(super) struct Setting {
    pub(super) pinned: Arc<Pinned>,
    pub(super) ctx: TaskContext,
    /// The caller's place at the batcher; `None` for a model that computes at once.
    pub(super) seat: Option<Seat>,
    /// True when rows may come from before.
    pub(super) caches: bool,
}

/// An operation without its types.
#[derive(Clone, Copy)]
pub(super) struct Entry {
    pub(super) name: &'static str,
    pub(super) may_be_brief: bool,
    pub(super) parse: fn(&Value) -> Result<Checked, TaskError>,
    pub(super) needs: NeedsFn,
    pub(super) thread_bytes: CheckFn,
    pub(super) check: CheckFn,
    pub(super) run: RunFn,
    pub(super) info: fn(&TaskType) -> OperationInfo,
}

impl Entry {
    pub(super) fn all() -> Vec<Self> {
        vec![
            Self::of::<embed::Embed>(),
            Self::of::<similarity::Similarity>(),
            Self::of::<tokens::Tokenize>(),
            Self::of::<tokens::CountTokens>(),
            Self::of::<embed_tokens::EmbedTokens>(),
            Self::of::<embed_sparse::EmbedSparse>(),
            Self::of::<rerank::Rerank>(),
            Self::of::<classify::Classify>(),
            Self::of::<tag::Tag>(),
            Self::of::<fill_mask::FillMask>(),
            Self::of::<zero_shot::ZeroShot>(),
        ]
    }

    fn of<O: InferenceOperation>() -> Self {
        fn request<O: InferenceOperation>(erased: &ErasedRequest) -> Result<&O::Request, TaskError> {
            erased.downcast_ref().ok_or_else(|| TaskError::internal("the request belongs to another operation", O::NAME))
        }
        Self {
            name: O::NAME,
            may_be_brief: O::MAY_BE_BRIEF,
            parse: |data| {
                let request: O::Request = parse_request(data)?;
                let model = O::model(&request).map(str::to_owned);
                Ok((Arc::new(request), model))
            },
            needs: |erased, sketch| Ok(O::needs(request::<O>(erased)?, sketch)),
            thread_bytes: |erased, sketch| Ok(O::thread_bytes(request::<O>(erased)?, sketch)),
            check: |erased, sketch| O::check(request::<O>(erased)?, sketch),
            run: |erased, setting| Box::pin(async move { run::<O>(request::<O>(&erased)?, setting).await }),
            info: |task_type| operation_info::<O::Request, O::Output>(task_type, O::NAME, O::SUMMARY),
        }
    }
}

async fn run<O: InferenceOperation>(request: &O::Request, setting: Setting) -> Answer {
    let Setting { pinned, ctx, seat, caches } = setting;
    let (model, embedder, cancel) = (pinned.model(), pinned.embedder(), ctx.cancel());
    let desk = match seat {
        Some(seat) => Desk::batched(embedder, seat),
        None => {
            let cancel = cancel.clone();
            Desk::direct(embedder, Arc::new(move || cancel.is_cancelled()))
        }
    };
    let metadata = HashMap::new();
    let mut scope = InferenceScope { model, embedder, desk, cancel, deadline: ctx.deadline(), sink: ctx.sink(), metadata };
    let output = O::run(request, &mut scope).await?;
    if caches {
        scope.metadata.insert("cached".into(), json!(scope.desk.cached()));
    }
    let output =
        serde_json::to_value(output).map_err(|error| TaskError::internal("the answer cannot be written as JSON", error.to_string()))?;
    Ok((output, scope.metadata))
}
