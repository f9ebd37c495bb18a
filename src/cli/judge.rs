//! `tallow rerank`, `classify`, `tag`, `fill-mask` and `zero-shot`: texts through a model's head.

use std::path::PathBuf;

use clap::Args;
use clap::builder::BoolishValueParser;
use serde_json::{Map, Value, json};

use super::exit::{CliError, Exit};
use super::local::{Local, spec};
use super::output::clip;
use super::session::Session;
use super::texts::Texts;
use crate::config::WorkerLayer;
use crate::task::TaskType;

/// Columns that a text may take beside its scores.
const TEXT_WIDTH: usize = 60;

/// Where texts come from and what becomes of long ones.
#[derive(Debug, Args)]
pub(crate) struct TextFlags {
    /// Texts
    #[arg(required_unless_present = "file")]
    pub(crate) texts: Vec<String>,
    /// Read one text per line from this file (.jsonl: strings, or objects with a `text` field), or - for standard input
    #[arg(long, short, env = "TALLOW_TEXTS_FILE", value_name = "FILE", conflicts_with = "texts")]
    pub(crate) file: Option<PathBuf>,
    /// Cut texts that are longer than the model takes; without it they are an error
    #[arg(long, env = "TALLOW_TRUNCATE", value_parser = BoolishValueParser::new())]
    pub(crate) truncate: bool,
    /// The worker's settings.
    #[command(flatten)]
    pub(crate) worker: WorkerLayer,
}

/// Arguments of `rerank`.
#[derive(Debug, Args)]
pub(crate) struct RerankArgs {
    /// The query
    pub(crate) query: String,
    /// Documents.
    #[command(flatten)]
    pub(crate) input: TextFlags,
    /// Keep the best so many
    #[arg(long, short = 'n', env = "TALLOW_RERANK_TOP_N", value_name = "N")]
    pub(crate) top_n: Option<usize>,
}

/// Arguments of `classify`.
#[derive(Debug, Args)]
pub(crate) struct ClassifyArgs {
    /// Texts.
    #[command(flatten)]
    pub(crate) input: TextFlags,
    /// Keep the best so many labels
    #[arg(long, short = 'k', env = "TALLOW_CLASSIFY_TOP_K", value_name = "K")]
    pub(crate) top_k: Option<usize>,
}

/// Arguments of `tag`.
#[derive(Debug, Args)]
pub(crate) struct TagArgs {
    /// Texts.
    #[command(flatten)]
    pub(crate) input: TextFlags,
    /// How labels of tokens become spans
    #[arg(long, env = "TALLOW_TAG_AGGREGATION", default_value = "simple", value_parser = ["none", "simple", "first", "max", "average"])]
    pub(crate) aggregation: String,
}

/// Arguments of `fill-mask`.
#[derive(Debug, Args)]
pub(crate) struct FillMaskArgs {
    /// Texts with masks in the model's own spelling.
    #[command(flatten)]
    pub(crate) input: TextFlags,
    /// Candidates per mask
    #[arg(long, short = 'k', env = "TALLOW_FILL_MASK_TOP_K", value_name = "K", default_value_t = 5)]
    pub(crate) top_k: usize,
}

/// Arguments of `zero-shot`.
#[derive(Debug, Args)]
pub(crate) struct ZeroShotArgs {
    /// Texts.
    #[command(flatten)]
    pub(crate) input: TextFlags,
    /// A label; give it once for each
    #[arg(long = "label", short = 'l', env = "TALLOW_ZERO_SHOT_LABELS", value_delimiter = ',', value_name = "LABEL", required = true)]
    pub(crate) labels: Vec<String>,
    /// A sentence with {} for the label
    #[arg(long, env = "TALLOW_ZERO_SHOT_TEMPLATE", value_name = "TEXT")]
    pub(crate) template: Option<String>,
    /// Any number of labels may be right
    #[arg(long, env = "TALLOW_ZERO_SHOT_MULTI_LABEL", value_parser = BoolishValueParser::new())]
    pub(crate) multi_label: bool,
}

/// Prints documents, best first.
pub(crate) fn rerank(args: &RerankArgs, session: &mut Session) -> Result<Exit, CliError> {
    let documents = args.input.all()?;
    let data = args.input.data("rerank").with("query", json!(args.query)).with("documents", json!(documents)).maybe("top_n", args.top_n);
    let answer = ask(&args.input, session, data)?;
    let row = |ranked: &Value| {
        let text = ranked["index"].as_u64().and_then(|index| documents.get(usize::try_from(index).ok()?));
        vec![score(&ranked["relevance_score"]), ranked["index"].to_string(), shown(text.map_or("", String::as_str))]
    };
    print(session, &answer, (&["score", "index", "document"], array(&answer["results"]).iter().map(row).collect()))
}

