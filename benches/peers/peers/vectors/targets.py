"""The targets of vector computation, read off a record. Pure."""

from peers.gates import Gate

# Recall that a single query over codes has to keep, and a graph, and a batch.
CODES_RECALL, GRAPH_RECALL, BATCH_RECALL = 0.99, 0.95, 0.999
# A batch that claims f32-accurate scores finds the ids of 64-bit arithmetic but for ties.
EXACT_RECALL = 1.0
# Rows that no cache holds: only then is memory the limit of a single query.
BEYOND_CACHES = 500e6
SCALED = "on fewer rows than the target names"


def gates(record) -> list[Gate]:
    """All of them, those this run did not measure included."""
    found = []
    for section in record.sections:
        if section.name.startswith("synthetic") or section.name in ("minilm", "mnist"):
            found += _searches(section, record.peak)
    found += _computations(record)
    return found


def _searches(section, peak: dict) -> list[Gate]:
    found = []
    title = section.title
    note = "" if section.rows >= 1_000_000 else SCALED
    # The targets for batches are for large sets; small ones are held to them as well, and the note says so.
    for task, words, recall, gate, aim in (
        ("batch", "batch against FAISS flat", BATCH_RECALL, 8.0, 15.0),
        ("exact", "exact batch against FAISS flat", EXACT_RECALL, 3.0, 5.0),
    ):
        if task in section.tasks:
            ours = section.best(task, "tallow", recall)
            found.append(Gate(f"{title}, {words}", section.ratio(task, "faiss flat", ours), gate, aim, note=_recall(ours, recall, note)))
    if "single" in section.tasks and section.rows * section.dim * 4 >= BEYOND_CACHES:
        for peer, width in (("tallow set f32", "f32"), ("tallow set bf16", "bf16"), ("tallow top_k", "f32, rows of the task")):
            if ours := section.best("single", peer, None):
                share = section.bandwidth(ours) / peak["read_bytes_per_second"]
                words = f"{title}, one query, {width}, of the bandwidth"
                found.append(Gate(words, share, 0.85, 0.95, "%", note=_recall(ours, 0, "")))
    if "codes" in section.tasks:
        ours = section.best("codes", "tallow", CODES_RECALL)
        ratio = section.ratio("codes", "faiss flat", ours)
        found.append(Gate(f"{title}, one query over codes against FAISS flat", ratio, 4.0, 15.0, note=_recall(ours, CODES_RECALL, note)))
    if "graph" in section.tasks:
        ours, theirs = section.best("graph", "tallow", GRAPH_RECALL), section.best("graph", "hnswlib", GRAPH_RECALL)
        searched = theirs["median"] / ours["median"] if ours and theirs else None
        built = theirs["build_seconds"] / ours["build_seconds"] if ours and theirs else None
        found.append(Gate(f"{title}, graph search at recall 0.95 against hnswlib", searched, 1.0, 1.5, note=_recall(ours, GRAPH_RECALL, "")))
        found.append(Gate(f"{title}, graph build against hnswlib", built, 1.0, 1.5, note=_recall(ours, GRAPH_RECALL, "")))
    return found


def _computations(record) -> list[Gate]:
    found = []
    for task, words, peers, gate, aim in (
        ("kmeans", "k-means", ("faiss flat", "sklearn"), 4.0, 8.0),
        ("pca", "PCA", ("sklearn",), 2.0, 4.0),
        ("join", "all-pairs join, cosine of at least 0.9", ("faiss flat",), 6.0, 12.0),
    ):
        section = next((each for each in record.sections if task in each.tasks), None)
        for theirs in peers:
            if section is None:
                found.append(Gate(f"{words} against {theirs}", None, gate, aim))
                continue
            ours = section.best(task, "tallow", None)
            other = section.best(task, theirs, None)
            ratio = section.ratio(task, theirs, ours) if ours and other and _is_as_good(task, ours["accuracy"], other["accuracy"]) else None
            note = f"{section.notes.get(task, '')}; {_accuracies(task, ours, other)}" if ours and other else "not done by the worker, or by the peer"
            found.append(Gate(f"{words} against {theirs}", ratio, gate, aim, note=note))
    tiny = next((each for each in record.sections if "tiny" in each.tasks), None)
    ours = tiny.best("tiny", "tallow", None) if tiny else None
    found.append(Gate("cosine of two vectors of 384 by a submitted task, p50", ours["median"] * 1e6 if ours else None, 20.0, 5.0, "µs", True))
    measured = [section for section in record.sections if section.overhead is not None and section.rows >= 1_000_000]
    for section in measured:
        found.append(Gate(f"{section.title}, memory of a set beyond its rows and ids, a row", section.overhead, 24.0, 12.0, "bytes", True))
    if not measured:
        found.append(Gate("memory of a set beyond its rows and ids, a row", None, 24.0, 12.0, "bytes", True, "no set of a million rows was made"))
    return found


def _recall(ours: dict | None, wanted: float, note: str) -> str:
    if ours is None:
        return f"no setting of the worker's reaches recall {wanted}, or none was measured"
    words = [f"{ours['label']}, recall {ours['accuracy']:.4f}", note]
    return "; ".join(word for word in words if word)


def _is_as_good(task: str, ours: float, theirs: float) -> bool:
    """Speed counts only for as good an answer: inertia and pairs within 0.1 %, variance explained within 0.1 % of all."""
    if task == "kmeans":
        return ours <= theirs * 1.001
    if task == "pca":
        return ours >= theirs - 0.001
    return abs(ours - theirs) <= 0.001 * theirs


def _accuracies(task: str, ours: dict, theirs: dict) -> str:
    if not _is_as_good(task, ours["accuracy"], theirs["accuracy"]):
        return f"the worker's answer is not as good: {ours['accuracy']:.6g}, the peer's {theirs['accuracy']:.6g}"
    if task == "kmeans":
        return f"inertia {ours['accuracy'] / theirs['accuracy'] - 1:+.2%} of the peer's"
    if task == "pca":
        return f"variance explained {ours['accuracy']:.4%}, by the peer {theirs['accuracy']:.4%}"
    return f"pairs {ours['accuracy']:,.0f}, by the peer {theirs['accuracy']:,.0f}"
