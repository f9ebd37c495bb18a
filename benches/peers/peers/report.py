"""The record of a run over encoders: `encoders.json` with every pass, `encoders.md` with the tables, and one plot per model."""

from dataclasses import asdict, dataclass, field
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from peers import encoder_gates, gates, kept, machine
from peers.measure import Figures

OURS = "tallow"
WORKLOADS = ("uniform", "mixed", "sorted", "query")
TITLES = {
    "uniform": "rows of 128 tokens",
    "mixed": "mixed lengths as they arrive",
    "sorted": "mixed lengths, sorted",
    "query": "one query of 16 tokens",
}

# Tokens per second of MiniLM-L6 at 32 x 128 on two idle cores with AMX. A peer well below its own was disturbed, and its ratio counts for nothing.
ORIENTATION = {"torch f32": 8.8e3, "torch bf16": 25.3e3, "ort f32": 8.3e3, "ort int8": 17.3e3, "openvino f32": 10.1e3, "openvino bf16": 33.8e3}
ORIENTATION_SHARE = 0.9


@dataclass
class Section:
    """Everything measured on one model, at one level of instructions where `level` names it."""

    name: str
    title: str
    short_title: str
    layers: int
    hidden: int
    intermediate: int
    rounds: int
    level: str = ""
    figures: dict[str, dict[str, Figures]] = field(default_factory=dict)
    lengths: dict[str, list[int]] = field(default_factory=dict)
    spearman: dict[str, float] = field(default_factory=dict)
    orientation: dict[str, float] = field(default_factory=dict)
    workload_titles = TITLES

    def flops(self, workload: str) -> float:
        """Operations that the sequences' own tokens need: the projections, and attention by the square of each length. Padding is no work."""
        per_token = self.layers * 2 * (4 * self.hidden**2 + 2 * self.hidden * self.intermediate)
        return sum(length * per_token + self.layers * 4 * length**2 * self.hidden for length in self.lengths[workload])

    def ratio(self, workload: str, theirs: str, ours: str, our_workload: str | None = None) -> float | None:
        """How many times as fast as `theirs` is `ours`; None where either was not measured. Both workloads hold the same texts."""
        slow = self.figures.get(workload, {}).get(theirs)
        fast = self.figures.get(our_workload or workload, {}).get(ours)
        return slow.median / fast.median if slow and fast else None

    def share_of_peak(self, label: str, workload: str, peak: dict) -> float | None:
        """The arithmetic of a pass per second, of the tile peak of the precision that the label names: int8 or bf16 (f32 by bf16, too)."""
        figures = self.figures.get(workload, {}).get(label)
        limit = peak["tile_int8_ops"] if label.endswith("int8") else peak["tile_bf16_flops"]
        limit = peak["fma_f32_flops"] if self.level or limit is None else limit
        return self.flops(workload) / figures.median / limit if figures else None

    def orientation_share(self, label: str) -> float | None:
        """Of the figure that is known from idle machines."""
        figures = self.figures.get("uniform", {}).get(label)
        return figures.tokens_per_second / self.orientation[label] if figures and label in self.orientation else None

    @property
    def labels(self) -> list[str]:
        """All peers, in the order in which they were measured."""
        return list(dict.fromkeys(label for figures in self.figures.values() for label in figures))


@dataclass
class Record:
    """A run: the machine, what it reached by itself, who took part, and the models."""

    machine: dict
    options: dict
    probes: list[dict] = field(default_factory=list)
    products: list[dict] = field(default_factory=list)
    peers: dict[str, dict] = field(default_factory=dict)
    sections: list[Section] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    @property
    def peak(self) -> dict:
        """The best of each figure over the run's probes."""
        return machine.best(self.probes)

    def section(self, new: Section) -> Section:
        """The section of that name, added where it is not there yet."""
        known = next((each for each in self.sections if each.name == new.name), None)
        if known is None:
            self.sections.append(new)
        return known or new


def save(record: Record, out: Path) -> None:
    """Writes every pass so far into `out`, so that a run that is ended early leaves its figures; `load` reads them."""
    document = asdict(record) | {"peak": record.peak, "gates": gates.as_json(encoder_gates.gates(record))}
    kept.save(document, out / "encoders.json")


def load(out: Path, options: dict) -> Record | None:
    """The record that an earlier run with the same options left in `out`."""
    document = kept.load(out / "encoders.json", options)
    if document is None:
        return None
    fields = {name: document[name] for name in ("machine", "options", "probes", "products", "peers", "skipped")}
    return Record(**fields, sections=[_section(each) for each in document["sections"]])


def _section(document: dict) -> Section:
    figures = {name: {label: Figures(**each) for label, each in peers.items()} for name, peers in document["figures"].items()}
    return Section(**document | {"figures": figures})


def write(record: Record, out: Path) -> Path:
    """Writes all files into `out`; returns the Markdown's path."""
    save(record, out)
    plots = [plot(section, out / f"encoders-{section.name}.svg") for section in record.sections]
    path = out / "encoders.md"
    path.write_text("\n".join(_lines(record, plots)) + "\n")
    return path


