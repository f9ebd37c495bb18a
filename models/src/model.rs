//! A loaded model with all its parts: the built-in embedder, or an encoder with its head.

use crate::{Abilities, Ability, Embedder, EmbedderInfo, Encoder, ModelError};

/// One loaded model; several operations share it.
pub enum Model {
    /// Vectors alone.
    Static(Box<dyn Embedder>),
    /// A transformer and its head.
    Encoder(Box<Encoder>),
}

impl Model {
    /// What it is and what it accepts.
    #[must_use]
    pub fn info(&self) -> &EmbedderInfo {
        self.embedder().info()
    }

    /// Its tokens and, if it offers them, its vectors: [`Embedder::embed`] of a model that does not is `Unsupported`.
    #[must_use]
    pub fn embedder(&self) -> &dyn Embedder {
        match self {
            Self::Static(embedder) => embedder.as_ref(),
            Self::Encoder(encoder) => encoder.as_ref(),
        }
    }

    /// What it can be asked for.
    #[must_use]
    pub fn abilities(&self) -> Abilities {
        self.info().abilities
    }

    /// The encoder, for an operation that needs `ability`. Errors: `Unsupported` listing what the model offers, `Corrupt` where its weights lack the head.
    pub fn encoder(&self, ability: Ability) -> Result<&Encoder, ModelError> {
        self.abilities().require(ability)?;
        match self {
            Self::Static(_) => Err(ModelError::Internal { reason: format!("a static model cannot {}", ability.name()) }),
            Self::Encoder(encoder) => encoder.require(ability).map(|()| encoder.as_ref()),
        }
    }
}
