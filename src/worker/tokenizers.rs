//! Lends the tokenizers of models to text processing, which knows no model.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tallow_models::encoder::EncoderPlan;
use tallow_models::source::{SourceOptions, resolve};
use tallow_models::text::TextTokenizer as FileTokenizer;
use tallow_models::{BuiltinEmbedder, Embedder as _, Sequence, builtin};

use crate::shelf::{find_error, incomplete_error, task_error};
use crate::task::TaskError;
use crate::task::text::{ModelToken, TextTokenizer, TokenizerSource};

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

    fn load(&self, name: &str) -> Result<Lent, TaskError> {
        let failed = |error| task_error(name, error);
        if name == builtin::NAME {
            return Ok(Lent { name: name.to_owned(), kind: Kind::Builtin(Box::new(BuiltinEmbedder::load().map_err(failed)?)) });
        }
        // Letters keep their case here: offsets point into the text as it was given.
        let read = |plan: EncoderPlan| FileTokenizer::read(plan.transformer_folder(), false, plan.config.vocab);
        let found = resolve(name, &self.source).map_err(|error| find_error(name, error, &self.source))?;
        let tokenizer = EncoderPlan::read(&found.folder).and_then(read).map_err(|error| incomplete_error(&found, error, &self.source))?;
        Ok(Lent { name: name.to_owned(), kind: Kind::File(Box::new(tokenizer)) })
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
        let lent = Arc::new(self.load(name)?);
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
    fn sequence(&self, text: &str) -> Result<Sequence, TaskError> {
        let sequence = match &self.kind {
            Kind::Builtin(embedder) => embedder.tokenize("", text),
            Kind::File(tokenizer) => tokenizer.tokenize("", text),
        };
        sequence.map_err(|error| task_error(&self.name, error))
    }
}

impl TextTokenizer for Lent {
    fn model(&self) -> &str {
        &self.name
    }

    fn tokens(&self, text: &str) -> Result<Vec<ModelToken>, TaskError> {
        let sequence = self.sequence(text)?;
        let content = sequence.content;
        let tokens = sequence.ids.iter().zip(&sequence.offsets).take(content.end).skip(content.start);
        Ok(tokens.map(|(&id, bytes)| ModelToken { id, bytes: bytes.clone() }).collect())
    }

    fn count(&self, text: &str) -> Result<usize, TaskError> {
        self.sequence(text).map(|sequence| sequence.content.len())
    }
}
