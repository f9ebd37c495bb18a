//! `detect_language`, and the languages, stop words and stems that other operations ask for.

use std::collections::HashSet;

use rust_stemmers::{Algorithm, Stemmer};
use unicode_script::{Script, UnicodeScript};
use whatlang::{Detector, Lang};

use super::{DocumentOperation, TextScope, TextState};
use crate::task::TaskError;
use crate::task::text::{DetectLanguageOutput, DetectLanguageRequest, LanguageCandidate, ScriptShare, check_range};

/// A text up to this length (bytes) is looked at as a whole; of a longer one, slices of this length together, spread evenly.
const EXAMINED_BYTES_MAX: usize = 128 * 1024;
const SLICES: usize = 8;
/// Han letters without kana are written by several languages: confidence grows with their number up to this one.
const HAN_LETTERS_SURE: usize = 20;
/// The most candidates, and the most scripts listed.
const CANDIDATES_MAX: usize = 20;

/// A language that can be told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KnownLanguage {
    lang: Lang,
    /// ISO 639-1, the key of stop word lists; the ISO 639-3 code for the language without one.
    pub(super) iso1: &'static str,
}

/// ISO 639-1 codes in the order of [`Lang::all`].
const ISO1: &[(Lang, &str)] = &[
    (Lang::Epo, "eo"),
    (Lang::Eng, "en"),
    (Lang::Rus, "ru"),
    (Lang::Cmn, "zh"),
    (Lang::Spa, "es"),
    (Lang::Por, "pt"),
    (Lang::Ita, "it"),
    (Lang::Ben, "bn"),
    (Lang::Fra, "fr"),
    (Lang::Deu, "de"),
    (Lang::Ukr, "uk"),
    (Lang::Kat, "ka"),
    (Lang::Ara, "ar"),
    (Lang::Hin, "hi"),
    (Lang::Jpn, "ja"),
    (Lang::Heb, "he"),
    (Lang::Yid, "yi"),
    (Lang::Pol, "pl"),
    (Lang::Amh, "am"),
    (Lang::Jav, "jv"),
    (Lang::Kor, "ko"),
    (Lang::Nob, "nb"),
    (Lang::Dan, "da"),
    (Lang::Swe, "sv"),
    (Lang::Fin, "fi"),
    (Lang::Tur, "tr"),
    (Lang::Nld, "nl"),
    (Lang::Hun, "hu"),
    (Lang::Ces, "cs"),
    (Lang::Ell, "el"),
    (Lang::Bul, "bg"),
    (Lang::Bel, "be"),
    (Lang::Mar, "mr"),
    (Lang::Kan, "kn"),
    (Lang::Ron, "ro"),
    (Lang::Slv, "sl"),
    (Lang::Hrv, "hr"),
    (Lang::Srp, "sr"),
    (Lang::Mkd, "mk"),
    (Lang::Lit, "lt"),
    (Lang::Lav, "lv"),
    (Lang::Est, "et"),
    (Lang::Tam, "ta"),
    (Lang::Vie, "vi"),
    (Lang::Urd, "ur"),
    (Lang::Tha, "th"),
    (Lang::Guj, "gu"),
    (Lang::Uzb, "uz"),
    (Lang::Pan, "pa"),
    (Lang::Aze, "az"),
    (Lang::Ind, "id"),
    (Lang::Tel, "te"),
    (Lang::Pes, "fa"),
    (Lang::Mal, "ml"),
    (Lang::Ori, "or"),
    (Lang::Mya, "my"),
    (Lang::Nep, "ne"),
    (Lang::Sin, "si"),
    (Lang::Khm, "km"),
    (Lang::Tuk, "tk"),
    (Lang::Aka, "ak"),
    (Lang::Zul, "zu"),
    (Lang::Sna, "sn"),
    (Lang::Afr, "af"),
    (Lang::Lat, "la"),
    (Lang::Slk, "sk"),
    (Lang::Cat, "ca"),
    (Lang::Tgl, "tl"),
    (Lang::Hye, "hy"),
    (Lang::Cym, "cy"),
];

