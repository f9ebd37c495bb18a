//! The decision on every order of outcomes, records that cannot be used, and real loads against both.

use std::path::{Path, PathBuf};

use candle_core::Device;

use super::record::{self, RecordKey};
use super::*;
use crate::encoder::estimate_bytes;
use crate::encoder::{Chosen, EncoderPlan};
use crate::text::TextTokenizer;
use crate::{Embedder as _, Encoder, ModelError};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

fn measured(precision: Precision, cosine: f64, score_difference: Option<f64>) -> Measured {
    Measured { precision, agreement: Agreement { cosine, score_difference } }
}

#[test]
fn the_first_candidate_that_agrees_is_taken_and_exact_ends_the_list() {
    use Precision::{Bf16, Exact, Int8};
    let all = [Int8, Bf16, Exact];
    let (good, poor) = (0.999_96, 0.991);
    let cases = [
        (vec![], Err(Int8)),
        (vec![measured(Int8, good, None)], Ok(Int8)),
        (vec![measured(Int8, poor, None)], Err(Bf16)),
        (vec![measured(Int8, poor, None), measured(Bf16, good, None)], Ok(Bf16)),
        (vec![measured(Int8, poor, None), measured(Bf16, poor, None)], Ok(Exact)),
        (vec![measured(Int8, f64::NAN, None), measured(Bf16, COSINE_MIN, Some(SCORE_DIFFERENCE_MAX))], Ok(Bf16)),
        (vec![measured(Int8, 1.0, Some(f64::NAN)), measured(Bf16, 1.0, Some(2e-3))], Ok(Exact)),
        (vec![measured(Bf16, good, None)], Err(Int8)),
    ];
    for (found, expected) in cases {
        assert_eq!(decide(&all, &found), expected, "{found:?}");
    }
    assert_eq!(decide(&[Exact], &[]), Ok(Exact));
}

#[test]
fn every_list_of_candidates_ends_with_exact() {
    for isa in Isa::available() {
        assert_eq!(fastest_first(isa).last(), Some(&Precision::Exact), "{isa}");
        assert_eq!(PrecisionChoice::Auto.possible(isa), fastest_first(isa));
        assert!(auto_rule(isa).contains(isa.name()));
    }
    assert_eq!(PrecisionChoice::Fixed(Precision::Int8).possible(Isa::Portable), [Precision::Int8]);
}

#[test]
fn a_choice_reads_back_and_another_word_is_told_what_is_allowed() {
    for name in ["auto", "exact", "bf16", "int8"] {
        assert_eq!(name.parse::<PrecisionChoice>().unwrap().to_string(), name);
    }
    for wrong in ["", "fp8", "BF16", "f32", " auto"] {
        assert_eq!(wrong.parse::<PrecisionChoice>().unwrap_err(), "allowed: auto, exact, bf16, int8");
    }
    let fault = PrecisionChoice::Fixed(Precision::Bf16).fault_on_device("cuda:0").unwrap();
    assert!(fault.contains("found bf16") && fault.contains("cuda:0") && fault.contains("auto and exact"), "{fault}");
    assert_eq!(PrecisionChoice::Auto.fault_on_device("cuda:0"), None);
    assert_eq!(PrecisionChoice::Fixed(Precision::Exact).fault_on_device("metal"), None);
}

#[test]
fn the_reason_names_every_measurement() {
    let all = [measured(Precision::Int8, 0.991_234_9, None), measured(Precision::Bf16, 0.999_965_5, Some(2e-4))];
    let text = reason(Isa::Portable, Precision::Bf16, &all);
    assert!(
        text.starts_with("auto: ") && text.contains("cosine 0.999965") && text.contains("int8 does not agree: cosine 0.991234"),
        "{text}"
    );
    assert!(text.contains("scores within 2.0e-4"), "{text}");
}

#[test]
fn the_texts_reach_from_one_token_to_three_hundred() {
    let folder = fixture("tiny-bert");
    let plan = EncoderPlan::read(&folder).unwrap();
    let tokenizer = TextTokenizer::read(&folder, false, plan.config.vocab).unwrap();
    assert!(texts::TEXTS.iter().all(|text| tokenizer.tokenize("", text).is_ok()));
    let words: Vec<usize> = texts::TEXTS.iter().map(|text| text.split_whitespace().count()).collect();
    assert_eq!(words.iter().min(), Some(&1));
    assert!((220..=330).contains(words.iter().max().unwrap()), "{words:?}");
}

fn key() -> RecordKey {
    RecordKey::new(&"ab".repeat(32), Isa::Portable, "mean")
}

