//! `tallow similarity`: two texts, one number.

use clap::Args;
use serde_json::json;

use super::embed::EmbedFlags;
use super::exit::{CliError, Exit};
use super::local::{Local, named, spec};
use super::session::Session;
use crate::config::WorkerLayer;
use crate::task::TaskType;

/// Arguments of `similarity`.
#[derive(Debug, Args)]
pub(crate) struct SimilarityArgs {
    /// One text
    pub(crate) a: String,
    /// Another text
    pub(crate) b: String,
    /// What an embedding depends on.
    #[command(flatten)]
    pub(crate) flags: EmbedFlags,
    /// The worker's settings.
    #[command(flatten)]
    pub(crate) worker: WorkerLayer,
}

/// Prints the cosine of the two texts' vectors.
pub(crate) fn run(args: &SimilarityArgs, session: &mut Session) -> Result<Exit, CliError> {
    let local = Local::start(session, &args.worker)?;
    let embed = named("texts", spec(TaskType::ModelInference, args.flags.data(json!([args.a, args.b]), "float")));
    let compare = spec(
        TaskType::VectorComputation,
        json!({
            "operation": "cosine_similarity",
            "vector_a": { "$from": "texts", "path": "/embeddings/0" },
            "vector_b": { "$from": "texts", "path": "/embeddings/1" },
        }),
    );
    let answers = local.answers(vec![embed, compare])?;
    let [embedded, compared] = answers.as_slice() else {
        return Err(CliError::new(Exit::Runtime, "two tasks gave another number of answers"));
    };
    let similarity = compared.field("similarity")?;
    let model = embedded.field("model")?;
    if session.out.json() {
        session.out.json_line(&json!({ "similarity": similarity, "model": model }))?;
    } else {
        session.out.line(&format!("{:.4}", similarity.as_f64().unwrap_or(f64::NAN)))?;
        session.note(&format!("model {}", super::show::inline(model, 80)));
    }
    Ok(Exit::Ok)
}
