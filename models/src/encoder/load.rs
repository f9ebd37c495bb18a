//! From a folder to an encoder at a chosen precision. `auto` measures here: one model at a time is in memory, so that the check holds no more than
//! `exact` alone does, for which such a load is priced.

use std::path::Path;

use candle_core::Device;
use tallow_kernels::Isa;
use tallow_kernels::gemm::Precision;

use super::files::Files;
use super::price::encoder_bytes;
use super::{Encoder, EncoderPlan, MODULES, promise, short_name};
use crate::arch;
use crate::heads::{Head, HeadKind};
use crate::precision::record::{self, RecordKey};
use crate::precision::witness::Witness;
use crate::precision::{Agreement, Measured, decide, fastest_first, reason};
use crate::source::files::file_name;
use crate::text::TextTokenizer;
use crate::weights::Weights;
use crate::{EmbedderInfo, ModelError, PrecisionChoice, PrecisionPolicy};

/// What is loaded, and where to.
struct Origin<'a> {
    folder: &'a Path,
    name: &'a str,
    device: &'a Device,
}

/// A loaded encoder, and what its operator should hear about the load.
pub struct Chosen {
    /// The encoder; its information says its precision and why.
    pub encoder: Encoder,
    /// Records of measurements that could not be read or kept, in sentences.
    pub warnings: Vec<String>,
}

impl Encoder {
    /// Loads the model in `folder`, or in the GGUF file of that path, to `device` under `name`, at `exact`. Blocks; reads every weight file once.
    ///
    /// Errors: `Missing`, `Unsupported`, `Corrupt`, `Io`; a `Device` fault of the library is `Internal`.
    pub fn load(folder: &Path, name: &str, device: &Device) -> Result<Self, ModelError> {
        Self::load_with(folder, name, (device, Precision::Exact))
    }

    /// The same with a chosen arithmetic of the linear layers. While it loads it holds its weights as f32, whatever the precision.
    pub fn load_with(folder: &Path, name: &str, (device, precision): (&Device, Precision)) -> Result<Self, ModelError> {
        let origin = Origin { folder, name, device };
        origin.build(origin.weights()?, precision, "asked for")
    }

    /// The same with the arithmetic that `policy` leads to. `auto` on the host looks for its record, or else measures: a load per precision and some
    /// thousand tokens each, once.
    ///
    /// Errors: as [`Self::load`]; `Input` for a precision that the device has not.
    pub fn load_chosen(folder: &Path, name: &str, (device, policy): (&Device, &PrecisionPolicy)) -> Result<Chosen, ModelError> {
        let origin = Origin { folder, name, device };
        let place = format!("{:?}", device.location());
        if !device.is_cpu() {
            if let Some(fault) = policy.choice.fault_on_device(&place) {
                return Err(ModelError::input(format!("precision: {fault}")));
            }
            return Ok(Chosen::quietly(origin.build(origin.weights()?, Precision::Exact, "models compute in f32 on this device")?));
        }
        match (policy.choice, fastest_first(Isa::active())) {
            (PrecisionChoice::Fixed(precision), _) => Ok(Chosen::quietly(origin.build(origin.weights()?, precision, "asked for")?)),
            (PrecisionChoice::Auto, [only]) => {
                let reason = format!("auto: nothing is faster with {}", Isa::active());
                Ok(Chosen::quietly(origin.build(origin.weights()?, *only, &reason)?))
            }
            (PrecisionChoice::Auto, candidates) => origin.build_auto(candidates, policy.records.as_deref()),
        }
    }
}

impl Chosen {
    fn quietly(encoder: Encoder) -> Self {
        Self { encoder, warnings: Vec::new() }
    }
}

