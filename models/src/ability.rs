//! What a model can be asked for, decided by the `architectures` of its configuration and its modules, before a weight is read.

use crate::ModelError;

/// One thing that a model may be able to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ability {
    /// One vector per text.
    Embed,
    /// One vector per token.
    EmbedTokens,
    /// Weights of vocabulary entries.
    EmbedSparse,
    /// One label or several per text or pair.
    Classify,
    /// One score per pair of texts.
    Rerank,
    /// One label per token.
    Tag,
    /// Words for masked places.
    FillMask,
    /// Any labels, by entailment.
    Entail,
}

impl Ability {
    /// All of them, in the order of listings.
    pub const ALL: [Self; 8] =
        [Self::Embed, Self::EmbedTokens, Self::EmbedSparse, Self::Classify, Self::Rerank, Self::Tag, Self::FillMask, Self::Entail];

    /// The name of the operation that uses it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Embed => "embed",
            Self::EmbedTokens => "embed_tokens",
            Self::EmbedSparse => "embed_sparse",
            Self::Classify => "classify",
            Self::Rerank => "rerank",
            Self::Tag => "tag",
            Self::FillMask => "fill_mask",
            Self::Entail => "zero_shot",
        }
    }

    /// What a model needs for it, in words for messages.
    fn needs(self) -> &'static str {
        match self {
            Self::Embed => "pooling (modules.json, or a model without a classification head)",
            Self::EmbedTokens => "a transformer",
            Self::EmbedSparse | Self::FillMask => "a masked-language-model head",
            Self::Classify => "a sequence classification head",
            Self::Rerank => "a sequence classification head with one label",
            Self::Tag => "a token classification head",
            Self::Entail => "a sequence classification head with an entailment label",
        }
    }
}

/// A set of abilities.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Abilities(u16);

impl Abilities {
    /// The set with one more.
    #[must_use]
    pub const fn with(self, ability: Ability) -> Self {
        Self(self.0 | 1 << ability as u16)
    }

    /// True when it is in the set.
    #[must_use]
    pub const fn has(self, ability: Ability) -> bool {
        self.0 & (1 << ability as u16) != 0
    }

    /// The operations that a model with these abilities serves.
    #[must_use]
    pub fn operations(self) -> Vec<&'static str> {
        let mut names: Vec<&str> = Ability::ALL.into_iter().filter(|&ability| self.has(ability)).map(Ability::name).collect();
        if self.has(Ability::Embed) {
            names.push("similarity");
            names.extend((!self.has(Ability::Entail)).then_some("zero_shot"));
        }
        [names, vec!["tokenize", "count_tokens"]].concat()
    }

    /// Errors: `Unsupported` unless it is in the set, saying what it needs and what this model offers.
    pub fn require(self, ability: Ability) -> Result<(), ModelError> {
        if self.has(ability) {
            return Ok(());
        }
        Err(ModelError::unsupported(format!(
            "`{}` needs {}; this model offers {}",
            ability.name(),
            ability.needs(),
            self.operations().join(", ")
        )))
    }
}

impl FromIterator<Ability> for Abilities {
    fn from_iter<I: IntoIterator<Item = Ability>>(abilities: I) -> Self {
        abilities.into_iter().fold(Self::default(), Self::with)
    }
}
