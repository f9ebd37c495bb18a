"""What every peer computes: token ids made once, from real texts, by the model's own tokenizer."""

import csv
import json
import random
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

from peers.protocol import Ids

UNIFORM_TOKENS = 128
QUERY_TOKENS = 16
SEED = 7


@dataclass(frozen=True)
class Workload:
    """Sequences that are measured together, special tokens included."""

    name: str
    title: str
    ids: Ids

    @property
    def token_count(self) -> int:
        return sum(map(len, self.ids))


@dataclass(frozen=True)
class SimilarityPairs:
    """STS-B test: the tokens of each distinct sentence, longest first, the pairs as places in them, and the people's scores."""

    ids: Ids
    firsts: list[int]
    seconds: list[int]
    scores: list[float]


class Texts:
    """SciFact's abstracts and queries and STS-B's test sentences in the tokens of one model."""

    def __init__(self, data: Path, model: Path):
        self._tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(json.loads((model / "sentence_bert_config.json").read_text())["max_seq_length"])
        self._abstracts = [f"{entry['title']} {entry['text']}" for entry in _json_lines(data / "scifact" / "corpus.jsonl")]
        self._queries = [entry["text"] for entry in _json_lines(data / "scifact" / "queries.jsonl")]
        with open(data / "stsbenchmark" / "sts-test.csv", newline="", encoding="utf-8") as file:
            rows = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
        self._pairs = [(row[5], row[6], float(row[4])) for row in rows]

    def uniform(self, row_count: int) -> Workload:
        """Rows of exactly `UNIFORM_TOKENS`, cut out of the abstracts one after the other."""
        return Workload("uniform", f"uniform {UNIFORM_TOKENS}", self._cut(self._abstracts, UNIFORM_TOKENS, row_count))

    def mixed(self, row_count: int) -> Workload:
        """Abstracts and sentences in equal number, at their own lengths, in a seeded order of arrival."""
        half = row_count // 2
        texts = self._abstracts[:half] + [first for first, _, _ in self._pairs[: row_count - half]]
        random.Random(SEED).shuffle(texts)
        return Workload("mixed", "mixed, as they arrive", self._tokens(texts))

    def sorted_mixed(self, row_count: int) -> Workload:
        """The same as `mixed`, longest first."""
        return Workload("sorted", "mixed, sorted by length", sorted(self.mixed(row_count).ids, key=len, reverse=True))

    def queries(self, count: int) -> Workload:
        """Single queries of exactly `QUERY_TOKENS`."""
        return Workload("query", f"one query of {QUERY_TOKENS} tokens", self._cut(self._queries, QUERY_TOKENS, count))

    def calibration(self, row_count: int) -> Ids:
        """Abstracts that no workload measures."""
        return self._tokens(self._abstracts[-row_count:])

    def similarity_pairs(self) -> SimilarityPairs:
        """STS-B test."""
        texts = sorted({text for first, second, _ in self._pairs for text in (first, second)})
        tokens = dict(zip(texts, self._tokens(texts)))
        texts.sort(key=lambda text: len(tokens[text]), reverse=True)
        place = {text: at for at, text in enumerate(texts)}
        firsts, seconds, scores = zip(*((place[first], place[second], score) for first, second, score in self._pairs))
        return SimilarityPairs([tokens[text] for text in texts], list(firsts), list(seconds), list(scores))

    def _tokens(self, texts: list[str]) -> Ids:
        return [encoding.ids for encoding in self._tokenizer.encode_batch(texts)]

    def _cut(self, texts: list[str], length: int, row_count: int) -> Ids:
        first, last = self._tokenizer.encode("").ids
        content = (token for text in texts for token in self._tokenizer.encode(text, add_special_tokens=False).ids)
        return [[first, *(next(content) for _ in range(length - 2)), last] for _ in range(row_count)]


def _json_lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