def _lines(record: Record, plots: list[str]) -> list[str]:
    options = record.options
    lines = ["# Encoders side by side", "", *machine.lines(record.machine, record.peak, options), ""]
    lines += [
        "Medians over rounds in which every peer runs once, ± half the interquartile range. Tokens are the sequences' own, padding is not "
        "counted; *of peak* is their arithmetic as a share of the tile peak above, of int8 for int8 and of bf16 for all others (of f32 multiply-adds where "
        "the level of instructions has no tiles); cosines are to PyTorch f32 on the same tokens. `tallow` is the forward pass on token ids, as the peers "
        "get them; `tallow-task` a worker with default settings in process, texts in by submitted tasks; `tallow-http` texts in and base64 out through "
        "`tallow serve`. The last two tokenise, the peers do not. Peers make batches of 32 in the order given: padded as the rows arrive, or sorted.",
        "",
    ]
    lines += ["## Targets", "", *gates.table(encoder_gates.gates(record))]
    for section, image in zip(record.sections, plots):
        lines += ["", f"## {section.title}", "", f"{section.rounds} rounds.", "", *_figures_table(section, record.peak)]
        for workload in section.figures:
            lines += ["", f"How many times as fast as each peer, {TITLES[workload]}:", "", *_ratios_table(section, workload)]
        lines += ["", f"![{section.title}]({image})"]
        lines += _disturbed(section)
    lines += ["", "## Peers", "", "| peer | version | settings |", "| --- | --- | --- |"]
    lines += [f"| {label} | {about['engine']}: {about['version']} | {about['settings']} |" for label, about in record.peers.items()]
    if record.skipped:
        lines += ["", "Not measured, or left out when it failed:", "", *(f"* {why}" for why in record.skipped)]
    return lines


def _figures_table(section: Section, peak: dict) -> list[str]:
    lines = [
        "| peer | uniform, tok/s | of peak | mixed, tok/s | sorted, tok/s | query p50 / p99, ms | cosine min / mean | STS-B |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for label in section.labels:
        uniform, mixed, by_length, query = (section.figures.get(name, {}).get(label) for name in WORKLOADS)
        share = section.share_of_peak(label, "uniform", peak)
        # The workload on which the peer was least exact.
        cosine = min((figures[label] for figures in section.figures.values() if label in figures), key=lambda each: each.cosine_min)
        cells = [
            _rate(uniform),
            f"{share:.1%}" if share else "",
            _rate(mixed),
            _rate(by_length),
            f"{query.latency(50) * 1e3:.2f} / {query.latency(99) * 1e3:.2f}" if query else "",
            f"{cosine.cosine_min:.6f} / {cosine.cosine_mean:.6f}",
            f"{section.spearman[label]:.4f}" if label in section.spearman else "",
        ]
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    return lines


def _rate(figures: Figures | None) -> str:
    return f"{figures.tokens_per_second:,.0f} ± {figures.spread / 2:.0%}" if figures else ""


def _ratios_table(section: Section, workload: str) -> list[str]:
    ours = [label for label in section.figures[workload] if label.startswith(OURS)]
    lines = ["| against | " + " | ".join(ours) + " |", "| --- |" + " ---: |" * len(ours)]
    for label in section.figures[workload]:
        if label not in ours:
            lines.append(f"| {label} | " + " | ".join(f"{section.ratio(workload, label, our):.2f} ×" for our in ours) + " |")
    return lines


def _disturbed(section: Section) -> list[str]:
    """The peers that did not reach their orientation figure, as one paragraph."""
    shares = {label: section.orientation_share(label) for label in section.labels}
    low = [f"{label} ({share:.0%})" for label, share in shares.items() if share is not None and share < ORIENTATION_SHARE]
    if not low:
        return []
    return ["", f"Below {ORIENTATION_SHARE:.0%} of the figure known from idle machines of two AMX cores, so disturbed or another machine: {', '.join(low)}."]


def plot(section: Section, path: Path) -> str:
    """Throughputs and the query's median as bars, the worker's in their own colour; returns the file's name."""
    labels = section.labels[::-1]
    colours = ["tab:orange" if label.startswith(OURS) else "tab:blue" for label in labels]
    figure, axes = plt.subplots(1, len(section.figures), figsize=(16, 0.4 * len(labels) + 1.5), sharey=True, layout="constrained", squeeze=False)
    for axis, (name, figures) in zip(axes[0], section.figures.items()):
        is_query = name == "query"
        values = [_bar(figures.get(label), is_query) for label in labels]
        numbers = [f"{value:.3g}" if value else "not measured" for value in values]
        axis.bar_label(axis.barh(labels, values, color=colours), labels=numbers, padding=2, fontsize=8)
        axis.set_title(f"{TITLES[name]}, " + ("p50 ms (less is better)" if is_query else "thousand tok/s"), fontsize=9)
        axis.margins(x=0.15)
    figure.suptitle(section.title)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
    return path.name


def _bar(figures: Figures | None, is_query: bool) -> float:
    if figures is None:
        return 0.0
    return figures.median * 1e3 if is_query else figures.tokens_per_second / 1e3