impl Origin<'_> {
    fn weights(&self) -> Result<Weights, ModelError> {
        EncoderPlan::read(self.folder)?.weights(self.device)
    }

    /// Weights that are read again. Errors: `Corrupt` for other bytes than before.
    fn same_weights(&self, digest: &str) -> Result<Weights, ModelError> {
        let weights = self.weights()?;
        if weights.digest() == digest {
            return Ok(weights);
        }
        let file = EncoderPlan::read(self.folder)?.weight_paths()?.first().map_or_else(String::new, |path| file_name(path));
        Err(ModelError::corrupt(file, "sha256", "the weights changed while the precision was measured"))
    }

    /// The fastest candidate that agrees with `exact`, by its record or a measurement.
    fn build_auto(&self, candidates: &[Precision], records: Option<&Path>) -> Result<Chosen, ModelError> {
        let isa = Isa::active();
        let weights = self.weights()?;
        let key = RecordKey::new(weights.digest(), isa, &EncoderPlan::read(self.folder)?.pooling.name());
        let mut warnings = Vec::new();
        let recorded = records.map_or(Ok(None), |folder| record::read(folder, &key));
        let known = recorded.unwrap_or_else(|fault| {
            warnings.push(format!("{fault}; it is measured again"));
            None
        });
        if let Some(measured) = known {
            if let Ok(precision) = decide(candidates, &measured) {
                let encoder = self.build(weights, precision, &reason(isa, precision, &measured))?;
                return Ok(Chosen { encoder, warnings });
            }
            warnings.push("the record of precisions lacks one; it is measured again".into());
        }
        let (encoder, measured) = self.measure(weights, candidates)?;
        if let (Some(folder), Some(measured)) = (records, measured) {
            warnings.extend(record::write(folder, &key, &measured).err().map(|fault| format!("{fault}; the next load measures again")));
        }
        Ok(Chosen { encoder, warnings })
    }

    /// Loads `exact`, keeps its answers, and tries the candidates against them until one agrees. No measurements for a model that gives no answers.
    fn measure(&self, weights: Weights, candidates: &[Precision]) -> Result<(Encoder, Option<Vec<Measured>>), ModelError> {
        let digest = weights.digest().to_owned();
        let mut exact = self.build(weights, Precision::Exact, "")?;
        let answers = match Witness::of(&exact) {
            Ok(answers) => answers,
            Err(error @ (ModelError::NonFinite | ModelError::Input { .. } | ModelError::Unsupported { .. })) => {
                exact.info.precision_reason = format!("auto: exact itself gives no answers to compare with: {error}");
                return Ok((exact, None));
            }
            Err(error) => return Err(error),
        };
        // Its memory goes before the next one's comes.
        drop(exact);
        let mut measured = Vec::new();
        loop {
            let (precision, decided) = match decide(candidates, &measured) {
                Ok(precision) => (precision, true),
                Err(precision) => (precision, false),
            };
            let mut encoder = self.build(self.same_weights(&digest)?, precision, "")?;
            if !decided {
                let agreement = match Witness::of(&encoder) {
                    Ok(found) => answers.agreement(&found),
                    Err(ModelError::NonFinite) => Agreement::NONE,
                    Err(error) => return Err(error),
                };
                measured.push(Measured { precision, agreement });
            }
            if decided || decide(candidates, &measured) == Ok(precision) {
                encoder.info.precision_reason = reason(Isa::active(), precision, &measured);
                return Ok((encoder, Some(measured)));
            }
        }
    }

    fn build(&self, weights: Weights, precision: Precision, why: &str) -> Result<Encoder, ModelError> {
        let plan = EncoderPlan::read(self.folder)?;
        let tokenizer = plan.tokenizer()?;
        let mut weights = weights.with_precision(precision);
        // Before the transformer takes the word embedding, which a decoder may share.
        let (task_head, head_fault) = promise::read_task_head(&plan, &mut weights)?;
        let arch = arch::build(&plan.config, &mut weights, self.device)?;
        let (heads, dimensions) = self.heads(&plan, &mut weights)?;
        let mut info = describe(&plan, &tokenizer);
        if let Some(fault) = &head_fault {
            info.notes.push(format!("the head of {} is not there and serves nothing: {fault}", plan.head.architecture));
        }
        info.name = self.name.to_owned();
        info.digest = weights.digest().to_owned();
        info.dimensions = dimensions;
        info.normalizes = matches!(heads.last(), Some(Head::Normalize));
        info.matryoshka = plan.config.matryoshka.iter().copied().filter(|&dim| dim <= dimensions).collect();
        info.memory_bytes = encoder_bytes(&plan, self.device.is_cpu().then_some(precision))?;
        info.precision = precision.name().to_owned();
        info.precision_reason = why.to_owned();
        Ok(Encoder {
            info,
            tokenizer,
            arch,
            hidden: plan.config.hidden,
            pooling: plan.pooling,
            heads,
            plan: plan.head,
            task_head,
            head_fault,
            sparse: plan.sparse,
            segment_count: plan.config.segments(),
            device: self.device.clone(),
        })
    }

    /// The modules behind the pooling, and the numbers per vector after them.
    fn heads(&self, plan: &EncoderPlan, weights: &mut Weights) -> Result<(Vec<Head>, usize), ModelError> {
        let mut width = plan.pooling.width(plan.config.hidden);
        let mut heads = Vec::new();
        for module in &plan.modules {
            match short_name(&module.kind) {
                "Transformer" | "MLMTransformer" | "Pooling" | "SpladePooling" => {}
                "Normalize" => heads.push(Head::Normalize),
                "Dense" => {
                    let (head, out) = match &plan.files {
                        Files::Folder(_) => Head::read_dense(&self.folder.join(&module.path), width, self.device)?,
                        Files::Gguf(model) => Head::take_dense(weights, &model.dense_layer(&module.path, width)?)?,
                    };
                    heads.push(head);
                    width = out;
                }
                other => {
                    return Err(ModelError::unsupported(format!(
                        "module `{}` of modules.json; supported: {MODULES}",
                        other.escape_debug()
                    )));
                }
            }
        }
        Ok((heads, width))
    }
}

/// What the small files say of a model.
fn describe(plan: &EncoderPlan, tokenizer: &TextTokenizer) -> EmbedderInfo {
    let max_tokens = plan.max_tokens(tokenizer.model_max_length());
    let mut notes = plan.notes.clone();
    match plan.sentence.max_seq_length {
        Some(asked) if asked > max_tokens => {
            notes.push(format!("max_seq_length is beyond the model's positions; {max_tokens} tokens are allowed"));
        }
        Some(_) => {}
        None => notes.push(format!("no max_seq_length: {max_tokens} tokens are allowed by positions and tokenizer")),
    }
    let classifies = matches!(plan.head.kind, HeadKind::Sequence | HeadKind::Token);
    EmbedderInfo {
        abilities: plan.abilities(),
        labels: if classifies { plan.head.labels.clone() } else { Vec::new() },
        architecture: plan.config.family.clone(),
        vocabulary: plan.config.vocab,
        max_tokens: Some(max_tokens),
        special_token_count: tokenizer.special_token_count(),
        pooling: plan.pooling.name(),
        pooling_source: plan.pooling_source.clone(),
        prompts: plan.prompts.prompts.clone(),
        default_prompt_name: plan.prompts.default_prompt_name.clone(),
        similarity: plan.prompts.similarity_fn_name.clone(),
        working_bytes_per_token: plan.config.working_bytes_per_token(max_tokens),
        notes,
        ..EmbedderInfo::default()
    }
}
