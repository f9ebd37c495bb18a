//! What is asked of a model for one text, and what it answers.

use tallow_models::encoder::{MaskFill, TokenRows};
use tallow_models::text::PairTokens;
use tallow_models::{Ability, Model, ModelError, Sequence, StopCheck};

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ask {
    /// The text's vector.
    Vector,
    /// Logits of the text or pair.
    SequenceLogits,
    /// Logits of every token.
    TokenLogits,
    /// The vector of every token.
    TokenVectors,
    /// Weights of the vocabulary's entries.
    Sparse,
    /// Candidates for every masked place.
    Masks {
        /// How many.
        top: u16,
    },
}

impl Ask {
    /// A number of its own below [`Ask::CODES`].
    pub(super) fn code(self) -> u64 {
        match self {
            Self::Vector => 0,
            Self::SequenceLogits => 1,
            Self::TokenLogits => 2,
            Self::TokenVectors => 3,
            Self::Sparse => 4,
            Self::Masks { top } => 5 + u64::from(top),
        }
    }

    /// One more than the highest code.
    pub(super) const CODES: u64 = 5 + (1 << 16);

    /// True where an answer is one short row, which is worth keeping.
    pub(super) fn may_be_cached(self) -> bool {
        matches!(self, Self::Vector | Self::SequenceLogits)
    }
}

/// A tokenised text: a sequence for [`Ask::Vector`], a text or pair for everything else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// For a vector.
    Text(Sequence),
    /// For a head.
    Pair(PairTokens),
}

impl Input {
    /// Tokens, special ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Text(sequence) => sequence.len(),
            Self::Pair(pair) => pair.len(),
        }
    }

    /// True without a single token.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// An answer, by what was asked.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// To [`Ask::Vector`] and [`Ask::SequenceLogits`].
    Row(Vec<f32>),
    /// To [`Ask::TokenLogits`] and [`Ask::TokenVectors`].
    Rows(TokenRows),
    /// To [`Ask::Sparse`].
    Weights(Vec<(u32, f32)>),
    /// To [`Ask::Masks`].
    Fills(Vec<MaskFill>),
}

/// Gives the one kind of answer that an operation asked for. Errors: `Internal` for another kind, which would be a mistake of the batcher.
macro_rules! answer_of {
    ($name:ident, $variant:ident, $kind:ty, $what:literal) => {
        #[doc = concat!("The ", $what, ". Errors: `Internal` for another kind of answer.")]
        pub fn $name(self) -> Result<$kind, ModelError> {
            match self {
                Self::$variant(found) => Ok(found),
                _ => Err(ModelError::Internal { reason: concat!("an answer is no ", $what).into() }),
            }
        }
    };
}

impl Answer {
    answer_of!(row, Row, Vec<f32>, "row");
    answer_of!(rows, Rows, TokenRows, "rows of tokens");
    answer_of!(weights, Weights, Vec<(u32, f32)>, "weights of words");
    answer_of!(fills, Fills, Vec<MaskFill>, "candidates for masks");
}

/// A text with its answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Answered {
    /// The text, as it was handed in.
    pub input: Input,
    /// What the model said.
    pub answer: Answer,
}

/// What computes batches. Calls block, and compute on the calling thread and the pool it belongs to.
pub trait Computes: Send + Sync + 'static {
    /// A vector for each sequence, in order. Errors: as [`tallow_models::Embedder::embed`].
    fn vectors(&self, sequences: &[Sequence], stop: StopCheck<'_>) -> Result<Vec<Answer>, ModelError>;

    /// An answer for each text or pair, in order. Errors: as [`tallow_models::Encoder::sequence_logits`].
    fn answers(&self, ask: Ask, pairs: &[PairTokens], stop: StopCheck<'_>) -> Result<Vec<Answer>, ModelError>;
}

impl<M: AsRef<Model> + Send + Sync + 'static> Computes for M {
    fn vectors(&self, sequences: &[Sequence], stop: StopCheck<'_>) -> Result<Vec<Answer>, ModelError> {
        let embedder = self.as_ref().embedder();
        let rows = embedder.embed(sequences, stop)?;
        Ok(rows.chunks_exact(embedder.info().dimensions.max(1)).map(|row| Answer::Row(row.to_vec())).collect())
    }

    fn answers(&self, ask: Ask, pairs: &[PairTokens], stop: StopCheck<'_>) -> Result<Vec<Answer>, ModelError> {
        let encoder = match self.as_ref() {
            Model::Encoder(encoder) => encoder,
            Model::Static(embedder) => return Err(embedder.info().abilities.require(Ability::EmbedTokens).err().unwrap_or_else(no_head)),
        };
        Ok(match ask {
            Ask::Vector => return Err(ModelError::Internal { reason: "a pair has no vector".into() }),
            Ask::SequenceLogits => encoder.sequence_logits(pairs, stop)?.into_iter().map(Answer::Row).collect(),
            Ask::TokenLogits => encoder.token_logits(pairs, stop)?.into_iter().map(Answer::Rows).collect(),
            Ask::TokenVectors => encoder.token_vectors(pairs, stop)?.into_iter().map(Answer::Rows).collect(),
            Ask::Sparse => encoder.sparse(pairs, stop)?.into_iter().map(Answer::Weights).collect(),
            Ask::Masks { top } => encoder.fill_masks(pairs, usize::from(top), stop)?.into_iter().map(Answer::Fills).collect(),
        })
    }
}

pub(super) fn no_head() -> ModelError {
    ModelError::Internal { reason: "a static model has no head".into() }
}
