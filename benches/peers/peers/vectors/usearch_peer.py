"""usearch: exact search over f32, bf16 and int8 rows, and HNSW."""

import ml_dtypes
import numpy as np
import usearch
from usearch.index import Index, MetricKind, search

EF_CONSTRUCTION = 200
NEIGHBOURS = 16


class Engine:
    def __init__(self, variant: str, threads: int):
        self.variant, self.threads = variant, threads
        self.settings = f"{threads} threads"

    def describe(self) -> dict:
        return {"engine": "usearch", "version": usearch.__version__, "settings": self.settings}

    def load(self, rows: np.ndarray, metric: str) -> None:
        self.metric = MetricKind.IP if metric == "cosine" else MetricKind.L2sq
        if self.variant == "hnsw":
            self.settings += f", bf16 rows, connectivity {NEIGHBOURS}, expansion_add {EF_CONSTRUCTION}"
            self.index = Index(ndim=rows.shape[1], metric=self.metric, dtype="bf16", connectivity=NEIGHBOURS, expansion_add=EF_CONSTRUCTION)
            self.index.add(np.arange(len(rows)), np.ascontiguousarray(rows), threads=self.threads)
            return
        # One scale for all rows, so that products of integers rank as those of the rows do.
        self.scale = 127 / np.abs(rows).max() if self.variant == "i8" else None
        self.rows = self._converted(rows)
        self.settings += f", exact search over {self.variant} rows"

    def _converted(self, values: np.ndarray) -> np.ndarray:
        if self.variant == "i8":
            return np.clip(np.rint(values * self.scale), -127, 127).astype(np.int8)
        if self.variant == "bf16":
            return values.astype(ml_dtypes.bfloat16).view(np.uint16)
        return values

    def search(self, queries: np.ndarray, k: int, tune: int | None) -> np.ndarray:
        if self.variant == "hnsw":
            self.index.expansion_search = tune
            return self.index.search(queries, k, threads=self.threads).keys
        dtype = {"f32": "f32", "bf16": "bf16", "i8": "i8"}[self.variant]
        return search(self.rows, self._converted(queries), k, self.metric, exact=True, threads=self.threads, dtype=dtype).keys
