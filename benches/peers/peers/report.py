"""The record of a run: `encoders.json` with every pass, `encoders.md` with the tables, and one plot per model."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from peers.measure import Figures

OURS = "tallow"
THROUGHPUTS = ("uniform", "mixed", "sorted")

# Tokens per second of MiniLM-L6 at 32 x 128 on two idle cores with AMX. A peer well below its own was disturbed, and its ratio counts for nothing.
ORIENTATION = {"torch f32": 8.8e3, "torch bf16": 25.3e3, "ort f32": 8.3e3, "ort int8": 17.3e3, "openvino f32": 10.1e3, "openvino bf16": 33.8e3}
ORIENTATION_SHARE = 0.9


@dataclass
class ModelRecord:
    """Everything measured on one model."""

    name: str
    title: str
    layers: int
    hidden: int
    intermediate: int
    figures: dict[str, dict[str, Figures]] = field(default_factory=dict)
    lengths: dict[str, list[int]] = field(default_factory=dict)
    spearman: dict[str, float] = field(default_factory=dict)
    orientation: dict[str, float] = field(default_factory=dict)

    def flops(self, workload: str) -> float:
        """Operations that the sequences' own tokens need: the projections, and attention by the square of each length. Padding is no work."""
        per_token = self.layers * 2 * (4 * self.hidden**2 + 2 * self.hidden * self.intermediate)
        return sum(length * per_token + self.layers * 4 * length**2 * self.hidden for length in self.lengths[workload])


@dataclass
class Record:
    """A run: the machine, what it reached by itself, who took part, and the models."""

    machine: dict
    probes: list[dict]
    peers: dict[str, dict]
    options: dict
    models: list[ModelRecord] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    @property
    def peak(self) -> dict:
        """The best of each figure over the run's probes."""
        return {name: max(probe[name] for probe in self.probes) for name in self.probes[0]}


def save(record: Record, out: Path) -> None:
    """Writes every pass so far into `out`, so that a run that is ended early leaves its figures."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "encoders.json").write_text(json.dumps(asdict(record) | {"peak": record.peak}, indent=1))


def write(record: Record, out: Path) -> Path:
    """Writes all files into `out`; returns the Markdown's path."""
    save(record, out)
    plots = [plot(model, out / f"encoders-{model.name}.png") for model in record.models]
    path = out / "encoders.md"
    path.write_text("\n".join(_lines(record, plots)) + "\n")
    return path


def _lines(record: Record, plots: list[str]) -> list[str]:
    peak = record.peak
    machine = record.machine
    options = record.options
    lines = [
        "# Encoders side by side",
        "",
        f"{machine['cpu']}, {machine['cores']} cores, {machine['isa']}; {machine['system']}; {machine['date']}. "
        f"Load average {machine['load_before']:.1f} at the start, {machine['load_after']:.1f} at the end.",
        "",
        f"Reached by this machine in the same session with {options['threads']} threads: {peak['bf16_flops'] / 1e12:.2f} TFLOP/s bf16 and "
        f"{peak['f32_flops'] / 1e12:.2f} TFLOP/s f32 (square products by oneDNN), {peak['read_bytes_per_second'] / 1e9:.1f} GB/s read.",
        "",
        f"Medians over {options['rounds']} rounds in which every peer runs once, ± half the interquartile range. Tokens are the sequences' own, padding is not "
        "counted; *of peak* is their arithmetic as a share of the bf16 peak above; cosines are to PyTorch f32 on the same tokens.",
    ]
    for model, image in zip(record.models, plots):
        lines += ["", f"## {model.title}", "", *_figures_table(model, peak["bf16_flops"])]
        lines += ["", *_ratios_table(model), "", f"![{model.title}]({image})"]
        lines += _disturbed(model)
    lines += ["", "## Peers", "", "| peer | version | settings |", "| --- | --- | --- |"]
    lines += [f"| {label} | {about['engine']}: {about['version']} | {about['settings']} |" for label, about in record.peers.items()]
    if record.skipped:
        lines += ["", "Not measured:", "", *(f"* {why}" for why in record.skipped)]
    return lines


