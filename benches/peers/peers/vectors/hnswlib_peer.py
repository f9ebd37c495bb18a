"""hnswlib, compiled for this processor."""

import importlib.metadata

import hnswlib
import numpy as np

EF_CONSTRUCTION = 200
NEIGHBOURS = 16


class Engine:
    def __init__(self, variant: str, threads: int):
        self.threads = threads

    def describe(self) -> dict:
        settings = f"{self.threads} threads, M {NEIGHBOURS}, ef_construction {EF_CONSTRUCTION}, compiled for this processor"
        return {"engine": "hnswlib", "version": importlib.metadata.version("hnswlib"), "settings": settings}

    def load(self, rows: np.ndarray, metric: str) -> None:
        self.index = hnswlib.Index(space="ip" if metric == "cosine" else "l2", dim=rows.shape[1])
        self.index.init_index(max_elements=len(rows), ef_construction=EF_CONSTRUCTION, M=NEIGHBOURS, random_seed=7)
        self.index.set_num_threads(self.threads)
        self.index.add_items(np.ascontiguousarray(rows))

    def search(self, queries: np.ndarray, k: int, tune: int | None) -> np.ndarray:
        self.index.set_ef(tune)
        return self.index.knn_query(queries, k)[0]
