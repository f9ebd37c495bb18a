//! Lends the tokenizers of models to text processing, which knows no model.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use parking_lot::Mutex;
use tallow_models::encoder::EncoderPlan;
use tallow_models::source::{SourceOptions, resolve};
use tallow_models::text::TextTokenizer as FileTokenizer;
use tallow_models::{BuiltinEmbedder, Embedder as _, ModelError, builtin};

use crate::shelf::task_error;
use crate::task::text::{ModelToken, TextTokenizer, TokenizerSource};
use crate::task::{CancelHandle, TaskError};

/// Tokenizers that stay loaded; the one that was asked for longest ago goes first. Each holds a vocabulary, some tens of MB at most.
const TOKENIZERS_MAX: usize = 4;

/// Tokenizers of the models this worker can find.
pub(super) struct ModelTokenizers {
    source: SourceOptions,
    default_model: String,
    /// The latest at the back.
    loaded: Mutex<VecDeque<Arc<Lent>>>,
}

impl ModelTokenizers {
    /// Nothing loaded yet.
    pub(super) fn new(source: SourceOptions, default_model: String) -> Self {
        Self { source, default_model, loaded: Mutex::default() }
    }

    fn load(&self, name: &str) -> Result<Lent, ModelError> {
        if name == builtin::NAME {
            return Ok(Lent { name: name.to_owned(), kind: Kind::Builtin(Box::new(BuiltinEmbedder::load()?)) });
        }
        let folder = resolve(name, &self.source)?.folder;
        let plan = EncoderPlan::read(&folder)?;
        Ok(Lent { name: name.to_owned(), kind: Kind::File(Box::new(plan.tokenizer()?)) })
    }
}

impl TokenizerSource for ModelTokenizers {
    fn tokenizer(&self, model: Option<&str>) -> Result<Arc<dyn TextTokenizer>, TaskError> {
        let name = match model.unwrap_or(&self.default_model) {
            "builtin" | "tallow-builtin" => builtin::NAME,
            name => name,
        };
        let known = {
            let mut loaded = self.loaded.lock();
            let at = loaded.iter().position(|lent| lent.name == name);
            let known = at.and_then(|at| loaded.remove(at));
            loaded.extend(known.clone());
            known
        };
        if let Some(known) = known {
            return Ok(known);
        }
        // Loaded outside the lock: two that come at once may both load, and one copy is dropped.
        let lent = Arc::new(self.load(name).map_err(|error| task_error(name, error))?);
        let mut loaded = self.loaded.lock();
        loaded.retain(|other| other.name != name);
        loaded.push_back(Arc::clone(&lent));
        while loaded.len() > TOKENIZERS_MAX {
            loaded.pop_front();
        }
        Ok(lent)
    }
}

/// One model's tokenizer.
struct Lent {
    name: String,
    kind: Kind,
}

enum Kind {
    Builtin(Box<BuiltinEmbedder>),
    File(Box<FileTokenizer>),
}

impl Lent {
    fn each_token(&self, text: &str, cancel: &CancelHandle, mut take: impl FnMut(u32, Range<usize>)) -> Result<(), TaskError> {
        cancel.check()?;
        let stop = || cancel.is_cancelled();
        let done = match &self.kind {
            Kind::File(tokenizer) => tokenizer.each_token(text, &stop, take),
            Kind::Builtin(embedder) => embedder.tokenize("", text).map(|sequence| {
                let tokens = sequence.ids.into_iter().zip(sequence.offsets).take(sequence.content.end).skip(sequence.content.start);
                tokens.for_each(|(id, bytes)| take(id, bytes));
            }),
        };
        done.map_err(|error| match error {
            ModelError::Stopped => cancel.cause(),
            ModelError::Input { reason } => TaskError::invalid("text", reason),
            other => task_error(&self.name, other),
        })
    }
}

impl TextTokenizer for Lent {
    fn model(&self) -> &str {
        &self.name
    }

    fn tokens(&self, text: &str, cancel: &CancelHandle) -> Result<Vec<ModelToken>, TaskError> {
        let mut tokens = Vec::new();
        self.each_token(text, cancel, |id, bytes| tokens.push(ModelToken { id, bytes }))?;
        Ok(tokens)
    }

    fn count(&self, text: &str, cancel: &CancelHandle) -> Result<usize, TaskError> {
        let mut count = 0;
        self.each_token(text, cancel, |_, _| count += 1)?;
        Ok(count)
    }
}