def _figures_table(model: ModelRecord, peak_flops: float) -> list[str]:
    lines = [
        "| peer | uniform, tok/s | of peak | mixed, tok/s | sorted, tok/s | query p50 / p99, ms | cosine min / mean | STS-B |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for label in model.figures["uniform"]:
        uniform, mixed, by_length, query = (model.figures[name][label] for name in (*THROUGHPUTS, "query"))
        share = model.flops("uniform") / uniform.tokens * uniform.tokens_per_second / peak_flops
        # The workload on which the peer was least exact.
        cosine = min((figures[label] for figures in model.figures.values()), key=lambda each: each.cosine_min)
        spearman = f"{model.spearman[label]:.4f}" if label in model.spearman else ""
        lines.append(
            f"| {label} | {_rate(uniform)} | {share:.1%} | {_rate(mixed)} | {_rate(by_length)} "
            f"| {query.latency(50) * 1e3:.2f} / {query.latency(99) * 1e3:.2f} | {cosine.cosine_min:.6f} / {cosine.cosine_mean:.6f} | {spearman} |"
        )
    return lines


def _rate(figures: Figures) -> str:
    return f"{figures.tokens_per_second:,.0f} ± {figures.spread / 2:.0%}"


def _ratios_table(model: ModelRecord) -> list[str]:
    """How many times as fast as each peer the worker is, per precision of the worker."""
    labels = list(model.figures["uniform"])
    ours = [label for label in labels if label.startswith(f"{OURS} ")]
    if not ours:
        return []
    names = (*THROUGHPUTS, "query")
    lines = [
        "| " + " | ".join(["against", *(f"{label}: {name}" for label in ours for name in names)]) + " |",
        "| --- |" + " ---: |" * (len(ours) * len(names)),
    ]
    for label in labels:
        if label not in ours:
            ratios = (model.figures[name][label].latency(50) / model.figures[name][our].latency(50) for our in ours for name in names)
            lines.append(f"| {label} | " + " | ".join(f"{ratio:.2f} ×" for ratio in ratios) + " |")
    return lines


def _disturbed(model: ModelRecord) -> list[str]:
    """The peers that did not reach their orientation figure, as one paragraph."""
    shares = {label: model.figures["uniform"][label].tokens_per_second / rate for label, rate in model.orientation.items() if label in model.figures["uniform"]}
    low = [f"{label} ({share:.0%})" for label, share in shares.items() if share < ORIENTATION_SHARE]
    if not low:
        return []
    return ["", f"Below {ORIENTATION_SHARE:.0%} of the figure known from idle machines of two AMX cores, so disturbed or another machine: {', '.join(low)}."]


def plot(model: ModelRecord, path: Path) -> str:
    """Throughputs and the query's median as bars, the worker's in their own colour; returns the file's name."""
    labels = list(model.figures["uniform"])[::-1]
    colours = ["tab:orange" if label.startswith(f"{OURS} ") else "tab:blue" for label in labels]
    panels = {
        "uniform, thousand tok/s": [model.figures["uniform"][label].tokens_per_second / 1e3 for label in labels],
        "mixed as they arrive, thousand tok/s": [model.figures["mixed"][label].tokens_per_second / 1e3 for label in labels],
        "mixed by length, thousand tok/s": [model.figures["sorted"][label].tokens_per_second / 1e3 for label in labels],
        "one query, p50 ms (less is better)": [model.figures["query"][label].latency(50) * 1e3 for label in labels],
    }
    figure, axes = plt.subplots(1, len(panels), figsize=(16, 0.4 * len(labels) + 1.5), sharey=True, layout="constrained")
    for axis, (title, values) in zip(axes, panels.items()):
        axis.bar_label(axis.barh(labels, values, color=colours), fmt="%.3g", padding=2, fontsize=8)
        axis.set_title(title, fontsize=9)
        axis.margins(x=0.15)
    figure.suptitle(model.title)
    figure.savefig(path, dpi=120)
    plt.close(figure)
    return path.name
