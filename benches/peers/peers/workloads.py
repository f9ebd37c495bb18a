"""What every peer computes: real texts, and their token ids made once by the model's own tokenizer."""

import csv
import json
import random
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Encoding, Tokenizer

from peers.protocol import Ids, Sequences

UNIFORM_TOKENS = 128
QUERY_TOKENS = 16
SEED = 7


@dataclass(frozen=True)
class Workload:
    """Sequences that are measured together."""

    name: str
    title: str
    sequences: Sequences


@dataclass(frozen=True)
class SimilarityPairs:
    """STS-B test: each distinct sentence, longest first, the pairs as places in them, and the people's scores."""

    sequences: Sequences
    firsts: list[int]
    seconds: list[int]
    scores: list[float]


class Texts:
    """SciFact's abstracts and queries and STS-B's test sentences in the tokens of one model."""

    def __init__(self, data: Path, model: Path):
        self._tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._tokens_max = json.loads((model / "sentence_bert_config.json").read_text())["max_seq_length"]
        self.abstracts = [f"{entry['title']} {entry['text']}" for entry in _json_lines(data / "scifact" / "corpus.jsonl")]
        self.questions = [entry["text"] for entry in _json_lines(data / "scifact" / "queries.jsonl")]
        with open(data / "stsbenchmark" / "sts-test.csv", newline="", encoding="utf-8") as file:
            rows = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
        self._pairs = [(row[5], row[6], float(row[4])) for row in rows]

    def uniform(self, row_count: int) -> Workload:
        """Rows of exactly `UNIFORM_TOKENS`, cut out of the abstracts one after the other."""
        return Workload("uniform", f"uniform {UNIFORM_TOKENS}", self._pieces(self.abstracts, UNIFORM_TOKENS, row_count))

    def mixed(self, row_count: int) -> Workload:
        """Abstracts and sentences in equal number, at their own lengths, in a seeded order of arrival."""
        half = row_count // 2
        texts = self.abstracts[:half] + [first for first, _, _ in self._pairs[: row_count - half]]
        random.Random(SEED).shuffle(texts)
        return Workload("mixed", "mixed, as they arrive", self.sequences(texts))

    def sorted_mixed(self, row_count: int) -> Workload:
        """The same as `mixed`, longest first."""
        mixed = self.mixed(row_count).sequences
        order = sorted(range(row_count), key=lambda at: len(mixed.ids[at]), reverse=True)
        return Workload("sorted", "mixed, sorted by length", Sequences([mixed.ids[at] for at in order], [mixed.texts[at] for at in order]))

    def queries(self, count: int) -> Workload:
        """Single queries of exactly `QUERY_TOKENS`."""
        return Workload("query", f"one query of {QUERY_TOKENS} tokens", self._pieces(self.questions, QUERY_TOKENS, count))

    def calibration(self, row_count: int) -> Ids:
        """Abstracts that no workload measures."""
        return self.sequences(self.abstracts[-row_count:]).ids

    def similarity_pairs(self) -> SimilarityPairs:
        """STS-B test."""
        texts = sorted({text for first, second, _ in self._pairs for text in (first, second)})
        found = self.sequences(texts)
        order = sorted(range(len(texts)), key=lambda at: len(found.ids[at]), reverse=True)
        place = {texts[at]: new for new, at in enumerate(order)}
        firsts, seconds, scores = zip(*((place[first], place[second], score) for first, second, score in self._pairs))
        return SimilarityPairs(
            Sequences([found.ids[at] for at in order], [found.texts[at] for at in order]), list(firsts), list(seconds), list(scores)
        )

    def sequences(self, texts: list[str]) -> Sequences:
        """The texts, those that are too long for the model cut after a word, and their tokens: what a tokeniser makes of a cut text is the same."""
        found = [self._shortened(text, encoding) for text, encoding in zip(texts, self._tokenizer.encode_batch(texts))]
        return Sequences([encoding.ids for _, encoding in found], [text for text, _ in found])

    def _shortened(self, text: str, encoding: Encoding) -> tuple[str, Encoding]:
        if len(encoding.ids) <= self._tokens_max:
            return text, encoding
        # The last token that is kept and one for the end of the sequence; a word that goes on behind it is left out whole.
        last = self._tokens_max - 2
        while last > 1 and encoding.word_ids[last] == encoding.word_ids[last + 1]:
            last -= 1
        text = text[: encoding.offsets[last][1]]
        return text, self._tokenizer.encode(text)

    def _pieces(self, texts: list[str], length: int, count: int) -> Sequences:
        """Stretches of whole words that are exactly `length` tokens with the two special ones."""
        ids, pieces = [], []
        for text in texts:
            encoding = self._tokenizer.encode(text, add_special_tokens=False)
            words, start = encoding.word_ids, 0
            while start + length - 2 <= len(words) and len(ids) < count:
                end = start + length - 2
                piece = text[encoding.offsets[start][0] : encoding.offsets[end - 1][1]]
                found = self._tokenizer.encode(piece).ids
                ends_a_word = end == len(words) or words[end] != words[end - 1]
                if ends_a_word and found[1:-1] == encoding.ids[start:end]:
                    ids.append(found)
                    pieces.append(piece)
                    start = end
                else:
                    start = next((at for at in range(start + 1, len(words)) if words[at] != words[start]), len(words))
        if len(ids) < count:
            raise ValueError(f"the texts have only {len(ids)} stretches of {length} tokens; {count} are needed")
        return Sequences(ids, pieces)


def _json_lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
