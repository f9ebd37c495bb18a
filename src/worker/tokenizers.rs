//! Lends the tokenizers of models to text processing, which knows no model.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use parking_lot::Mutex;
use tallow_models::encoder::EncoderPlan;
use tallow_models::source::{SourceOptions, resolve};
use tallow_models::text::TextTokenizer as FileTokenizer;
use tallow_models::{BuiltinEmbedder, Embedder as _, ModelError, builtin};

use crate::shelf::{find_error, incomplete_error, task_error};
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

    fn load(&self, name: &str) -> Result<Lent, TaskError> {
        let failed = |error| task_error(name, error);
        if name == builtin::NAME {
            return Ok(Lent { name: name.to_owned(), kind: Kind::Builtin(Box::new(BuiltinEmbedder::load().map_err(failed)?)) });
        }
        let found = resolve(name, &self.source).map_err(|error| find_error(name, error, &self.source))?;
        let tokenizer = EncoderPlan::read(&found.folder).and_then(|plan| plan.tokenizer());
        let tokenizer = tokenizer.map_err(|error| incomplete_error(&found, error, &self.source))?;
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

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use serde_json::{Value, json};

    use super::*;
    use crate::executor::{TextOptions, TextProcessingExecutor};
    use crate::resource::ComputePool;
    use crate::task::{Task, TaskExecutor as _, TaskPriority, TaskType};

    fn fixtures() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("models/fixtures")
    }

    fn lender(folder: PathBuf) -> ModelTokenizers {
        ModelTokenizers::new(SourceOptions { model_dirs: vec![folder], ..SourceOptions::default() }, "tiny-bert".into())
    }

    fn run(data: Value) -> Result<Value, TaskError> {
        let options = TextOptions { tokenizers: Some(Arc::new(lender(fixtures()))), ..TextOptions::default() };
        let executor = TextProcessingExecutor::with_options(ComputePool::new(1)?, options);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let task = Task::new(TaskType::TextProcessing, TaskPriority::Normal, data);
        runtime.block_on(executor.execute(&task)).map(|result| result.output)
    }

    #[test]
    fn the_switches_of_a_models_files_count_and_places_point_into_the_text() {
        let golden: Value = serde_json::from_slice(&std::fs::read(fixtures().join("token_golden.json")).unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let model = folder.path().join("m");
        std::fs::create_dir(&model).unwrap();
        for file in ["config.json", "tokenizer.json", "tokenizer_config.json"] {
            std::fs::copy(fixtures().join("heads/roberta-mlm").join(file), model.join(file)).unwrap();
        }
        std::fs::write(model.join("model.safetensors"), "").unwrap();
        for (name, lower) in [("roberta-mlm", false), ("roberta-mlm, lowered", true)] {
            let switches = json!({ "max_seq_length": 40, "do_lower_case": lower });
            std::fs::write(model.join("sentence_bert_config.json"), switches.to_string()).unwrap();
            let tokenizer = lender(folder.path().to_owned()).tokenizer(Some("m")).unwrap();
            for (text, expected) in golden["texts"].as_array().unwrap().iter().zip(golden["tokens"][name].as_array().unwrap()) {
                let text = text.as_str().unwrap();
                let expected: Vec<(u32, usize, usize)> = serde_json::from_value(expected.clone()).unwrap();
                let expected: Vec<ModelToken> = expected.iter().map(|&(id, start, end)| ModelToken { id, bytes: start..end }).collect();
                let found = tokenizer.tokens(text, &CancelHandle::default()).unwrap();
                assert_eq!(found, expected[1..expected.len() - 1], "{name}, {text:?}");
                assert_eq!(tokenizer.count(text, &CancelHandle::default()).unwrap(), found.len(), "{name}, {text:?}");
            }
        }
    }

    #[test]
    fn long_texts_are_counted_and_a_refusal_names_the_field_of_the_request() {
        let long = "the cat sits outside ".repeat(250_000);
        assert!(long.len() > 5 << 20);
        let counted = run(json!({ "operation": "count_tokens", "text": long })).unwrap();
        assert_eq!(counted["count"], 1_000_000);
        let stretch = "x".repeat((4 << 20) + 1);
        let refused = run(json!({ "operation": "count_tokens", "text": stretch })).unwrap_err().to_string();
        assert!(refused.contains("`text`") && refused.contains("split the text"), "{refused}");
        let refused = run(json!({ "operation": "tokenize", "unit": "model", "texts": ["x", stretch] })).unwrap_err().to_string();
        assert!(refused.contains("`texts[1]`"), "{refused}");
    }

    #[test]
    fn a_cancelled_task_gets_no_tokens() {
        let cancel = CancelHandle::default();
        cancel.cancel(TaskError::Cancelled { reason: "no longer wanted".into() });
        for model in ["tiny-bert", "builtin"] {
            let tokenizer = lender(fixtures()).tokenizer(Some(model)).unwrap();
            let refused = tokenizer.count("the cat", &cancel);
            assert_eq!(refused, Err(TaskError::Cancelled { reason: "no longer wanted".into() }), "{model}");
        }
    }
}
