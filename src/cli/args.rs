//! The command line: every command and flag, each flag with its `TALLOW_*` twin.

use std::path::PathBuf;
use std::sync::LazyLock;

use clap::builder::BoolishValueParser;
use clap::{Args, Parser, Subcommand};

use super::{bench, completions, doctor, embed, judge, models, run, search, serve, similarity, task, text, vector};

/// Executes text, vector and model tasks: from files, from the command line, and as a worker over HTTP.
#[derive(Debug, Parser)]
#[command(name = "tallow", version = VERSION.as_str(), max_term_width = 110, arg_required_else_help = true, after_help = AFTER_HELP)]
pub(crate) struct Cli {
    /// Flags that every command takes.
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

const AFTER_HELP: &str = "First steps: `tallow doctor`, `tallow embed \"some text\"`, `tallow serve`; `tallow COMMAND --help` says more.\nSettings count in the order flag, environment (TALLOW_*), config file, default. Results go to standard output, \
everything else to standard error.\nExit codes: 0 done, 1 failed, 2 wrong usage or input, 3 model or file missing, 4 device absent, \
5 does not fit in memory, 6 some lines of a batch failed, 130 interrupted.";

/// Flags that every command takes.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "General")]
pub(crate) struct GlobalArgs {
    /// Settings file [default: $XDG_CONFIG_HOME/tallow/config.toml, which may be absent]
    #[arg(long, env = "TALLOW_CONFIG", value_name = "FILE", global = true)]
    pub(crate) config: Option<PathBuf>,
    /// Where the token and measured precisions live [default: $XDG_DATA_HOME/tallow or ~/.local/share/tallow]
    #[arg(long, env = "TALLOW_DATA_DIR", value_name = "DIR", global = true)]
    pub(crate) data_dir: Option<PathBuf>,
    /// Print results as JSON
    #[arg(long, env = "TALLOW_JSON", value_parser = BoolishValueParser::new(), global = true)]
    pub(crate) json: bool,
    /// No progress and no notes on standard error, only errors
    #[arg(long, short, env = "TALLOW_QUIET", value_parser = BoolishValueParser::new(), global = true)]
    pub(crate) quiet: bool,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve tasks over HTTP until stopped
    Serve(serve::ServeArgs),
    /// Execute a JSONL file of tasks here; resumes where an earlier run stopped
    Run(run::RunArgs),
    /// Talk to a running worker: submit, status, result, list, cancel, watch
    Task(task::TaskArgs),
    /// Turn texts into vectors
    Embed(embed::EmbedArgs),
    /// How alike two texts are: the cosine of their vectors
    Similarity(similarity::SimilarityArgs),
    /// Order documents by how well they answer a query (needs a cross-encoder)
    Rerank(judge::RerankArgs),
    /// Give texts a classifier's labels
    Classify(judge::ClassifyArgs),
    /// Find names, places and other labelled spans (needs a token classifier)
    Tag(judge::TagArgs),
    /// Propose words for masked places
    FillMask(judge::FillMaskArgs),
    /// Give texts labels of your own, by entailment or by embedding
    ZeroShot(judge::ZeroShotArgs),
    /// Find what is nearest to a query in a file of texts or vectors
    Search(search::SearchArgs),
    /// Text operations: count, tokens, lang, chunk, keywords, summarize, pii, ... (`tallow text --list`)
    Text(text::TextArgs),
    /// Vector operations on .npy files and JSON arrays: cosine, topk, kmeans, pca, ... (`tallow vector --list`)
    Vector(vector::VectorArgs),
    /// Models on this machine: ls, pull, show, verify, rm
    Models(models::ModelsArgs),
    /// What this machine has and what the worker would pick, and why
    Doctor(doctor::DoctorArgs),
    /// Measure this machine in a few seconds
    Bench(bench::BenchArgs),
    /// Completion script for a shell
    Completions(completions::CompletionsArgs),
}

/// Version and what this build can drive.
pub(crate) static VERSION: LazyLock<String> = LazyLock::new(|| {
    let mut features = vec!["cpu"];
    features.extend(cfg!(feature = "hub").then_some("hub"));
    features.extend(tallow_kernels::device::built_backends());
    format!("{} (features: {})", env!("CARGO_PKG_VERSION"), features.join(", "))
});