impl KnownLanguage {
    fn of(lang: Lang) -> Self {
        let iso1 = ISO1.iter().find(|(known, _)| *known == lang).map_or_else(|| lang.code(), |(_, iso1)| iso1);
        Self { lang, iso1 }
    }

    /// By ISO 639-3 or 639-1 code, in any case.
    fn from_code(code: &str) -> Option<Self> {
        let code = code.to_ascii_lowercase();
        ISO1.iter().find(|(lang, iso1)| *iso1 == code || lang.code() == code).map(|&(lang, iso1)| Self { lang, iso1 })
    }

    /// The Snowball stemmer of the language, if there is one.
    pub(super) fn stemmer(self) -> Option<Stemmer> {
        let algorithm = match self.lang {
            Lang::Ara => Algorithm::Arabic,
            Lang::Dan => Algorithm::Danish,
            Lang::Nld => Algorithm::Dutch,
            Lang::Eng => Algorithm::English,
            Lang::Fin => Algorithm::Finnish,
            Lang::Fra => Algorithm::French,
            Lang::Deu => Algorithm::German,
            Lang::Ell => Algorithm::Greek,
            Lang::Hun => Algorithm::Hungarian,
            Lang::Ita => Algorithm::Italian,
            Lang::Nob => Algorithm::Norwegian,
            Lang::Por => Algorithm::Portuguese,
            Lang::Ron => Algorithm::Romanian,
            Lang::Rus => Algorithm::Russian,
            Lang::Spa => Algorithm::Spanish,
            Lang::Swe => Algorithm::Swedish,
            Lang::Tam => Algorithm::Tamil,
            Lang::Tur => Algorithm::Turkish,
            _ => return None,
        };
        Some(Stemmer::create(algorithm))
    }
}

/// Refuses a language that is not known. `auto` is allowed.
pub(super) fn check_language(field: &str, language: &str) -> Result<(), TaskError> {
    if language == "auto" || KnownLanguage::from_code(language).is_some() {
        return Ok(());
    }
    let known: Vec<_> = ISO1.iter().map(|(_, iso1)| *iso1).collect();
    let shown: String = language.chars().take(32).collect();
    Err(TaskError::invalid(field, format!("unknown language `{shown}`; `auto` or ISO 639-1 or 639-3 of: {}", known.join(" "))))
}

/// The language that a checked field asks for; `auto` looks at the text, and may not find one.
pub(super) fn resolve_language(language: &str, text: &str) -> Option<KnownLanguage> {
    if language == "auto" {
        return Detector::new().detect_lang(&examined(text)).map(KnownLanguage::of);
    }
    KnownLanguage::from_code(language)
}

/// The stop words of a language by ISO 639-1 code; empty when there is no list.
pub(super) fn stop_words(iso1: &str) -> HashSet<&'static str> {
    // The list calls Norwegian by its macro language.
    let code = if iso1 == "nb" { "no" } else { iso1 };
    stop_words::lookup(code).map(|words| words.iter().copied().collect()).unwrap_or_default()
}

/// The part of a text that its language is told from.
fn examined(text: &str) -> std::borrow::Cow<'_, str> {
    if text.len() <= EXAMINED_BYTES_MAX {
        return text.into();
    }
    let slice_bytes = EXAMINED_BYTES_MAX / SLICES;
    let mut sample = String::with_capacity(EXAMINED_BYTES_MAX + SLICES);
    for idx in 0..SLICES {
        let start = text.floor_char_boundary((text.len() - slice_bytes) / (SLICES - 1) * idx);
        sample.push_str(&text[start..text.floor_char_boundary(start + slice_bytes)]);
        sample.push('\n');
    }
    sample.into()
}

pub(super) struct DetectLanguage;

impl DocumentOperation for DetectLanguage {
    type Request = DetectLanguageRequest;
    type Output = DetectLanguageOutput;
    const NAME: &'static str = "detect_language";
    const SUMMARY: &'static str = "Tells the language (ISO 639-3), how sure that is, the script, and the next best languages.";
    const BYTES_PER_BYTE: u64 = 3;

