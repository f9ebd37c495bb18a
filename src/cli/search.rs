//! `tallow search`: what is nearest to a query in a file of texts, or in a file of vectors made from texts before.

use std::path::PathBuf;

use bytes::{Bytes, BytesMut};
use clap::Args;
use serde_json::{Value, json};

use super::embed::{self, EmbedFlags, embeddings};
use super::exit::{CliError, Exit};
use super::input::is_npy;
use super::local::{Local, named, spec};
use super::npy;
use super::output::{Style, clip};
use super::progress::Progress;
use super::session::Session;
use super::texts::{self, Texts};
use crate::config::WorkerLayer;
use crate::task::{Dtype, Part, TaskType};

/// Bytes of vectors and texts that a search holds; a larger corpus belongs into a file of vectors.
const CORPUS_BYTES_MAX: usize = 4 << 30;

/// Arguments of `search`.
#[derive(Debug, Args)]
pub(crate) struct SearchArgs {
    /// Texts, one per line (.txt, or .jsonl with a `text` field), or vectors (.npy, made with the same model by `tallow embed`)
    pub(crate) corpus: PathBuf,
    /// What to look for
    pub(crate) query: String,
    /// How many to show
    #[arg(short, long = "top", env = "TALLOW_SEARCH_TOP", value_name = "K", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) k: u32,
    /// With vectors: the texts they were made from, to show beside the row
    #[arg(long, env = "TALLOW_SEARCH_TEXTS", value_name = "FILE")]
    pub(crate) texts: Option<PathBuf>,
    /// What an embedding depends on.
    #[command(flatten)]
    pub(crate) flags: EmbedFlags,
    /// The worker's settings.
    #[command(flatten)]
    pub(crate) worker: WorkerLayer,
}

/// Prints rank, score and text of the nearest, best first.
pub(crate) fn run(args: &SearchArgs, session: &mut Session) -> Result<Exit, CliError> {
    let of_vectors = is_npy(&args.corpus);
    // Files are opened before anything is computed: a wrong name is told at once.
    let given = if of_vectors { Some(npy::read(&args.corpus)?) } else { None };
    let mut source = match (of_vectors, &args.texts) {
        (false, _) => Some(Texts::open(&args.corpus)?),
        (true, Some(path)) => Some(Texts::open(path)?),
        (true, None) => None,
    };
    let local = Local::start(session, &args.worker)?;
    let mut texts: Vec<String> = Vec::new();
    let vectors = match given {
        Some(vectors) => {
            while let Some(text) = source.as_mut().map(Texts::next).transpose()?.flatten() {
                texts.push(text);
            }
            vectors
        }
        None => {
            let Some(source) = source.as_mut() else { return Err(CliError::usage("no texts")) };
            embed_corpus(&local, args, source, &mut texts, session.quiet)?
        }
    };
    let rows = vectors.shape().first().copied().unwrap_or(0);
    if rows == 0 {
        return Err(CliError::usage(format!("{}: nothing to search in", args.corpus.display())));
    }
    if of_vectors && args.texts.is_some() && texts.len() != rows {
        return Err(CliError::usage(format!("{} vectors, but {} texts", rows, texts.len())));
    }
    let hits = nearest(&local, args, vectors)?;
    show(&hits, &texts, session)
}

/// One thing found.
struct Hit {
    row: usize,
    score: f64,
}

/// Embeds every text of the corpus; vectors stay binary on the way.
fn embed_corpus(local: &Local, args: &SearchArgs, source: &mut Texts, texts: &mut Vec<String>, quiet: bool) -> Result<Part, CliError> {
    let mut matrix = BytesMut::new();
    let mut dim = 0;
    let mut held = 0usize;
    let mut progress = Progress::new("texts", None, quiet);
    texts::stream(local, &args.flags, "part", source, &mut |batch, answer| {
        let part = embeddings(&answer)?;
        dim = part.shape()[1];
        held += part.bytes().len() + batch.iter().map(String::len).sum::<usize>();
        if held > CORPUS_BYTES_MAX {
            let hint = "embed it to a .npy file first";
            return Err(CliError::new(Exit::DoesNotFit, format!("the corpus takes more than {CORPUS_BYTES_MAX} bytes; {hint}")));
        }
        matrix.extend_from_slice(part.bytes());
        progress.add(batch.len() as u64);
        texts.extend(batch);
        Ok(())
    })?;
    progress.finish();
    Ok(Part::new(Dtype::F32, vec![texts.len(), dim], Bytes::from(matrix))?)
}

/// Embeds the query and takes the nearest rows: one submission, the second task takes the first one's vectors.
fn nearest(local: &Local, args: &SearchArgs, vectors: Part) -> Result<Vec<Hit>, CliError> {
    let rows = vectors.shape()[0];
    let query = named("query", spec(TaskType::ModelInference, args.flags.data(json!([args.query]), "part")));
    let mut search = spec(
        TaskType::VectorComputation,
        json!({
            "operation": "top_k",
            "queries": { "$from": "query", "part": embed::EMBEDDINGS_PART },
            "vectors": { "$part": "corpus" },
            "k": (args.k as usize).min(rows),
            "metric": "cosine",
        }),
    );
    search.parts.insert("corpus".into(), vectors);
    let answers = local.answers(vec![query, search])?;
    let found = answers.last().ok_or_else(|| CliError::new(Exit::Runtime, "the search gave no answer"))?;
    hits(&found.result.output)
}

/// Rows and scores of the first query.
fn hits(output: &Value) -> Result<Vec<Hit>, CliError> {
    let column = |name: &str| output.pointer(name).and_then(Value::as_array);
    let found = match (column("/indices/0"), column("/scores/0")) {
        (Some(rows), Some(scores)) => rows.iter().zip(scores).map(hit).collect::<Option<Vec<_>>>(),
        _ => None,
    };
    found.ok_or_else(|| CliError::new(Exit::Runtime, format!("unexpected answer of top_k: {output}")))
}

fn hit((row, score): (&Value, &Value)) -> Option<Hit> {
    Some(Hit { row: usize::try_from(row.as_u64()?).ok()?, score: score.as_f64().unwrap_or(f64::NAN) })
}

fn show(hits: &[Hit], texts: &[String], session: &mut Session) -> Result<Exit, CliError> {
    let width = session.out.width();
    for (rank, hit) in hits.iter().enumerate() {
        let text = texts.get(hit.row);
        if session.out.json() {
            session.out.json_line(&json!({ "rank": rank + 1, "row": hit.row, "score": hit.score, "text": text }))?;
            continue;
        }
        let score = session.out.style(Style::Name, &format!("{:.4}", hit.score));
        let text = text.map_or_else(String::new, |text| clip(text, width.saturating_sub(22)));
        session.out.line(&format!("{:>3}  {score}  row {:<6} {text}", rank + 1, hit.row))?;
    }
    Ok(Exit::Ok)
}
