//! `tallow vector`: any vector operation by name, on `.npy` files and JSON arrays.

use std::path::{Path, PathBuf};

use clap::Args;
use clap::builder::BoolishValueParser;
use serde_json::{Map, Value, json};

use super::exit::{CliError, Exit};
use super::input::is_npy;
use super::local::{Local, spec};
use super::npy;
use super::operation;
use super::session::Session;
use crate::config::WorkerLayer;
use crate::task::{OperationInfo, Parts, TaskType};

/// Short names.
const ALIASES: [(&str, &str); 5] = [
    ("cosine", "cosine_similarity"),
    ("topk", "top_k"),
    ("stats", "statistics"),
    ("duplicates", "near_duplicates"),
    ("fuse", "reciprocal_rank_fusion"),
];
/// Inputs of operations whose order on the command line is not that of their fields.
const INPUT_ORDER: [(&str, &[&str]); 1] = [("top_k", &["vectors", "queries"])];

/// Arguments of `vector`.
#[derive(Debug, Args)]
pub(crate) struct VectorArgs {
    /// The operation: cosine, topk, kmeans, pca, stats, normalize, quantize, or any of --list
    #[arg(required_unless_present = "list")]
    pub(crate) operation: Option<String>,
    /// Its inputs in order: .npy files, JSON arrays such as [1,2,3], or plain lists such as 1,2,3 (one that starts with a minus in brackets); names and numbers, such as of a set, as they stand
    #[arg(allow_negative_numbers = true)]
    pub(crate) inputs: Vec<String>,
    /// A field of the operation, such as --set metric=l2; may be repeated
    #[arg(long, short, env = "TALLOW_VECTOR_SET", value_name = "NAME=VALUE")]
    pub(crate) set: Vec<String>,
    /// How many: neighbours, clusters, components
    #[arg(short, long = "top", env = "TALLOW_VECTOR_TOP", value_name = "K")]
    pub(crate) k: Option<u64>,
    /// Write the answer's array to this .npy file
    #[arg(long, short, env = "TALLOW_VECTOR_OUTPUT", value_name = "OUT.npy")]
    pub(crate) output: Option<PathBuf>,
    /// Which array of the answer to write, where there are several
    #[arg(long, env = "TALLOW_VECTOR_PART", value_name = "NAME", requires = "output")]
    pub(crate) part: Option<String>,
    /// List the operations
    #[arg(long, env = "TALLOW_VECTOR_LIST", value_parser = BoolishValueParser::new(), conflicts_with = "operation")]
    pub(crate) list: bool,
    /// The worker's settings.
    #[command(flatten)]
    pub(crate) worker: WorkerLayer,
}

/// Runs one operation and shows its answer.
pub(crate) fn run(args: &VectorArgs, session: &mut Session) -> Result<Exit, CliError> {
    let local = Local::start(session, &args.worker)?;
    let infos = operation::operations(local.worker(), &TaskType::VectorComputation);
    let Some(asked) = args.operation.as_deref().filter(|_| !args.list) else {
        return operation::list(&infos, &ALIASES, session);
    };
    let info = operation::find(&infos, &ALIASES, asked)?;
    let mut data = operation::data(info, &args.set, session)?;
    let mut parts = Parts::new();
    put_inputs(info, &args.inputs, &mut data, &mut parts)?;
    if let Some(k) = args.k {
        let field = ["k", "components"].into_iter().find(|name| operation::has_field(info, name));
        match field {
            Some(field) => {
                data.insert(field.into(), k.into());
            }
            None if session.is_of_variable("k") => {}
            None => return Err(CliError::usage(format!("{asked} takes no -k"))),
        }
    }
    if args.output.is_some() && operation::has_field(info, "encoding") && !data.contains_key("encoding") {
        data.insert("encoding".into(), "part".into());
    }
    let mut task = spec(TaskType::VectorComputation, Value::Object(data));
    task.parts = parts;
    let answer = local.answer(task)?;
    match &args.output {
        // A variable's file is for arrays; an answer without one is shown.
        Some(_) if answer.parts.is_empty() && session.is_of_variable("output") => operation::show(&answer, session),
        Some(path) => {
            operation::write_part(&answer, path, args.part.as_deref(), session)?;
            Ok(Exit::Ok)
        }
        None => operation::show(&answer, session),
    }
}

/// Puts inputs into the operation's required fields, in order; files become binary parts.
fn put_inputs(info: &OperationInfo, inputs: &[String], data: &mut Map<String, Value>, parts: &mut Parts) -> Result<(), CliError> {
    let ordered = INPUT_ORDER.iter().find(|(name, _)| *name == info.name);
    let fields: Vec<String> = match ordered {
        Some((_, fields)) => fields.iter().map(|field| (*field).to_owned()).collect(),
        None => operation::required_fields(info).into_iter().filter(|field| !data.contains_key(field)).collect(),
    };
    if inputs.len() > fields.len() {
        return Err(CliError::usage(format!(
            "{} takes {} inputs ({}), found {}",
            info.name,
            fields.len(),
            fields.join(", "),
            inputs.len()
        )));
    }
    for (field, input) in fields.iter().zip(inputs) {
        let value = if is_npy(Path::new(input)) {
            parts.insert(field.clone(), npy::read(Path::new(input))?);
            json!({ "$part": field })
        } else {
            value(info, field, input)?
        };
        data.insert(field.clone(), value);
    }
    Ok(())
}

/// An input as its field takes it: a name as it stands, a number, or an array.
fn value(info: &OperationInfo, field: &str, text: &str) -> Result<Value, CliError> {
    match info.request_schema.pointer(&format!("/properties/{field}/type")).and_then(Value::as_str) {
        Some("string") => Ok(text.into()),
        Some("integer" | "number") => serde_json::from_str(text)
            .map_err(|_no_number| CliError::usage(format!("{field}: `{}` is no number", super::output::clip(text, 40)))),
        _ => array(field, text),
    }
}

/// `[1, 2]`, `[[1, 2], [3, 4]]` or `1,2`.
fn array(field: &str, text: &str) -> Result<Value, CliError> {
    let bracketed = if text.trim_start().starts_with(['[', '{']) { text.to_owned() } else { format!("[{text}]") };
    serde_json::from_str(&bracketed).map_err(|error| {
        let found = super::output::clip(text, 40);
        CliError::usage(format!("{field}: `{found}` is neither a .npy file nor an array of numbers: {error}"))
    })
}
