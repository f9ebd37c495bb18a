//! Long texts, prompts and slices, on an embedder that counts letters; and batches over many callers.

mod batches;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::FutureExt as _;
use tallow_models::{BuiltinEmbedder, Embedder, EmbedderInfo, StopCheck};

use super::*;

/// Counts characters: token ids are the text's characters between two special tokens; a vector is (count, first id).
#[derive(Default)]
struct Letters {
    info: EmbedderInfo,
    computed: AtomicUsize,
}

impl Embedder for Letters {
    fn info(&self) -> &EmbedderInfo {
        &self.info
    }
    fn tokenize(&self, prompt: &str, text: &str) -> Result<Sequence, ModelError> {
        let letters: Vec<u32> = prompt.chars().chain(text.chars()).map(u32::from).collect();
        let ids: Vec<u32> = std::iter::once(1).chain(letters.iter().copied()).chain(std::iter::once(2)).collect();
        let content = 1..ids.len() - 1;
        Ok(Sequence { text: text.into(), offsets: vec![0..0; ids.len()], ids, content, prompt_tokens: prompt.chars().count() })
    }
    fn token(&self, _: u32) -> Option<String> {
        None
    }
    fn embed(&self, sequences: &[Sequence], stop: StopCheck<'_>) -> Result<Vec<f32>, ModelError> {
        if stop() {
            return Err(ModelError::Stopped);
        }
        assert!(sequences.iter().all(|sequence| sequence.len() <= 6), "nothing beyond the limit reaches the model");
        self.computed.fetch_add(sequences.iter().map(Sequence::len).sum(), Ordering::Relaxed);
        Ok(sequences.iter().flat_map(|sequence| [sequence.len() as f32, sequence.ids[1] as f32]).collect())
    }
}

fn letters() -> Letters {
    let info = EmbedderInfo { dimensions: 2, max_tokens: Some(6), special_token_count: 2, ..EmbedderInfo::default() };
    Letters { info, ..Letters::default() }
}

fn plan(long_text: LongText) -> EmbedPlan {
    EmbedPlan { prompt: String::new(), long_text, dimensions: None, normalize: false }
}

/// Embeds without batches, which waits for nothing.
fn at_once(model: &dyn Embedder, texts: &[String], plan: &EmbedPlan, progress: &(dyn Fn(f32) + Sync)) -> Result<Embedded, EmbedError> {
    embed_texts(&Desk::direct(model, Arc::new(|| false)), texts, plan, progress).now_or_never().expect("it does not wait")
}

fn run(texts: &[&str], plan: &EmbedPlan) -> Result<Embedded, EmbedError> {
    let texts: Vec<String> = texts.iter().map(|&text| text.to_owned()).collect();
    at_once(&letters(), &texts, plan, &|_| {})
}

#[test]
fn windows_repeat_the_prompt_and_weigh_by_tokens() {
    let chunk = EmbedPlan { prompt: "p".into(), ..plan(LongText::Chunk) };
    let done = run(&["abcdefgh"], &chunk).unwrap();
    // Three letters a window beside [1, p, .., 2]: lengths 6, 6, 5 with weights 3, 3, 2.
    assert_eq!(done.chunked, [(0, 3)]);
    assert_eq!(done.vectors, [(6.0 * 3.0 + 6.0 * 3.0 + 5.0 * 2.0) / 8.0, 112.0]);
    assert_eq!((done.token_counts[0], done.computed_tokens), (11, 17));
}

#[test]
fn a_prompt_that_fills_the_model_is_an_error() {
    let chunk = EmbedPlan { prompt: "pppp".into(), ..plan(LongText::Chunk) };
    assert!(matches!(run(&["", "abcdefgh"], &chunk), Err(EmbedError::Text { index: 1, .. })));
}

#[test]
fn texts_at_the_limit_are_left_alone() {
    for policy in [LongText::Refuse, LongText::Truncate, LongText::Chunk] {
        let done = run(&["abcd", ""], &plan(policy)).unwrap();
        assert_eq!((done.vectors[0], done.truncated.len(), done.chunked.len()), (6.0, 0, 0));
    }
    assert_eq!(run(&["a", "abcde"], &plan(LongText::Refuse)), Err(EmbedError::TooLong { index: 1, found: 7, limit: 6 }));
}

#[test]
fn the_tokens_that_are_told_are_those_that_the_model_saw() {
    let texts: Vec<String> = ["", "ab", "abcd", "abcde", "abcdefghijklmnop"].map(str::to_owned).to_vec();
    for prompt in ["", "p", "pq"] {
        for policy in [LongText::Truncate, LongText::Chunk] {
            let model = letters();
            let plan = EmbedPlan { prompt: prompt.into(), ..plan(policy) };
            let done = at_once(&model, &texts, &plan, &|_| {}).unwrap();
            assert_eq!(done.computed_tokens, model.computed.into_inner(), "{prompt:?}, {policy:?}");
            let whole: Vec<usize> = texts.iter().map(|text| text.len() + prompt.len() + 2).collect();
            assert_eq!(done.token_counts, whole, "{prompt:?}, {policy:?}");
        }
    }
}

#[test]
fn slices_do_not_show_in_the_answer() {
    let model = BuiltinEmbedder::load().unwrap();
    let slice = HELD_TEXTS / SLICES_HELD;
    let texts: Vec<String> = (0..slice * 2 + 3).map(|n| format!("text number {n}")).collect();
    let heard = std::sync::Mutex::new(Vec::new());
    let progress = |share: f32| heard.lock().unwrap().push(share);
    let plan = plan(LongText::Refuse);
    let done = at_once(&model, &texts, &plan, &progress).unwrap();
    assert_eq!(done.vectors.len(), texts.len() * done.dimensions);
    let heard = heard.into_inner().unwrap();
    assert_eq!((heard.len(), heard.last().copied()), (3, Some(1.0)));
    let last = at_once(&model, &texts[texts.len() - 1..], &plan, &|_| {}).unwrap();
    assert_eq!(last.vectors, done.vectors[done.vectors.len() - done.dimensions..]);
}