/// Prints labels by text.
pub(crate) fn classify(args: &ClassifyArgs, session: &mut Session) -> Result<Exit, CliError> {
    let texts = args.input.all()?;
    let data = args.input.data("classify").with("texts", json!(texts)).maybe("top_k", args.top_k);
    let answer = ask(&args.input, session, data)?;
    print(session, &answer, (&["score", "label", "text"], label_rows(&answer, &texts)))
}

/// Prints labels of the caller's own by text.
pub(crate) fn zero_shot(args: &ZeroShotArgs, session: &mut Session) -> Result<Exit, CliError> {
    let texts = args.input.all()?;
    let data = args
        .input
        .data("zero_shot")
        .with("texts", json!(texts))
        .with("labels", json!(args.labels))
        .with("multi_label", json!(args.multi_label))
        .maybe("hypothesis_template", args.template.clone());
    let answer = ask(&args.input, session, data)?;
    print(session, &answer, (&["score", "label", "text"], label_rows(&answer, &texts)))
}

/// Prints spans by text.
pub(crate) fn tag(args: &TagArgs, session: &mut Session) -> Result<Exit, CliError> {
    let data = args.input.data("tag").with("texts", json!(args.input.all()?)).with("aggregation", json!(args.aggregation));
    let answer = ask(&args.input, session, data)?;
    let row = |(text, span): (usize, &Value)| {
        let text_of = |key: &str| span[key].as_str().map(shown).unwrap_or_default();
        vec![text.to_string(), score(&span["score"]), text_of("label"), format!("{}..{}", span["start"], span["end"]), text_of("text")]
    };
    let rows = array(&answer["items"]).iter().enumerate();
    let rows = rows.flat_map(|(text, spans)| array(spans).iter().map(move |span| (text, span))).map(row).collect();
    print(session, &answer, (&["text", "score", "label", "characters", "span"], rows))
}

/// Prints candidates by text and mask.
pub(crate) fn fill_mask(args: &FillMaskArgs, session: &mut Session) -> Result<Exit, CliError> {
    let data = args.input.data("fill_mask").with("texts", json!(args.input.all()?)).with("top_k", json!(args.top_k));
    let answer = ask(&args.input, session, data)?;
    let mut rows = Vec::new();
    for (text, masks) in array(&answer["items"]).iter().enumerate() {
        for (mask, place) in array(masks).iter().enumerate() {
            rows.extend(array(&place["candidates"]).iter().map(|candidate| {
                let word = candidate["token_str"].as_str().map(shown).unwrap_or_default();
                vec![text.to_string(), mask.to_string(), score(&candidate["score"]), word]
            }));
        }
    }
    print(session, &answer, (&["text", "mask", "score", "word"], rows))
}

/// A task's data.
struct Data(Map<String, Value>);

impl Data {
    fn with(mut self, key: &str, value: Value) -> Self {
        self.0.insert(key.to_owned(), value);
        self
    }

    fn maybe(self, key: &str, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(value) => self.with(key, value.into()),
            None => self,
        }
    }
}

impl TextFlags {
    /// Every text. Errors: an absent file (exit 3), a line that is no text.
    fn all(&self) -> Result<Vec<String>, CliError> {
        let Some(path) = &self.file else { return Ok(self.texts.clone()) };
        let mut file = Texts::open(path)?;
        let mut texts = Vec::new();
        while let Some(text) = file.next()? {
            texts.push(text);
        }
        Ok(texts)
    }

    fn data(&self, operation: &str) -> Data {
        let long_input = if self.truncate { "truncate" } else { "error" };
        Data(Map::new()).with("operation", json!(operation)).with("long_input", json!(long_input))
    }
}

/// The output of one model task.
fn ask(input: &TextFlags, session: &Session, data: Data) -> Result<Value, CliError> {
    let local = Local::start(session, &input.worker)?;
    Ok(local.answer(spec(TaskType::ModelInference, data.0.into()))?.result.output)
}

fn print(session: &mut Session, answer: &Value, (header, rows): (&[&str], Vec<Vec<String>>)) -> Result<Exit, CliError> {
    if session.out.json() {
        session.out.json_line(answer)?;
    } else {
        session.out.table(header, &rows)?;
        session.note(&format!("model {}", super::show::inline(&answer["model"], 80)));
    }
    Ok(Exit::Ok)
}

fn label_rows(answer: &Value, texts: &[String]) -> Vec<Vec<String>> {
    let rows = array(&answer["items"]).iter().zip(texts);
    let row = |label: &Value, text: &str| vec![score(&label["score"]), label["label"].as_str().map(shown).unwrap_or_default(), shown(text)];
    rows.flat_map(|(labels, text)| array(labels).iter().map(move |label| row(label, text))).collect()
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn score(value: &Value) -> String {
    format!("{:.4}", value.as_f64().unwrap_or(f64::NAN))
}

/// A text on one line: control characters are spelled out.
fn shown(text: &str) -> String {
    clip(
        &text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect::<Vec<_>>() } else { vec![c] }).collect::<String>(),
        TEXT_WIDTH,
    )
}