#[test]
fn a_record_reads_back_and_leaves_no_scratch_file() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("data").join("precision");
    assert_eq!(record::read(&folder, &key()), Ok(None));
    let all = vec![measured(Precision::Int8, 0.991, Some(0.25)), measured(Precision::Bf16, 0.999_961_3, None)];
    record::write(&folder, &key(), &all).unwrap();
    assert_eq!(record::read(&folder, &key()), Ok(Some(all.clone())));
    record::write(&folder, &key(), &all[..1]).unwrap();
    assert_eq!(record::read(&folder, &key()), Ok(Some(all[..1].to_vec())));
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
    record::write(
        &folder,
        &key(),
        &[Measured { precision: Precision::Int8, agreement: Agreement { cosine: f64::NAN, score_difference: None } }],
    )
    .unwrap();
    let read = record::read(&folder, &key()).unwrap().unwrap();
    assert!(!read[0].agreement.is_enough());
}

#[test]
fn a_record_that_cannot_be_used_says_why() {
    let home = tempfile::tempdir().unwrap();
    let path = key().path(home.path());
    record::write(home.path(), &key(), &[measured(Precision::Int8, 0.9, None)]).unwrap();
    let good = std::fs::read_to_string(&path).unwrap();
    let cases = [
        (String::new(), "no record"),
        ("[1, 2".into(), "no record"),
        (good.replacen("\"version\": 1", "\"version\": 7", 1), "version 7"),
        (good.replacen("\"int8\"", "\"int3\"", 1), "int3"),
        (good.replacen("\"mean\"", "\"cls\"", 1), "another way of pooling"),
        (good.replacen("\"cosine\"", "\"cosinus\"", 1), "damaged"),
        ("x".repeat(100 << 10), ""),
    ];
    for (text, said) in cases {
        assert_ne!(text, good, "the case changes something");
        std::fs::write(&path, &text).unwrap();
        let fault = record::read(home.path(), &key()).unwrap_err();
        assert!(fault.contains(said) && fault.contains(&path.display().to_string()), "{said}: {fault}");
    }
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    assert!(record::read(home.path(), &key()).is_err(), "a folder is no record");
}

fn load(folder: &Path, records: Option<&Path>) -> Chosen {
    let policy = PrecisionPolicy { choice: PrecisionChoice::Auto, records: records.map(Path::to_owned) };
    Encoder::load_chosen(folder, "model", (&Device::Cpu, &policy)).unwrap()
}

#[test]
fn auto_measures_once_and_believes_its_record_after_that() {
    let home = tempfile::tempdir().unwrap();
    let folder = fixture("tiny-bert");
    let first = load(&folder, Some(home.path()));
    assert_eq!(first.warnings, Vec::<String>::new());
    let info = first.encoder.info().clone();
    let isa = Isa::active();
    if fastest_first(isa).len() == 1 {
        assert_eq!((info.precision.as_str(), std::fs::read_dir(home.path()).unwrap().count()), ("exact", 0));
        eprintln!("skipped the rest: nothing is faster than exact here");
        return;
    }
    let key = RecordKey::new(&info.digest, isa, &info.pooling);
    let kept = record::read(home.path(), &key).unwrap().expect("the measurement is kept");
    assert_eq!(decide(fastest_first(isa), &kept).map(Precision::name), Ok(info.precision.as_str()));
    assert_eq!(load(&folder, Some(home.path())).encoder.info(), &info, "the record says the same");
    // Only a load that reads the record can come to this.
    let claimed: Vec<Measured> = [Precision::Int8, Precision::Bf16].map(|precision| measured(precision, 0.5, None)).into();
    record::write(home.path(), &key, &claimed).unwrap();
    let told = load(&folder, Some(home.path())).encoder;
    assert_eq!(told.info().precision, "exact");
    assert!(told.info().precision_reason.contains("cosine 0.500000"), "{}", told.info().precision_reason);
    std::fs::write(key.path(home.path()), "{").unwrap();
    let again = load(&folder, Some(home.path()));
    assert!(again.warnings.len() == 1 && again.warnings[0].contains("measured again"), "{:?}", again.warnings);
    assert_eq!(again.encoder.info(), &info);
    assert_eq!(record::read(home.path(), &key), Ok(Some(kept)), "and kept again");
}

