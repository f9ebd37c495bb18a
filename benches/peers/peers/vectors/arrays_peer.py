"""Libraries that compute products or distances and leave the choice of the best to their caller: NumPy, PyTorch, numkong, SimSIMD.

Rows go block by block, so that no matrix of all scores has to be held; the best of a block are merged with the best so far.
"""

import importlib.metadata
from concurrent.futures import ThreadPoolExecutor

import numpy as np

BLOCK_ROWS = 65_536
# Scores of one step of a single thread of numkong's.
QUERIES_PER_STEP = 256


class Engine:
    def __init__(self, variant: str, threads: int):
        library, _, dtype = variant.partition("-")
        self.library = {"numpy": NumPy, "torch": Torch, "numkong": NumKong, "simsimd": SimSimd}[library](dtype, threads)
        self.settings = f"{threads} threads, {dtype} rows in blocks of {BLOCK_ROWS}"
        self.about = (library, importlib.metadata.version(library))

    def describe(self) -> dict:
        return {"engine": self.about[0], "version": self.about[1], "settings": f"{self.settings}, {self.library.settings}"}

    def load(self, rows: np.ndarray, metric: str) -> None:
        blocks = [np.ascontiguousarray(rows[start : start + BLOCK_ROWS]) for start in range(0, len(rows), BLOCK_ROWS)]
        self.library.metric = metric
        self.blocks = [self.library.block(block) for block in blocks]

    def search(self, queries: np.ndarray, k: int, tune: int | None) -> np.ndarray:
        asked = self.library.queries(queries)
        scores, places = [], []
        for number, block in enumerate(self.blocks):
            best, at = self.library.best(asked, block, k)
            scores.append(best)
            places.append(at + number * BLOCK_ROWS)
        scores, places = np.concatenate(scores, 1), np.concatenate(places, 1)
        order = np.argsort(-scores, 1, kind="stable")[:, :k]
        return np.take_along_axis(places, order, 1)

    def tiny(self, left: np.ndarray, right: np.ndarray) -> float:
        return self.library.cosine(left, right)

    def join(self, rows: np.ndarray, threshold: float) -> int:
        return self.library.join(rows, threshold)


def highest(scores: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The `k` highest of each row, in no order."""
    k = min(k, scores.shape[1])
    at = np.argpartition(scores, -k, 1)[:, -k:] if k < scores.shape[1] else np.broadcast_to(np.arange(k), scores.shape)
    return np.take_along_axis(scores, at, 1), at


class NumPy:
    """Products by the BLAS of NumPy's wheel; Euclidean distances by them, too."""

    settings = "OpenBLAS, argpartition"

    def __init__(self, dtype: str, threads: int):
        pass

    def block(self, rows: np.ndarray):
        return rows, None if self.metric == "cosine" else (rows * rows).sum(1)

    def queries(self, queries: np.ndarray) -> np.ndarray:
        return queries

    def best(self, queries: np.ndarray, block, k: int):
        rows, squares = block
        scores = queries @ rows.T
        return highest(scores if squares is None else 2 * scores - squares, k)

    def cosine(self, left: np.ndarray, right: np.ndarray) -> float:
        return float(left @ right / np.sqrt((left @ left) * (right @ right)))

    def join(self, rows: np.ndarray, threshold: float) -> int:
        pairs = sum(int((rows[start : start + 2048] @ rows.T >= threshold).sum()) for start in range(0, len(rows), 2048))
        return (pairs - len(rows)) // 2


class Torch:
    """Matrix products and `topk`."""

    settings = "matmul and topk"

    def __init__(self, dtype: str, threads: int):
        import torch

        torch.set_num_threads(threads)
        self.torch = torch
        self.dtype = {"bf16": torch.bfloat16, "f32": torch.float32}[dtype]

    def block(self, rows: np.ndarray):
        values = self.torch.from_numpy(rows)
        squares = None if self.metric == "cosine" else (values * values).sum(1)
        return values.to(self.dtype), squares

    def queries(self, queries: np.ndarray):
        return self.torch.from_numpy(queries).to(self.dtype)

    def best(self, queries, block, k: int):
        rows, squares = block
        with self.torch.inference_mode():
            scores = queries @ rows.T
            if squares is not None:
                scores = 2 * scores.float() - squares
            best, at = scores.topk(min(k, len(rows)), sorted=False)
        return best.float().numpy(), at.numpy()

    def cosine(self, left: np.ndarray, right: np.ndarray) -> float:
        with self.torch.inference_mode():
            return float(self.torch.nn.functional.cosine_similarity(self.torch.from_numpy(left), self.torch.from_numpy(right), dim=0))

    def join(self, rows: np.ndarray, threshold: float) -> int:
        with self.torch.inference_mode():
            values = self.torch.from_numpy(rows).to(self.dtype)
            pairs = sum(int((values[start : start + 2048] @ values.T >= threshold).sum()) for start in range(0, len(rows), 2048))
        return (pairs - len(rows)) // 2


class NumKong:
    """Packed products on tiles, the queries split over threads."""

    settings = "packed products, argpartition"

    def __init__(self, dtype: str, threads: int):
        import numkong

        self.nk, self.dtype, self.threads = numkong, dtype, threads
        self.pool = ThreadPoolExecutor(threads)

    def _converted(self, values: np.ndarray):
        tensor = self.nk.from_dlpack(np.ascontiguousarray(values))
        return tensor if self.dtype == "f32" else tensor.astype(self.dtype)

    def block(self, rows: np.ndarray):
        squares = None if self.metric == "cosine" else (rows * rows).sum(1)
        # The packed matrix is all that is kept; a single query runs over it, too.
        return self.nk.dots_pack(self._converted(rows), dtype=self.dtype), squares

    def queries(self, queries: np.ndarray):
        step = max(1, min(QUERIES_PER_STEP, -(-len(queries) // self.threads)))
        return [self._converted(queries[start : start + step]) for start in range(0, len(queries), step)]

    def best(self, queries, block, k: int):
        packed, squares = block

        def one(step):
            scores = np.asarray(self.nk.dots_packed(step, packed))
            return highest(scores if squares is None else 2 * scores - squares, k)

        found = list(self.pool.map(one, queries))
        return np.concatenate([best for best, _ in found]), np.concatenate([at for _, at in found])

    def cosine(self, left: np.ndarray, right: np.ndarray) -> float:
        return 1 - float(self.nk.angular(left, right))


class SimSimd:
    """Distances of all pairs."""

    settings = "cdist, argpartition"

    def __init__(self, dtype: str, threads: int):
        import simsimd

        self.simsimd, self.threads = simsimd, threads

    def block(self, rows: np.ndarray) -> np.ndarray:
        return rows

    def queries(self, queries: np.ndarray) -> np.ndarray:
        return queries

    def best(self, queries: np.ndarray, rows: np.ndarray, k: int):
        metric = "dot" if self.metric == "cosine" else "sqeuclidean"
        distances = np.asarray(self.simsimd.cdist(queries, rows, metric, threads=self.threads))
        return highest(distances if self.metric == "cosine" else -distances, k)

    def cosine(self, left: np.ndarray, right: np.ndarray) -> float:
        return 1 - float(self.simsimd.cosine(left, right))
