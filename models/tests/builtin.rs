//! The built-in embedder on public test sets and real texts of many scripts, read from the folder that `TALLOW_TEST_DATA` names.

use std::path::{Path, PathBuf};

use tallow_models::quality::{SearchSet, pair_spearman, read_judgements, read_passages, read_sts, search_ndcg};
use tallow_models::{BuiltinEmbedder, Embedder};
use tokenizers::Tokenizer;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;

fn data() -> Option<PathBuf> {
    let data = std::env::var_os("TALLOW_TEST_DATA").map(PathBuf::from);
    if data.is_none() {
        eprintln!("skipped: TALLOW_TEST_DATA is not set");
    }
    data
}

fn read(data: &Path, name: &str) -> String {
    let path = data.join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn sts_benchmark_spearman_is_at_least_069() {
    let Some(data) = data() else { return };
    let pairs = read_sts("sts-test.csv", &read(&data, "stsbenchmark/sts-test.csv")).unwrap();
    assert_eq!(pairs.len(), 1_379);
    let spearman = pair_spearman(&BuiltinEmbedder::load().unwrap(), &pairs).unwrap();
    println!("sts-b test: {spearman:.4}");
    assert!(spearman >= 0.69, "{spearman}");
}

#[test]
fn scifact_ndcg_at_10_is_at_least_045() {
    let Some(data) = data() else { return };
    let set = SearchSet {
        corpus: read_passages("corpus.jsonl", &read(&data, "scifact/corpus.jsonl")).unwrap(),
        queries: read_passages("queries.jsonl", &read(&data, "scifact/queries.jsonl")).unwrap(),
        judgements: read_judgements("test.tsv", &read(&data, "scifact/qrels/test.tsv")).unwrap(),
    };
    assert_eq!((set.corpus.len(), set.judgements.len()), (5_183, 300));
    let ndcg = search_ndcg(&BuiltinEmbedder::load().unwrap(), &set, 10).unwrap();
    println!("scifact test: {ndcg:.4}");
    assert!(ndcg >= 0.45, "{ndcg}");
}

#[test]
fn real_texts_of_many_scripts_have_the_library_s_tokens() {
    let Some(data) = data() else { return };
    let vocabulary = concat!(env!("CARGO_MANIFEST_DIR"), "/builtin/vocab.txt");
    let mut library = Tokenizer::new(WordPiece::from_file(vocabulary).unk_token("[UNK]".into()).build().unwrap());
    library.with_normalizer(Some(BertNormalizer::default())).unwrap();
    library.with_pre_tokenizer(Some(BertPreTokenizer));
    let embedder = BuiltinEmbedder::load().unwrap();
    let files = [
        "blns/blns.txt",
        "sherlock/sherlock-holmes-huge-ascii.txt",
        "sherlock/opensubtitles2018-ru-huge-utf8.txt",
        "sherlock/opensubtitles2018-zh-huge-utf8.txt",
        "stsbenchmark/STS2017.track3.es-es.tsv",
    ];
    for file in files {
        for (at, line) in read(&data, file).lines().enumerate() {
            let (ours, theirs) = (embedder.tokenize("", line).unwrap(), library.encode(line, false).unwrap());
            let offsets: Vec<(usize, usize)> = ours.offsets.iter().map(|bytes| (bytes.start, bytes.end)).collect();
            assert_eq!((&ours.ids[..], &offsets[..]), (theirs.get_ids(), theirs.get_offsets()), "{file}, line {}", at + 1);
        }
    }
}