    fn check(request: &DetectLanguageRequest, _state: &TextState) -> Result<(), TaskError> {
        check_range("top", request.top, 1..=CANDIDATES_MAX)?;
        for (idx, language) in request.languages.iter().enumerate() {
            let field = format!("languages[{idx}]");
            if language == "auto" {
                return Err(TaskError::invalid(field, "expected a language code, found `auto`"));
            }
            check_language(&field, language)?;
        }
        Ok(())
    }

    fn run(text: &str, request: &DetectLanguageRequest, scope: &TextScope<'_>) -> Result<DetectLanguageOutput, TaskError> {
        let sample = examined(text);
        let scripts = scripts(&sample);
        let mut allowed: Vec<Lang> = match request.languages.as_slice() {
            [] => Lang::all().to_vec(),
            codes => codes.iter().filter_map(|code| KnownLanguage::from_code(code)).map(|known| known.lang).collect(),
        };
        let han_cap = han_cap(&sample);
        let mut candidates: Vec<LanguageCandidate> = Vec::new();
        // What the candidates so far leave for those that follow.
        let mut rest = 1.0;
        while candidates.len() < request.top && !allowed.is_empty() {
            scope.cancel.check()?;
            let Some(info) = Detector::with_allowlist(allowed.clone()).detect(&sample) else { break };
            if !allowed.contains(&info.lang()) {
                // A script of one language is told from the script alone, allowed or not.
                break;
            }
            allowed.retain(|lang| *lang != info.lang());
            let mut next = candidate(info.lang(), info.confidence());
            let cap = candidates.last().map_or(han_cap, |before| before.confidence);
            next.confidence = (next.confidence * rest).min(cap);
            rest = (rest - next.confidence).max(0.0);
            candidates.push(next);
        }
        let best = candidates.first();
        Ok(DetectLanguageOutput {
            language: best.map(|best| best.language.clone()),
            language_iso1: best.map(|best| best.language_iso1.clone()),
            name: best.map(|best| best.name.clone()),
            confidence: best.map_or(0.0, |best| best.confidence),
            reliable: best.is_some_and(|best| best.confidence > 0.9),
            script: scripts.first().map(|share| share.script.clone()),
            scripts,
            candidates,
            examined_bytes: sample.len().min(text.len()),
        })
    }
}

fn candidate(lang: Lang, confidence: f64) -> LanguageCandidate {
    let known = KnownLanguage::of(lang);
    let confidence = if confidence.is_finite() { confidence.clamp(0.0, 1.0) } else { 0.0 };
    LanguageCandidate { language: lang.code().into(), language_iso1: known.iso1.into(), name: lang.eng_name().into(), confidence }
}

/// The most that a text may say about its language: 1, but less for a few Han letters.
fn han_cap(sample: &str) -> f64 {
    let mut han_count = 0_usize;
    for character in sample.chars().filter(|character| character.is_alphabetic()) {
        match character.script() {
            Script::Han => han_count += 1,
            Script::Common | Script::Inherited => {}
            _ => return 1.0,
        }
    }
    if han_count == 0 { 1.0 } else { (han_count as f64 / HAN_LETTERS_SURE as f64).min(1.0) }
}

fn scripts(sample: &str) -> Vec<ScriptShare> {
    let mut counts: std::collections::HashMap<Script, usize> = std::collections::HashMap::new();
    for character in sample.chars().filter(|character| character.is_alphabetic()) {
        *counts.entry(character.script()).or_default() += 1;
    }
    counts.retain(|script, _| !matches!(script, Script::Common | Script::Inherited | Script::Unknown));
    let total: usize = counts.values().sum();
    let mut shares: Vec<_> = counts
        .into_iter()
        .map(|(script, count)| ScriptShare { script: script.full_name().into(), share: count as f64 / total as f64 })
        .collect();
    shares.sort_by(|a, b| b.share.total_cmp(&a.share).then_with(|| a.script.cmp(&b.script)));
    shares.truncate(CANDIDATES_MAX);
    shares
}
