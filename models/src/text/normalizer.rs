//! The normaliser that a model's files ask for together: that of `tokenizer.json`, with the switches of its neighbours.

use tokenizers::normalizers::{Lowercase, NormalizerWrapper, Sequence};
use tokenizers::{Result, Tokenizer};

use super::TokenizerConfig;

/// Classes that take `tokenizer.json` as it is, whatever else `tokenizer_config.json` says.
const PLAIN_CLASSES: [&str; 2] = ["PreTrainedTokenizerFast", "TokenizersBackend"];

/// Sets the switches of `config` on a BERT normaliser, as transformers' classes for such vocabularies do, and puts lower case in front of everything
/// when `lower_case` (sentence-transformers' `do_lower_case`) asks for it. The library keeps track of what every letter came from.
pub(super) fn adapt(tokenizer: &mut Tokenizer, lower_case: bool, config: &TokenizerConfig) -> Result<()> {
    let plain = config.tokenizer_class.as_deref().is_some_and(|class| PLAIN_CLASSES.contains(&class));
    let mut wanted = tokenizer.get_normalizer().cloned();
    if let (Some(NormalizerWrapper::BertNormalizer(bert)), false) = (&mut wanted, plain) {
        bert.lowercase = config.do_lower_case.unwrap_or(bert.lowercase);
        bert.strip_accents = config.strip_accents.or(bert.strip_accents);
        bert.handle_chinese_chars = config.tokenize_chinese_chars.unwrap_or(bert.handle_chinese_chars);
    }
    if lower_case && !wanted.as_ref().is_some_and(lowers) {
        let mut all = vec![NormalizerWrapper::Lowercase(Lowercase)];
        match wanted {
            Some(NormalizerWrapper::Sequence(sequence)) => all.extend(sequence),
            other => all.extend(other),
        }
        wanted = Some(NormalizerWrapper::Sequence(Sequence::new(all)));
    }
    tokenizer.with_normalizer(wanted).map(drop)
}

/// True when a step of the normaliser is lower case and nothing else.
fn lowers(normalizer: &NormalizerWrapper) -> bool {
    match normalizer {
        NormalizerWrapper::Lowercase(_) => true,
        NormalizerWrapper::Sequence(sequence) => sequence.as_ref().iter().any(|step| matches!(step, NormalizerWrapper::Lowercase(_))),
        _ => false,
    }
}
