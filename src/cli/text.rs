//! `tallow text`: any text operation by name, on arguments, a file or standard input.

use std::path::{Path, PathBuf};

use clap::Args;
use clap::builder::BoolishValueParser;
use serde_json::{Map, Value};

use super::exit::{CliError, Exit};
use super::input::{Lines, is_jsonl, read_text, record_text};
use super::local::{Local, spec};
use super::operation;
use super::session::Session;
use crate::config::WorkerLayer;
use crate::task::{OperationInfo, TaskType};

/// Short names.
const ALIASES: [(&str, &str); 9] = [
    ("count", "word_count"),
    ("tokens", "tokenize"),
    ("lang", "detect_language"),
    ("stats", "statistics"),
    ("summary", "summarize"),
    ("pii", "detect_pii"),
    ("redact", "redact_pii"),
    ("html", "html_to_text"),
    ("duplicates", "near_duplicates"),
];

/// Arguments of `text`.
#[derive(Debug, Args)]
pub(crate) struct TextArgs {
    /// The operation: count, tokens, lang, normalize, chunk, keywords, summarize, pii, redact, diff, stats, or any of --list
    #[arg(required_unless_present = "list")]
    pub(crate) operation: Option<String>,
    /// Texts; with none, and no --file, standard input is one text
    pub(crate) texts: Vec<String>,
    /// Take the text from this file (- for standard input); for operations on two texts, give it twice
    #[arg(long, short, env = "TALLOW_TEXT_FILE", value_name = "FILE", conflicts_with = "texts")]
    pub(crate) file: Vec<PathBuf>,
    /// Each line of the file is a text of its own (.jsonl: strings, or objects with a `text` field)
    #[arg(long, env = "TALLOW_TEXT_LINES", value_parser = BoolishValueParser::new(), requires = "file")]
    pub(crate) lines: bool,
    /// A field of the operation, such as --set size=200; may be repeated
    #[arg(long, short, env = "TALLOW_TEXT_SET", value_name = "NAME=VALUE")]
    pub(crate) set: Vec<String>,
    /// Size of a chunk, in the operation's unit
    #[arg(long, env = "TALLOW_TEXT_SIZE", value_name = "N")]
    pub(crate) size: Option<u64>,
    /// Overlap of neighbouring chunks, in the operation's unit
    #[arg(long, env = "TALLOW_TEXT_OVERLAP", value_name = "N")]
    pub(crate) overlap: Option<u64>,
    /// How many keywords, sentences, languages or words
    #[arg(long, short = 'n', env = "TALLOW_TEXT_TOP", value_name = "N")]
    pub(crate) top: Option<u64>,
    /// List the operations
    #[arg(long, env = "TALLOW_TEXT_LIST", value_parser = BoolishValueParser::new(), conflicts_with = "operation")]
    pub(crate) list: bool,
    /// The worker's settings.
    #[command(flatten)]
    pub(crate) worker: WorkerLayer,
}

/// Runs one operation and shows its answer.
pub(crate) fn run(args: &TextArgs, session: &mut Session) -> Result<Exit, CliError> {
    let local = Local::start(session, &args.worker)?;
    let infos = operation::operations(local.worker(), &TaskType::TextProcessing);
    let Some(asked) = args.operation.as_deref().filter(|_| !args.list) else {
        return operation::list(&infos, &ALIASES, session);
    };
    let info = operation::find(&infos, &ALIASES, asked)?;
    let mut data = operation::data(info, &args.set, session)?;
    for (name, value) in [("size", args.size), ("overlap", args.overlap), ("top", args.top)] {
        let Some(value) = value else { continue };
        if !operation::has_field(info, name) {
            if session.is_of_variable(name) {
                continue;
            }
            return Err(CliError::usage(format!("{asked} takes no --{name}; `tallow text --list --json` shows its fields")));
        }
        data.insert(name.into(), value.into());
    }
    put_texts(info, texts(args)?, &mut data)?;
    let answer = local.answer(spec(TaskType::TextProcessing, Value::Object(data)))?;
    operation::show(&answer, session)
}

/// What the user gave: arguments, files or standard input.
fn texts(args: &TextArgs) -> Result<Vec<String>, CliError> {
    if !args.texts.is_empty() {
        return Ok(args.texts.clone());
    }
    if args.file.is_empty() {
        return Ok(vec![read_text(Path::new("-"))?]);
    }
    if !args.lines {
        return args.file.iter().map(|path| read_text(path)).collect();
    }
    let mut texts = Vec::new();
    for path in &args.file {
        let mut lines = Lines::open(path)?;
        while let Some(line) = lines.next()? {
            let text = line.text.and_then(|text| record_text(&text, is_jsonl(path)));
            texts.push(text.map_err(|reason| CliError::usage(format!("{}:{}: {reason}", path.display(), line.number)))?);
        }
    }
    Ok(texts)
}

/// Puts the texts where the operation wants them: `text` or `texts`, or its required text fields in their order.
fn put_texts(info: &OperationInfo, texts: Vec<String>, data: &mut Map<String, Value>) -> Result<(), CliError> {
    let mut put = |name: &str, value: Value| {
        if data.insert(name.to_owned(), value).is_some() {
            return Err(CliError::usage(format!("--set {name}: the field takes the text already")));
        }
        Ok(())
    };
    let one_text = operation::has_field(info, "text");
    let many_texts = operation::has_field(info, "texts");
    match texts.len() {
        1 if one_text => put("text", texts.into_iter().collect::<Vec<_>>().remove(0).into()),
        _ if many_texts => put("texts", texts.into()),
        count => {
            let fields = pair_fields(info);
            if count != fields.len() {
                return Err(CliError::usage(format!("{} takes {} texts ({}), found {count}", info.name, fields.len(), fields.join(", "))));
            }
            fields.iter().zip(texts).try_for_each(|(name, text)| put(name, text.into()))
        }
    }
}

/// The fields of an operation that compares texts.
fn pair_fields(info: &OperationInfo) -> Vec<String> {
    match operation::required_fields(info) {
        fields if fields.len() == 1 && operation::has_field(info, "text_b") => vec![fields[0].clone(), "text_b".into()],
        fields => fields,
    }
}
