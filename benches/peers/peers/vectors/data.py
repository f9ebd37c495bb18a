"""The rows and queries of the comparison, made once and kept under the output folder as `.npy`, with the exact answers beside them."""

import gzip
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from peers import tallow_peer
from peers.protocol import Peer, Process, Sequences
from peers.workloads import Texts

SEED = 7
K = 10
QUERIES = 1000
BOOKS = ("war-and-peace/war-and-peace.txt", "sherlock/sherlock-holmes-huge-ascii.txt", "tinyshakespeare/input.txt")
PASSAGE_CHARACTERS = 600
# The synthetic rows lie around seeded centres in a space of fewer dimensions, as learnt vectors do, with noise in all of them.
CENTRES = 2000
LATENT = 48
BLOCK_ROWS = 50_000


@dataclass(frozen=True)
class Dataset:
    """Rows, queries, and how they are compared: `cosine` (all of unit length) or `l2`."""

    name: str
    title: str
    metric: str
    folder: Path

    @property
    def rows(self) -> Path:
        return self.folder / "rows.npy"

    @property
    def queries(self) -> Path:
        return self.folder / "queries.npy"

    @property
    def shape(self) -> tuple[int, int]:
        return np.load(self.rows, mmap_mode="r").shape

    def few_queries(self, count: int) -> Path:
        """The first `count` queries in a file of their own."""
        path = self.folder / f"queries-{count}.npy"
        _once(path, lambda: np.load(self.queries)[:count])
        return path

    def head(self, count: int) -> Path:
        """The first `count` rows in a file of their own."""
        if count >= self.shape[0]:
            return self.rows
        path = self.folder / f"rows-{count}.npy"
        _once(path, lambda: np.load(self.rows, mmap_mode="r")[:count])
        return path

    def exact(self) -> tuple[np.ndarray, np.ndarray]:
        """The rows closest to each query by 64-bit arithmetic, and their scores, greater is closer: `[queries, K]` each."""
        places, scores = self.folder / "exact-places.npy", self.folder / "exact-scores.npy"
        if not scores.exists():
            found = closest(np.load(self.rows, mmap_mode="r"), np.load(self.queries), self.metric)
            np.save(places, found[0])
            np.save(scores, found[1])
        return np.load(places), np.load(scores)

    def recall(self, found: np.ndarray) -> float:
        """The share of the closest rows that was found; a row that is as close as the last of them but for 1e-6 counts."""
        places, scores = self.exact()
        places, scores = places[: len(found)], scores[: len(found)]
        # A row that is named twice counts once.
        good = 0
        strangers = []
        for at, (row, truth) in enumerate(zip(found, places)):
            known = set(truth.tolist())
            for place in dict.fromkeys(row.tolist()):
                if place in known:
                    good += 1
                elif place >= 0:
                    strangers.append((at, place))
        if strangers:
            at, place = map(np.array, zip(*strangers))
            rows = np.load(self.rows, mmap_mode="r")[place].astype(np.float64)
            queries = np.load(self.queries)[at].astype(np.float64)
            reached = (rows * queries).sum(1) if self.metric == "cosine" else -np.sqrt(((rows - queries) ** 2).sum(1))
            good += int((reached >= scores[at, -1] - 1e-6).sum())
        return good / places.size


def closest(rows: np.ndarray, queries: np.ndarray, metric: str) -> tuple[np.ndarray, np.ndarray]:
    """The `K` closest rows of each query and their scores, in 64-bit arithmetic; equal ones by their number."""
    queries = queries.astype(np.float64)
    best = (np.full((len(queries), 0), 0, dtype=np.int64), np.zeros((len(queries), 0)))
    for start in range(0, len(rows), BLOCK_ROWS):
        block = rows[start : start + BLOCK_ROWS].astype(np.float64)
        scores = queries @ block.T
        if metric == "l2":
            scores = -np.sqrt(np.maximum(0, (queries**2).sum(1)[:, None] + (block**2).sum(1) - 2 * scores))
        at = np.argpartition(scores, -K, 1)[:, -K:]
        places = np.concatenate([best[0], at + start], 1)
        scores = np.concatenate([best[1], np.take_along_axis(scores, at, 1)], 1)
        order = np.lexsort((places, -scores), 1)[:, :K]
        best = np.take_along_axis(places, order, 1), np.take_along_axis(scores, order, 1)
    return best


def minilm(out: Path, data: Path, model: Path, driver: Path, threads: int) -> Dataset:
    """MiniLM's vectors of SciFact's abstracts and of passages of books, asked by SciFact's queries; embedded by the worker."""
    made = Dataset("minilm", "MiniLM vectors of SciFact and books", "cosine", _folder(out, "minilm"))
    if made.queries.exists() and made.rows.exists():
        return made
    texts = Texts(data, model)
    passages = [passage for book in BOOKS for passage in _passages((data / book).read_text(encoding="utf-8", errors="replace"))]
    peer = Peer("tallow", "exact", Process("tallow exact", tallow_peer.command(driver, "tallow", threads), threads))
    try:
        peer.load(str(model))
        vectors = _embedded(peer, texts.sequences(texts.abstracts + passages))
        queries = _embedded(peer, texts.sequences(texts.questions[:QUERIES]))
    finally:
        peer.close()
    # A passage that a book repeats is there once.
    _, first = np.unique(vectors, axis=0, return_index=True)
    np.save(made.rows, vectors[np.sort(first)])
    np.save(made.queries, queries)
    return made


