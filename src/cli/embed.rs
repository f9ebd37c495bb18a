//! `tallow embed`: texts in, vectors out, in batches that stream through the worker.

use std::path::{Path, PathBuf};

use clap::Args;
use clap::builder::BoolishValueParser;
use serde_json::{Map, Value};

use super::draft::Draft;
use super::exit::{CliError, Exit};
use super::input::{Lines, is_jsonl, is_npy};
use super::local::Local;
use super::npy::RowWriter;
use super::output::Out;
use super::progress::Progress;
use super::session::Session;
use super::texts::{Texts, stream};
use crate::config::WorkerLayer;
use crate::task::Part;

/// The part in which vectors come back.
pub(crate) const EMBEDDINGS_PART: &str = "embeddings";

/// What an embedding depends on beside the text and the model.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Embedding")]
pub(crate) struct EmbedFlags {
    /// Cut vectors to this many dimensions; the model must have been trained for it
    #[arg(long, env = "TALLOW_EMBED_DIMENSIONS", value_name = "N")]
    pub(crate) dimensions: Option<u32>,
    /// Cut to --dimensions although the model does not declare that length
    #[arg(long, env = "TALLOW_EMBED_ANY_DIMENSIONS", value_parser = BoolishValueParser::new(), requires = "dimensions")]
    pub(crate) any_dimensions: bool,
    /// Put the model's prompt of this name before each text
    #[arg(long, env = "TALLOW_EMBED_PROMPT_NAME", value_name = "NAME")]
    pub(crate) prompt_name: Option<String>,
    /// What to do with texts longer than the model takes [default: error]
    #[arg(long, env = "TALLOW_EMBED_LONG_INPUT", value_parser = ["error", "truncate", "chunk"])]
    pub(crate) long_input: Option<String>,
}

impl EmbedFlags {
    /// The payload for these texts, answered as a binary part.
    #[must_use]
    pub(crate) fn data(&self, texts: Value, encoding: &str) -> Value {
        let mut data = Map::new();
        data.insert("operation".into(), "embed".into());
        data.insert("texts".into(), texts);
        data.insert("encoding".into(), encoding.into());
        let optional = [
            ("any_dimensions", self.any_dimensions.then_some(Value::from(true))),
            ("dimensions", self.dimensions.map(Value::from)),
            ("prompt_name", self.prompt_name.clone().map(Value::from)),
            ("long_input", self.long_input.clone().map(Value::from)),
        ];
        data.extend(optional.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
        Value::Object(data)
    }
}

/// Arguments of `embed`.
#[derive(Debug, Args)]
pub(crate) struct EmbedArgs {
    /// Texts
    #[arg(required_unless_present = "file")]
    pub(crate) texts: Vec<String>,
    /// Read one text per line from this file (.jsonl: strings, or objects with a `text` field), or - for standard input
    #[arg(long, short, env = "TALLOW_EMBED_FILE", value_name = "FILE", conflicts_with = "texts")]
    pub(crate) file: Option<PathBuf>,
    /// Write vectors to this file: .npy holds a float32 array [texts, dimensions], .jsonl a line per text
    #[arg(long, short, env = "TALLOW_EMBED_OUTPUT", value_name = "OUT")]
    pub(crate) output: Option<PathBuf>,
    /// How vectors are written as JSON
    #[arg(long, env = "TALLOW_EMBED_ENCODING", value_name = "ENCODING", default_value = "float", value_parser = ["float", "base64", "int8", "binary"])]
    pub(crate) encoding: String,
    /// Repeat each text beside its vector in JSON lines
    #[arg(long, env = "TALLOW_EMBED_WITH_TEXT", value_parser = BoolishValueParser::new())]
    pub(crate) with_text: bool,
    /// What an embedding depends on.
    #[command(flatten)]
    pub(crate) flags: EmbedFlags,
    /// The worker's settings.
    #[command(flatten)]
    pub(crate) worker: WorkerLayer,
}

/// Embeds everything. Errors: the first text or task that failed; a file is written whole or not at all.
pub(crate) fn run(args: &EmbedArgs, session: &mut Session) -> Result<Exit, CliError> {
    let npy = args.output.as_deref().is_some_and(is_npy);
    if npy && args.encoding != "float" && !session.is_of_variable("encoding") {
        return Err(CliError::usage("--encoding is for JSON; a .npy file holds float32"));
    }
    let total = match &args.file {
        Some(path) if npy || path.is_file() => Some(count(path)?),
        _ => None,
    };
    let open = || match &args.file {
        Some(path) => Texts::open(path),
        None => Ok(Texts::given(args.texts.clone())),
    };
    let total = total.unwrap_or(args.texts.len() as u64);
    let mut texts = open()?;
    let local = Local::start(session, &args.worker)?;
    let mut target = Target::open(args, session.out.json(), total)?;
    let mut progress = Progress::new("texts", Some(total).filter(|_| args.output.is_some()), session.quiet || args.output.is_none());
    let encoding = if npy { "part" } else { &args.encoding };
    let mut model = String::new();
    let out = &mut session.out;
    let mut done = 0;
    let streamed = stream(&local, &args.flags, encoding, &mut texts, &mut |texts, answer| {
        if let Some(name) = answer.field("model")?.as_str() {
            name.clone_into(&mut model);
        }
        target.write(&texts, &answer, args.with_text, out)?;
        done += texts.len();
        progress.add(texts.len() as u64);
        Ok(())
    });
    progress.finish();
    streamed.map_err(|error| match target.left(done) {
        Some(left) => error.then(&left),
        None => error,
    })?;
    target.finish(&mut session.out)?;
    if args.output.is_some() {
        session.note(&format!("{total} texts embedded with {model}"));
    }
    Ok(Exit::Ok)
}

/// How many texts a file has. Standard input cannot be read twice.
fn count(path: &Path) -> Result<u64, CliError> {
    if path.as_os_str() == "-" {
        return Err(CliError::usage("a .npy file starts with the number of texts; give a file instead of standard input, or write .jsonl"));
    }
    let mut lines = Lines::open(path)?;
    let mut count = 0;
    while lines.next()?.is_some() {
        count += 1;
    }
    Ok(count)
}

/// Where vectors go.
enum Target {
    Npy { writer: RowWriter, rows: u64 },
    File { draft: Draft },
    Out { json: bool },
}

impl Target {
    fn open(args: &EmbedArgs, json: bool, rows: u64) -> Result<Self, CliError> {
        if let (Some(file), Some(path)) = (&args.file, &args.output)
            && super::input::is_same_file(file, path)
        {
            return Err(CliError::usage("the output would overwrite the texts; name another file with -o"));
        }
        Ok(match &args.output {
            Some(path) if is_npy(path) => Self::Npy { writer: RowWriter::create(path)?, rows },
            Some(path) if is_jsonl(path) => Self::File { draft: Draft::create(path)? },
            Some(path) if path.as_os_str() == "-" => Self::Out { json: true },
            Some(path) => return Err(CliError::usage(format!("{}: expected a name that ends in .npy or .jsonl", path.display()))),
            None => Self::Out { json },
        })
    }