#[test]
fn records_that_cannot_be_kept_are_a_warning_and_no_error() {
    if fastest_first(Isa::active()).len() == 1 {
        eprintln!("skipped: nothing is measured here");
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("file");
    std::fs::write(&file, "").unwrap();
    let chosen = load(&fixture("tiny-bert"), Some(&file.join("records")));
    assert!(chosen.warnings.iter().any(|warning| warning.contains("the next load measures again")), "{:?}", chosen.warnings);
}

#[test]
fn every_kind_of_model_can_be_checked() {
    let heads = std::fs::read_dir(fixture("heads")).unwrap().map(|entry| entry.unwrap().path());
    let families = std::fs::read_dir(fixture("families")).unwrap().map(|entry| entry.unwrap().path());
    for folder in heads.chain(families).filter(|path| path.join("tokenizer.json").is_file()) {
        let exact = Encoder::load(&folder, "model", &Device::Cpu).unwrap();
        let answers = witness::Witness::of(&exact).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        assert!(answers.agreement(&answers).is_enough(), "{}: a model agrees with itself", folder.display());
        let int8 = Encoder::load_with(&folder, "model", (&Device::Cpu, Precision::Int8)).unwrap();
        let agreement = answers.agreement(&witness::Witness::of(&int8).unwrap());
        assert!(agreement.cosine > 0.0 && agreement.cosine <= 1.0 + 1e-9, "{}: {agreement:?}", folder.display());
        let has_scores = !exact.labels().is_empty() || exact.require(crate::Ability::FillMask).is_ok();
        assert_eq!(agreement.score_difference.is_some(), has_scores, "{}", folder.display());
    }
}

#[test]
fn a_model_without_numbers_is_loaded_as_exact_and_says_so() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("model");
    std::fs::create_dir(&folder).unwrap();
    for entry in std::fs::read_dir(fixture("tiny-bert")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            std::fs::copy(&path, folder.join(path.file_name().unwrap())).unwrap();
        }
    }
    let path = folder.join("model.safetensors");
    let mut bytes = std::fs::read(&path).unwrap();
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    bytes[8 + header..].chunks_exact_mut(4).for_each(|value| value.copy_from_slice(&f32::NAN.to_le_bytes()));
    std::fs::write(&path, bytes).unwrap();
    let chosen = load(&folder, Some(home.path()));
    assert_eq!(chosen.encoder.info().precision, "exact");
    let sequence = chosen.encoder.tokenize("", "a text").unwrap();
    assert_eq!(chosen.encoder.embed(&[sequence], &|| false), Err(ModelError::NonFinite));
}

#[test]
fn a_fixed_precision_is_what_is_loaded_and_its_memory_is_smaller() {
    let folder = fixture("tiny-bert");
    let mut estimates = Vec::new();
    for precision in Precision::ALL {
        let policy = PrecisionPolicy::fixed(precision);
        let info = Encoder::load_chosen(&folder, "model", (&Device::Cpu, &policy)).unwrap().encoder.info().clone();
        assert_eq!((info.precision.as_str(), info.precision_reason.as_str()), (precision.name(), "asked for"));
        let plan = EncoderPlan::read(&folder).unwrap();
        assert_eq!(estimate_bytes(&plan, policy.choice).unwrap(), info.memory_bytes, "{precision:?}: the estimate is what the model says");
        estimates.push(info.memory_bytes);
    }
    let plan = EncoderPlan::read(&folder).unwrap();
    let most = PrecisionChoice::Auto
        .possible(Isa::active())
        .into_iter()
        .map(|one| estimate_bytes(&plan, PrecisionChoice::Fixed(one)).unwrap())
        .max();
    assert_eq!(estimate_bytes(&plan, PrecisionChoice::Auto).ok(), most, "auto claims the most that may happen");
    assert!(estimates[0] > estimates[1] && estimates[0] > estimates[2], "{estimates:?}");
}

#[test]
fn minilm_takes_bf16_and_refuses_int8_where_both_are_fast() {
    let Ok(root) = std::env::var("TALLOW_TEST_MODELS") else {
        eprintln!("skipped: TALLOW_TEST_MODELS is not set");
        return;
    };
    let folder = Path::new(&root).join("all-MiniLM-L6-v2");
    let answers = witness::Witness::of(&Encoder::load(&folder, "minilm", &Device::Cpu).unwrap()).unwrap();
    let of = |precision| {
        let model = Encoder::load_with(&folder, "minilm", (&Device::Cpu, precision)).unwrap();
        answers.agreement(&witness::Witness::of(&model).unwrap())
    };
    let (bf16, int8) = (of(Precision::Bf16), of(Precision::Int8));
    println!("minilm bf16: {bf16}; int8: {int8}");
    assert!(bf16.is_enough() && !int8.is_enough(), "bf16 {bf16}, int8 {int8}");
    let expected = if matches!(Isa::active(), Isa::Amx(_)) { "bf16" } else { "exact" };
    assert_eq!(load(&folder, None).encoder.info().precision, expected);
}
