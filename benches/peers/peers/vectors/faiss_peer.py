"""FAISS: flat, inverted lists, HNSW, 8-bit and RaBitQ codes refined by the full rows; k-means, PCA and range search."""

import math

import faiss
import numpy as np

EF_CONSTRUCTION = 200
NEIGHBOURS = 16


class Engine:
    def __init__(self, variant: str, threads: int):
        faiss.omp_set_num_threads(threads)
        self.variant = variant
        self.settings = f"{threads} threads, {faiss.get_compile_options().strip()}"

    def describe(self) -> dict:
        return {"engine": "FAISS", "version": faiss.__version__, "settings": self.settings}

    def load(self, rows: np.ndarray, metric: str) -> None:
        kind = faiss.METRIC_INNER_PRODUCT if metric == "cosine" else faiss.METRIC_L2
        count, dim = rows.shape
        make = getattr(self, f"_{self.variant}")
        self.index = make(dim, count, kind)
        if not self.index.is_trained:
            self.index.train(np.ascontiguousarray(rows))
        self.index.add(np.ascontiguousarray(rows))

    def _flat(self, dim: int, count: int, kind: int):
        return faiss.IndexFlat(dim, kind)

    def _ivf(self, dim: int, count: int, kind: int):
        lists = int(4 * math.sqrt(count))
        self.settings += f", {lists} lists"
        self.quantizer = faiss.IndexFlat(dim, kind)
        index = faiss.IndexIVFFlat(self.quantizer, dim, lists, kind)
        # More rows a list train it no better and longer.
        index.cp.max_points_per_centroid = 64
        return index

    def _hnsw(self, dim: int, count: int, kind: int):
        self.settings += f", M {NEIGHBOURS}, efConstruction {EF_CONSTRUCTION}"
        index = faiss.IndexHNSWFlat(dim, NEIGHBOURS, kind)
        index.hnsw.efConstruction = EF_CONSTRUCTION
        return index

    def _sq8(self, dim: int, count: int, kind: int):
        return self._refined(faiss.IndexScalarQuantizer(dim, faiss.ScalarQuantizer.QT_8bit, kind))

    def _rabitq(self, dim: int, count: int, kind: int):
        return self._refined(faiss.IndexRaBitQFastScan(dim, kind))

    def _refined(self, base):
        self.settings += ", rescored by f32 rows"
        self.base = base
        return faiss.IndexRefineFlat(base)

    def search(self, queries: np.ndarray, k: int, tune: int | None) -> np.ndarray:
        if self.variant == "hnsw":
            self.index.hnsw.efSearch = tune
        elif self.variant == "ivf":
            self.index.nprobe = tune
        elif tune is not None:
            self.index.k_factor = tune
        return self.index.search(queries, k)[1]

    def kmeans(self, rows: np.ndarray, k: int, iterations: int, seed: int) -> np.ndarray:
        # Every row takes part, as in the others.
        clusters = faiss.Kmeans(rows.shape[1], k, niter=iterations, nredo=1, seed=seed, max_points_per_centroid=len(rows), min_points_per_centroid=1)
        clusters.train(rows)
        return clusters.centroids

    def pca(self, rows: np.ndarray, components: int) -> np.ndarray:
        found = faiss.PCAMatrix(rows.shape[1], components)
        found.max_points_per_d = len(rows)
        found.train(rows)
        return faiss.vector_to_array(found.PCAMat).reshape(-1, rows.shape[1])[:components]

    def join(self, rows: np.ndarray, threshold: float) -> int:
        index = faiss.IndexFlatIP(rows.shape[1])
        index.add(rows)
        pairs = 0
        # By blocks, so that the answer fits into memory whatever the threshold admits.
        for start in range(0, len(rows), 8192):
            limits, _, _ = index.range_search(rows[start : start + 8192], np.nextafter(np.float32(threshold), np.float32(0)))
            pairs += int(limits[-1])
        return (pairs - len(rows)) // 2
