//! How good the built-in embedder is: `quality DATA_DIR`, where DATA_DIR holds `stsbenchmark/sts-*.csv` and `scifact/` in the BEIR layout; and how good
//! an encoder is at every precision: `quality DATA_DIR MODEL_FOLDER`, which scores the test splits.
//!
//! Prints Spearman's correlation on the STS benchmark, nDCG@10 on SciFact, and texts per second on one thread. The model's parameters were
//! chosen on the splits dev and train alone.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Instant;

use candle_core::Device;
use tallow_kernels::gemm::Precision;
use tallow_models::quality::{SearchSet, pair_spearman, read_judgements, read_passages, read_sts, search_ndcg};
use tallow_models::{BuiltinEmbedder, Embedder, EmbedderInfo, Encoder, ModelError, Sequence, StopCheck};

const PLACES: usize = 10;

fn main() -> Result<(), Box<dyn Error>> {
    let data = std::env::args_os().nth(1).map(PathBuf::from).ok_or("usage: quality DATA_DIR [MODEL_FOLDER]")?;
    if let Some(folder) = std::env::args_os().nth(2) {
        return precisions(&data, Path::new(&folder));
    }
    let started = Instant::now();
    let embedder = BuiltinEmbedder::load()?;
    let info = embedder.info();
    println!("{}: {} dimensions, loaded in {:.1} ms", info.name, info.dimensions, started.elapsed().as_secs_f64() * 1e3);
    let set = read_search_set(&data, "train")?;
    let sentences = sentences(&data)?;
    for dimensions in info.matryoshka.iter().copied().chain([info.dimensions]) {
        scores(&data, &Prefix::new(&embedder, dimensions))?;
    }
    let abstracts: Vec<String> = set.corpus.iter().map(|passage| passage.full_text()).collect();
    speed("sts-b sentences", &embedder, &sentences)?;
    speed("scifact abstracts", &embedder, &abstracts)
}

/// One line of scores per precision, each on both test splits.
fn precisions(data: &Path, folder: &Path) -> Result<(), Box<dyn Error>> {
    let pairs = read_sts("test", &read(data, "stsbenchmark/sts-test.csv")?)?;
    let set = read_search_set(data, "test")?;
    println!("{}, instructions: {}", folder.display(), tallow_kernels::Isa::active());
    for precision in Precision::ALL {
        let encoder = Encoder::load_with(folder, "model", (&Device::Cpu, precision))?;
        let (spearman, ndcg) = (pair_spearman(&encoder, &pairs)?, search_ndcg(&encoder, &set, PLACES)?);
        println!("{:5}  sts-b test spearman {spearman:.4}  scifact test ndcg@{PLACES} {ndcg:.4}", precision.name());
    }
    Ok(())
}

/// One line of scores per test set and split.
fn scores(data: &Path, embedder: &Prefix<'_>) -> Result<(), Box<dyn Error>> {
    let dimensions = embedder.info.dimensions;
    for split in ["train", "dev", "test"] {
        let pairs = read_sts(split, &read(data, &format!("stsbenchmark/sts-{split}.csv"))?)?;
        println!("{dimensions:4} numbers  sts-b   {split:5}  {:4} pairs    spearman {:.4}", pairs.len(), pair_spearman(embedder, &pairs)?);
    }
    for split in ["train", "test"] {
        let set = read_search_set(data, split)?;
        let ndcg = search_ndcg(embedder, &set, PLACES)?;
        println!("{dimensions:4} numbers  scifact {split:5}  {:4} queries  ndcg@{PLACES}  {ndcg:.4}", set.judgements.len());
    }
    Ok(())
}

fn sentences(data: &Path) -> Result<Vec<String>, Box<dyn Error>> {
    let pairs = read_sts("train", &read(data, "stsbenchmark/sts-train.csv")?)?;
    Ok(pairs.into_iter().flat_map(|pair| [pair.first, pair.second]).collect())
}

fn read_search_set(data: &Path, split: &str) -> Result<SearchSet, Box<dyn Error>> {
    Ok(SearchSet {
        corpus: read_passages("corpus.jsonl", &read(data, "scifact/corpus.jsonl")?)?,
        queries: read_passages("queries.jsonl", &read(data, "scifact/queries.jsonl")?)?,
        judgements: read_judgements(split, &read(data, &format!("scifact/qrels/{split}.tsv"))?)?,
    })
}

/// An embedder cut to its first numbers.
struct Prefix<'a> {
    whole: &'a BuiltinEmbedder,
    info: EmbedderInfo,
}

impl<'a> Prefix<'a> {
    fn new(whole: &'a BuiltinEmbedder, dimensions: usize) -> Self {
        Self { whole, info: EmbedderInfo { dimensions, ..whole.info().clone() } }
    }
}

impl Embedder for Prefix<'_> {
    fn info(&self) -> &EmbedderInfo {
        &self.info
    }

    fn tokenize(&self, prompt: &str, text: &str) -> Result<Sequence, ModelError> {
        self.whole.tokenize(prompt, text)
    }

    fn token(&self, id: u32) -> Option<String> {
        self.whole.token(id)
    }

    fn embed(&self, sequences: &[Sequence], stop: StopCheck<'_>) -> Result<Vec<f32>, ModelError> {
        let rows = self.whole.embed(sequences, stop)?;
        Ok(rows.chunks(self.whole.info().dimensions).flat_map(|row| row[..self.info.dimensions].iter().copied()).collect())
    }
}

fn read(data: &Path, name: &str) -> Result<String, Box<dyn Error>> {
    let path = data.join(name);
    std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()).into())
}

/// Texts, tokens and bytes per second, tokenising included, on the calling thread.
fn speed(name: &str, embedder: &BuiltinEmbedder, texts: &[String]) -> Result<(), Box<dyn Error>> {
    let started = Instant::now();
    let mut token_count = 0;
    for text in texts {
        let sequence = embedder.tokenize("", text)?;
        token_count += sequence.len();
        std::hint::black_box(embedder.embed(std::slice::from_ref(&sequence), &|| false)?);
    }
    let seconds = started.elapsed().as_secs_f64();
    let byte_count: usize = texts.iter().map(String::len).sum();
    println!(
        "{name}: {} texts, {:.0} texts/s, {:.0} tokens/s, {:.1} MB/s, {:.1} us each, one thread",
        texts.len(),
        texts.len() as f64 / seconds,
        token_count as f64 / seconds,
        byte_count as f64 / seconds / 1e6,
        seconds * 1e6 / texts.len() as f64
    );
    Ok(())
}
