//! `tokenize` and `count_tokens`.

use std::ops::Range;
use std::sync::Arc;

use unicode_segmentation::UnicodeSegmentation;

use super::frequencies::fold_word;
use super::segment::{count_sentences, for_each_word, map_blocks, sentences, word_count_max, words};
use super::{DocumentOperation, TextScope, TextState};
use crate::task::text::{CountTokensOutput, CountTokensRequest, TextTokenizer, Token, TokenUnit, TokenizeOutput, TokenizeRequest};
use crate::task::{CancelHandle, TaskError};

/// The tokenizer of a model. Errors: `ModelMissing` when the worker lends none, and the errors of its source.
pub(super) fn model_tokenizer(state: &TextState, model: Option<&str>) -> Result<Arc<dyn TextTokenizer>, TaskError> {
    match &state.tokenizers {
        Some(source) => source.tokenizer(model),
        None => Err(no_tokenizer(model)),
    }
}

/// Refuses model tokens at admission when there can be none, and a model's name where no model takes part.
pub(super) fn check_model(wants_model: bool, model: Option<&str>, state: &TextState) -> Result<(), TaskError> {
    match (wants_model, model) {
        (true, _) if state.tokenizers.is_none() => Err(no_tokenizer(model)),
        (false, Some(_)) => Err(TaskError::invalid("model", "only allowed when tokens of a model are asked for")),
        _ => Ok(()),
    }
}

fn no_tokenizer(model: Option<&str>) -> TaskError {
    TaskError::ModelMissing {
        model: model.unwrap_or("default").to_owned(),
        reason: "this worker lends no tokenizer to text processing; ask for words, sentences, graphemes or characters".into(),
    }
}

pub(super) struct Tokenize;

impl DocumentOperation for Tokenize {
    type Request = TokenizeRequest;
    type Output = TokenizeOutput;
    const NAME: &'static str = "tokenize";
    const SUMMARY: &'static str = "Cuts into words, sentences, graphemes, characters or a model's tokens, with byte offsets.";
    const BYTES_PER_BYTE: u64 = 4;

    fn answer_bytes(text: &str, request: &TokenizeRequest) -> u64 {
        // A token, with its span, its text and its JSON object.
        const TOKEN_BYTES: u64 = 800;
        let tokens_max = match request.unit {
            TokenUnit::Words | TokenUnit::Sentences => word_count_max(text),
            TokenUnit::Graphemes | TokenUnit::Characters => text.chars().count(),
            // Vocabularies have about four bytes per token; half of that is taken.
            TokenUnit::Model => text.len() / 2 + 1,
        };
        TOKEN_BYTES.saturating_mul(tokens_max as u64)
    }

    fn check(request: &TokenizeRequest, state: &TextState) -> Result<(), TaskError> {
        check_model(request.unit == TokenUnit::Model, request.model.as_deref(), state)
    }

    fn run(text: &str, request: &TokenizeRequest, scope: &TextScope<'_>) -> Result<TokenizeOutput, TaskError> {
        if request.unit == TokenUnit::Model {
            let tokenizer = model_tokenizer(scope.state, request.model.as_deref())?;
            let tokens: Vec<Token> = tokenizer
                .tokens(text, scope.cancel)?
                .into_iter()
                .map(|token| Token { id: Some(token.id), ..make_token(text, token.bytes, request.lowercase) })
                .collect();
            return Ok(TokenizeOutput { count: tokens.len(), tokens, model: Some(tokenizer.model().to_owned()) });
        }
        let spans = spans(text, request.unit, scope.cancel)?;
        let tokens: Vec<Token> = spans.into_iter().map(|range| make_token(text, range, request.lowercase)).collect();
        Ok(TokenizeOutput { count: tokens.len(), tokens, model: None })
    }
}

fn make_token(text: &str, range: Range<usize>, lowercase: bool) -> Token {
    let source = text.get(range.clone()).unwrap_or_default();
    let shown = if lowercase { fold_word(source).into_owned() } else { source.to_owned() };
    Token { text: shown, start_byte: range.start, end_byte: range.end, id: None }
}

fn spans(text: &str, unit: TokenUnit, cancel: &CancelHandle) -> Result<Vec<Range<usize>>, TaskError> {
    let by_block = |cut: fn(&str) -> Vec<Range<usize>>| -> Result<Vec<Range<usize>>, TaskError> {
        let blocks = map_blocks(text, cancel, |block, offset| {
            Ok(cut(block).into_iter().map(|range| range.start + offset..range.end + offset).collect::<Vec<_>>())
        })?;
        Ok(blocks.into_iter().flatten().collect())
    };
    match unit {
        TokenUnit::Words => words(text, cancel),
        TokenUnit::Sentences => sentences(text, cancel),
        TokenUnit::Graphemes => by_block(|block| block.grapheme_indices(true).map(|(at, part)| at..at + part.len()).collect()),
        TokenUnit::Characters => by_block(|block| block.char_indices().map(|(at, part)| at..at + part.len_utf8()).collect()),
        TokenUnit::Model => Err(TaskError::internal("model tokens come from a tokenizer", "")),
    }
}

pub(super) struct CountTokens;

impl DocumentOperation for CountTokens {
    type Request = CountTokensRequest;
    type Output = CountTokensOutput;
    const NAME: &'static str = "count_tokens";
    const SUMMARY: &'static str = "Counts a model's tokens, or words, sentences, graphemes or characters, without listing them.";
    const BYTES_PER_BYTE: u64 = 48;

    fn check(request: &CountTokensRequest, state: &TextState) -> Result<(), TaskError> {
        check_model(request.unit == TokenUnit::Model, request.model.as_deref(), state)
    }

    fn run(text: &str, request: &CountTokensRequest, scope: &TextScope<'_>) -> Result<CountTokensOutput, TaskError> {
        if request.unit == TokenUnit::Model {
            let tokenizer = model_tokenizer(scope.state, request.model.as_deref())?;
            return Ok(CountTokensOutput { count: tokenizer.count(text, scope.cancel)?, model: Some(tokenizer.model().to_owned()) });
        }
        let count = match request.unit {
            TokenUnit::Sentences => count_sentences(text, scope.cancel)?,
            unit => map_blocks(text, scope.cancel, |block, _offset| count_block(block, unit, scope.cancel))?.into_iter().sum(),
        };
        Ok(CountTokensOutput { count, model: None })
    }
}

fn count_block(block: &str, unit: TokenUnit, cancel: &CancelHandle) -> Result<usize, TaskError> {
    match unit {
        TokenUnit::Graphemes => Ok(block.graphemes(true).count()),
        TokenUnit::Characters => Ok(block.chars().count()),
        _ => {
            let mut count = 0;
            for_each_word(block, cancel, |_range| count += 1)?;
            Ok(count)
        }
    }
}
