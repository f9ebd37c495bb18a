"""A Python peer's side of the line protocol; `examples/peer_vectors` is the worker's. Arrays travel as `.npy` files, mapped and never copied by this file.

A peer's module makes an engine and gives it to `serve`. An engine has those of the methods below that it can do.
"""

import importlib
import os
import sys
import time
from typing import Protocol

import numpy as np

from peers.protocol import answer_lines


class Engine(Protocol):
    """What a peer's module makes: `Engine(variant, threads)`."""

    def load(self, rows: np.ndarray, metric: str) -> None:
        """Makes the rows ready to be searched. `cosine` rows and queries have unit length; `l2` is Euclidean."""

    def describe(self) -> dict:
        """`engine`, `version` and `settings`."""

    def search(self, queries: np.ndarray, k: int, tune: int | None) -> np.ndarray:
        """Row numbers `[queries, k]`, closest first."""

    def kmeans(self, rows: np.ndarray, k: int, iterations: int, seed: int) -> np.ndarray:
        """Centroids `[k, dim]`."""

    def pca(self, rows: np.ndarray, components: int) -> np.ndarray:
        """Unit directions `[components, dim]`."""

    def join(self, rows: np.ndarray, threshold: float) -> int:
        """Pairs of different rows whose dot product is at least `threshold`."""

    def tiny(self, left: np.ndarray, right: np.ndarray) -> float:
        """Their cosine."""


def resident_bytes() -> int:
    """Memory of this process that no file stands behind."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("RssAnon:"))


def timed(work) -> tuple[float, object]:
    """Seconds and the result."""
    started = time.perf_counter()
    found = work()
    return time.perf_counter() - started, found


class Server:
    def __init__(self, engine: Engine):
        self.engine = engine

    def answer(self, request: dict) -> dict:
        return getattr(self, f"_{request.pop('op')}")(**request)

    def _load(self, rows: str, metric: str) -> dict:
        data = np.load(rows, mmap_mode="r")
        before = resident_bytes()
        seconds, _ = timed(lambda: self.engine.load(data, metric))
        return self.engine.describe() | {"build_seconds": seconds, "bytes": max(0, resident_bytes() - before)}

    def _describe(self) -> dict:
        return self.engine.describe()

    def _search(self, queries: str, k: int, single: bool, repeat: int, out: str, tune: int | None = None) -> dict:
        values = np.load(queries)
        batches = [values[at : at + 1] for at in range(len(values))] if single else [values]
        seconds = []
        for _ in range(repeat):
            turns = [timed(lambda: self.engine.search(batch, k, tune)) for batch in batches]
            seconds += [each for each, _ in turns]
        np.save(out, np.concatenate([np.asarray(found, dtype=np.int64).reshape(-1, k) for _, found in turns]))
        return {"seconds": seconds}

    def _kmeans(self, rows: str, k: int, iterations: int, seed: int, out: str) -> dict:
        data = np.load(rows)
        seconds, centroids = timed(lambda: self.engine.kmeans(data, k, iterations, seed))
        np.save(out, np.asarray(centroids, dtype=np.float32))
        return {"seconds": [seconds]}

    def _pca(self, rows: str, components: int, out: str) -> dict:
        data = np.load(rows)
        seconds, found = timed(lambda: self.engine.pca(data, components))
        np.save(out, np.asarray(found, dtype=np.float32))
        return {"seconds": [seconds]}

    def _join(self, rows: str, threshold: float) -> dict:
        data = np.load(rows)
        seconds, pairs = timed(lambda: self.engine.join(data, threshold))
        return {"seconds": [seconds], "pairs": int(pairs)}

    def _tiny(self, repeat: int) -> dict:
        places = np.arange(384)
        left, right = (((places * step % 61) / 61 - 0.5).astype(np.float32) for step in (7, 11))
        return {"seconds": [timed(lambda: self.engine.tiny(left, right))[0] for _ in range(repeat)]}


def main(module: str, variant: str) -> None:
    """`python -m peers.vectors.serving MODULE VARIANT`, the threads in PEER_THREADS."""
    engine = importlib.import_module(f"peers.vectors.{module}").Engine(variant, int(os.environ["PEER_THREADS"]))
    answer_lines(Server(engine).answer)


if __name__ == "__main__":
    main(*sys.argv[1:])