    fn write(&mut self, texts: &[String], answer: &super::local::Answer, with_text: bool, out: &mut Out) -> Result<(), CliError> {
        if let Self::Npy { writer, rows } = self {
            let part = embeddings(answer)?;
            if !writer.begun() {
                writer.begin("<f4", &[usize::try_from(*rows).unwrap_or(usize::MAX), part.shape()[1]])?;
            }
            return writer.append(part.bytes());
        }
        let vectors = answer.field("embeddings")?.as_array().cloned().unwrap_or_default();
        if vectors.len() != texts.len() {
            return Err(CliError::new(Exit::Runtime, format!("{} texts gave {} vectors", texts.len(), vectors.len())));
        }
        let (model, precision) = (answer.field("model")?, answer.result.metadata.get("precision"));
        for (text, vector) in texts.iter().zip(vectors) {
            let mut line = Map::new();
            if with_text {
                line.insert("text".into(), text.as_str().into());
            }
            line.insert("model".into(), model.clone());
            line.extend(precision.map(|name| ("precision".to_owned(), name.clone())));
            line.insert("embedding".into(), vector.clone());
            match self {
                Self::File { draft } => {
                    let mut text = serde_json::to_vec(&line).map_err(std::io::Error::from)?;
                    text.push(b'\n');
                    draft.append(&text)?;
                }
                Self::Out { json } if *json || with_text => out.json_line(&line)?,
                _ => out.json_line(&vector)?,
            }
        }
        if matches!(self, Self::Out { .. }) { out.flush() } else { Ok(()) }
    }

    /// What is there of an output that broke off after `done` texts.
    fn left(&self, done: usize) -> Option<String> {
        match self {
            Self::Npy { .. } | Self::File { .. } => Some(format!("{done} texts were embedded before it; the output file was not written")),
            Self::Out { .. } => (done > 0).then(|| format!("{done} vectors were written before it")),
        }
    }

    fn finish(self, out: &mut Out) -> Result<(), CliError> {
        match self {
            Self::Npy { mut writer, .. } => {
                if !writer.begun() {
                    writer.begin("<f4", &[0, 0])?;
                }
                writer.finish()
            }
            Self::File { draft } => draft.finish(),
            Self::Out { .. } => out.flush(),
        }
    }
}

/// The vectors of an answer. Errors: the executor did not keep its contract.
pub(crate) fn embeddings(answer: &super::local::Answer) -> Result<&Part, CliError> {
    let part = answer.parts.get(EMBEDDINGS_PART).filter(|part| part.shape().len() == 2);
    part.ok_or_else(|| CliError::new(Exit::Runtime, "the answer has no matrix of embeddings"))
}
