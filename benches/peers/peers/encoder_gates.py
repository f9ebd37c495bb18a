"""The targets of the encoders, read off a record. Pure."""

from peers.gates import Gate

# Ours, the peer of the same work, gate and aim, on rows of 128 tokens.
RATIOS = [
    ("bf16", "torch bf16", 4.0, 6.5),
    ("bf16", "openvino bf16", 3.0, 5.0),
    ("exact", "ort f32", 4.0, 6.0),
    ("exact", "openvino f32", 4.0, 6.0),
    ("exact", "torch f32", 4.0, 6.0),
    ("int8", "ort int8", 8.0, 14.0),
    ("int8", "openvino int8", 2.0, 4.0),
    ("auto", "candle f32", 20.0, 40.0),
]


def gates(record) -> list[Gate]:
    """All of them, those this run did not measure included."""
    found = _products(record)
    for section in record.sections:
        if section.level:
            found += _level(section)
        else:
            found += _section(section, record.peak)
    return found


def _products(record) -> list[Gate]:
    peak = record.peak["tile_bf16_flops_one"]
    if peak is None or not record.products:
        note = "the processor has no tiles for bf16" if peak is None else "the driver measured none"
        return [Gate("bf16 products, one core, of the tile peak", None, 0.6, 0.75, "%", note=note)]
    # A record made without the tiles has its peak from elsewhere, so every shape is named with its own share.
    shares = {tuple(each["shape"]): each["flops"] / peak for each in record.products}
    listed = ", ".join(f"{m} × {k} × {n}: {share:.0%}" for (m, k, n), share in shares.items())
    return [Gate("bf16 products, one core, of the tile peak, the least of the shapes", min(shares.values()), 0.6, 0.75, "%", note=listed)]


def _section(section, peak: dict) -> list[Gate]:
    title = section.short_title
    found = []
    if section.name == "minilm":
        note = "" if peak["tile_bf16_flops"] else "the processor has no tiles for bf16"
        share = section.share_of_peak("tallow bf16", "uniform", peak)
        found.append(Gate(f"{title}, forward pass, bf16, 128 tokens, of the tile peak", share, 0.45, 0.6, "%", note=note))
    for ours, theirs, gate, aim in RATIOS:
        ratio = section.ratio("uniform", theirs, f"tallow-task {ours}")
        found.append(Gate(f"{title}, `{ours}` task against {theirs}, 128 tokens", ratio, gate, aim, note=_notes(section, "uniform", theirs, ours)))
    for ours, theirs, _, _ in RATIOS:
        uniform = section.ratio("uniform", theirs, f"tallow-task {ours}")
        for workload, gate, aim, words in (("mixed", 1.3, 1.6, "mixed lengths as they arrive"), ("sorted", 1.0, 1.0, "mixed lengths, the peer sorts")):
            # Peers that sort are compared with the worker given the texts as they arrive: it needs no sorting.
            ratio = section.ratio(workload, theirs, f"tallow-task {ours}", "mixed")
            value = ratio / uniform if ratio and uniform else None
            note = f"{ratio:.2f} × in all" if ratio else ""
            found.append(Gate(f"{title}, `{ours}` task against {theirs}, {words}, over the uniform ratio", value, gate, aim, note=note))
    if section.name == "minilm":
        query = section.figures.get("query", {}).get("tallow-task bf16")
        note = f"p99 {query.latency(99) * 1e3:.2f} ms" if query else ""
        value = query.latency(50) * 1e3 if query else None
        found.append(Gate(f"{title}, one query of 16 tokens by a submitted task, bf16, p50", value, 1.0, 0.6, "ms", less_is_better=True, note=note))
    for ours in ("exact", "bf16", "int8"):
        for workload in ("uniform", "mixed"):
            share = section.ratio(workload, f"tallow {ours}", f"tallow-http {ours}")
            found.append(Gate(f"{title}, `{ours}` through HTTP, {workload}, of the forward pass alone", share, 0.75, 0.85, "%"))
    return found


def _notes(section, workload: str, theirs: str, ours: str) -> str:
    words = []
    if forward := section.ratio(workload, theirs, f"tallow {ours}"):
        words.append(f"forward pass alone {forward:.2f} ×")
    low = section.orientation_share(theirs)
    if low is not None and low < 0.9:
        words.append(f"the peer reached {low:.0%} of its figure on an idle machine")
    return "; ".join(words)


def _level(section) -> list[Gate]:
    found = []
    for theirs in ("torch f32", "ort f32"):
        for workload in section.figures:
            ratio = section.ratio(workload, theirs, "tallow-task exact")
            title = f"{section.short_title}, `exact` task against {theirs}, {section.workload_titles[workload]}"
            note = "held to the same level"
            if theirs.startswith("ort"):
                note = "ONNX Runtime has no switch and uses AVX-512, where the processor has it"
                if section.level == "avx2" and ratio:
                    # Not the same level, so no measure of the target.
                    note, ratio = f"{note}: {ratio:.2f} × by that", None
            found.append(Gate(title, ratio, 1.0, 1.2, note=note))
    return found
