"""Who takes part in what: each task of the comparison with its peers and their settings. The one table of them."""

from dataclasses import dataclass

# What searches are given to weigh recall against speed: lists to look at, size of the queue, candidates per wanted row.
IVF_PROBES = [4, 8, 16, 32, 64, 128]
HNSW_QUEUES = [16, 32, 64, 128, 256, 512]
RESCORED = [1, 2, 4, 8, 16, 32]
OVERSAMPLED = [1, 2, 4, 8]


@dataclass(frozen=True)
class Contender:
    """A peer: the module behind `serving`, or `tallow`; its variant; and the settings its searches are tried with."""

    module: str
    variant: str
    tunes: tuple = (None,)
    # Bytes it holds per byte of f32 rows, to know beforehand whether memory is left for it.
    weight: float = 1.0

    @property
    def label(self) -> str:
        words = self.variant.replace("-", " ")
        return words if self.module == "arrays" else f"{self.module} {words}".strip()


FLAT = Contender("faiss", "flat")
NUMPY = Contender("arrays", "numpy-f32", weight=1.0)
ARRAYS = [
    NUMPY,
    Contender("arrays", "torch-f32", weight=1.0),
    Contender("arrays", "torch-bf16", weight=0.5),
    Contender("arrays", "numkong-bf16", weight=0.6),
    Contender("arrays", "simsimd-f32", weight=1.0),
]
USEARCH = [Contender("usearch", "f32", weight=0.0), Contender("usearch", "bf16", weight=0.5)]
USEARCH_INT8 = Contender("usearch", "i8", weight=0.25)
IVF = Contender("faiss", "ivf", tuple(IVF_PROBES), 1.1)
GRAPHS = [
    Contender("hnswlib", "", tuple(HNSW_QUEUES), 1.3),
    Contender("faiss", "hnsw", tuple(HNSW_QUEUES), 1.3),
    Contender("usearch", "hnsw", tuple(HNSW_QUEUES), 0.8),
]
CODES = [Contender("faiss", "sq8", tuple(RESCORED[:3]), 1.3), Contender("faiss", "rabitq", tuple(RESCORED), 1.1)]
SKLEARN = Contender("sklearn", "")


TOP_K = Contender("tallow", "top_k", weight=1.1)
SET_F32 = Contender("tallow", "set-f32", weight=1.2)
SET_BF16 = Contender("tallow", "set-bf16", weight=0.7)
SET_INT8 = Contender("tallow", "set-int8", weight=0.4)
# Exact by the bounds of the sketch, and fast ones that trust it.
SET_SKETCHED = Contender("tallow", "set-sketched", weight=1.4)
SET_FAST = Contender("tallow", "set-sketched", (None, *OVERSAMPLED), 1.4)
# What a task takes as a part; larger sets are searched as resident ones alone.
PART_VALUES_MAX = 1 << 28


@dataclass(frozen=True)
class SearchTask:
    """A search that is compared: of all queries at once, or of one after the other."""

    name: str
    title: str
    single: bool
    peers: tuple
    # The recall that a peer's setting has to reach to be the one in the table.
    recall: float


def searches(values: int, approximate: bool) -> list[SearchTask]:
    """The searches of a data set of so many numbers; graphs are built only where `approximate`. Who comes first is given memory first."""
    part = (TOP_K,) if values <= PART_VALUES_MAX else ()
    graph = SearchTask("graph", "batch over a graph, k 10", False, (FLAT, Contender("tallow", "set-hnsw"), *GRAPHS), 0.95)
    return [
        SearchTask("batch", "batch of all queries, k 10", False, (FLAT, *part, SET_BF16, SET_FAST, *USEARCH, *ARRAYS, IVF), 0.999),
        SearchTask("exact", "batch of all queries, k 10, scores exact to f32", False, (FLAT, *part, SET_F32, SET_SKETCHED), 1.0),
        SearchTask("single", "one query, k 10", True, (FLAT, *part, SET_F32, SET_BF16, *USEARCH, *ARRAYS), 0.99),
        SearchTask("codes", "one query over int8 or 1 bit, rescored, k 10", True, (FLAT, SET_INT8, SET_FAST, *CODES, USEARCH_INT8), 0.99),
        *([graph] if approximate else []),
    ]


# The worker's computations take the rows as a part.
CLUSTERING = [Contender("faiss", "flat", weight=2.0), SKLEARN, TOP_K]
COMPONENTS = CLUSTERING
JOINING = [FLAT, NUMPY, Contender("arrays", "torch-bf16"), TOP_K]
TINY = [NUMPY, Contender("arrays", "torch-f32"), Contender("arrays", "numkong-f32"), Contender("arrays", "simsimd-f32"), TOP_K]