def _embedded(peer: Peer, sequences: Sequences) -> np.ndarray:
    parts = []
    for start in range(0, len(sequences.ids), 2048):
        _, vectors = peer.run(Sequences(sequences.ids[start : start + 2048], sequences.texts[start : start + 2048]))
        parts.append(vectors)
    return np.concatenate(parts)


def _passages(text: str) -> list[str]:
    """Sentences put together up to `PASSAGE_CHARACTERS`."""
    passages, current = [], ""
    for sentence in re.split(r"(?<=[.!?])\s+", re.sub(r"\s+", " ", text)):
        if current and len(current) + len(sentence) > PASSAGE_CHARACTERS:
            passages.append(current)
            current = ""
        current = f"{current} {sentence}".strip()
    return passages + [current] if current else passages


def mnist(out: Path, data: Path) -> Dataset:
    """The 10,000 test images of MNIST; the queries are every tenth of them moved by one pixel, Euclidean."""
    made = Dataset("mnist", "MNIST test images", "l2", _folder(out, "mnist"))
    if not (made.rows.exists() and made.queries.exists()):
        with gzip.open(data / "mnist-t10k" / "t10k-images-idx3-ubyte.gz") as file:
            images = np.frombuffer(file.read(), dtype=np.uint8, offset=16).reshape(-1, 28, 28)
        np.save(made.rows, images.reshape(-1, 784).astype(np.float32))
        np.save(made.queries, np.roll(images[:: len(images) // QUERIES][:QUERIES], 1, axis=2).reshape(-1, 784).astype(np.float32))
    return made


def synthetic_name(rows: int, dim: int) -> str:
    """`synthetic-200k-384`."""
    return f"synthetic-{f'{rows // 1_000_000}m' if rows % 1_000_000 == 0 else f'{rows // 1000}k'}-{dim}"


def synthetic(out: Path, rows: int, dim: int) -> Dataset:
    """Seeded rows of unit length, and queries of the same kind."""
    name = synthetic_name(rows, dim)
    made = Dataset(name, f"synthetic, {rows:,} × {dim}", "cosine", _folder(out, name))
    if made.queries.exists() and made.rows.exists():
        return made
    random = np.random.default_rng(SEED)
    centres = random.standard_normal((CENTRES, LATENT), dtype=np.float32)
    spread = random.standard_normal((LATENT, dim), dtype=np.float32)

    def draw(count: int) -> np.ndarray:
        latent = centres[random.integers(0, CENTRES, count)] + 0.6 * random.standard_normal((count, LATENT), dtype=np.float32)
        values = latent @ spread + 2.0 * random.standard_normal((count, dim), dtype=np.float32)
        # One in fifty is nearly the row before it, so that there is something to join.
        near = values[49::50]
        near[:] = values[48::50][: len(near)] + 2.0 * random.standard_normal(near.shape, dtype=np.float32)
        return values / np.linalg.norm(values, axis=1, keepdims=True)

    np.save(made.queries, draw(QUERIES))
    # Block by block into the file: a million rows are never in memory twice.
    stored = np.lib.format.open_memmap(made.rows.with_suffix(".part"), mode="w+", dtype=np.float32, shape=(rows, dim))
    for start in range(0, rows, BLOCK_ROWS):
        stored[start : start + BLOCK_ROWS] = draw(min(BLOCK_ROWS, rows - start))
    stored.flush()
    del stored
    made.rows.with_suffix(".part").rename(made.rows)
    return made


def inertia(rows: np.ndarray, centroids: np.ndarray) -> float:
    """The sum of squared distances of the rows to their nearest centroids."""
    total = 0.0
    squares = (centroids.astype(np.float64) ** 2).sum(1)
    for start in range(0, len(rows), BLOCK_ROWS):
        block = np.asarray(rows[start : start + BLOCK_ROWS])
        nearest = (squares - 2.0 * (block @ centroids.T)).argmin(1)
        total += float(((block.astype(np.float64) - centroids[nearest]) ** 2).sum())
    return total


def explained(rows: np.ndarray, components: np.ndarray) -> float:
    """The share of the rows' variance along the components, which are made orthonormal first."""
    basis = np.linalg.qr(components.astype(np.float64).T)[0]
    covariance = np.zeros((rows.shape[1], rows.shape[1]))
    mean = np.mean(rows, axis=0, dtype=np.float64)
    for start in range(0, len(rows), BLOCK_ROWS):
        block = rows[start : start + BLOCK_ROWS].astype(np.float64) - mean
        covariance += block.T @ block
    return float(np.trace(basis.T @ covariance @ basis) / np.trace(covariance))


def _folder(out: Path, name: str) -> Path:
    folder = out / "vectors" / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _once(path: Path, make) -> None:
    if not path.exists():
        np.save(path, make())


def about(dataset: Dataset) -> dict:
    """For the record."""
    rows, dim = dataset.shape
    return {"name": dataset.name, "title": dataset.title, "metric": dataset.metric, "rows": rows, "dim": dim}
