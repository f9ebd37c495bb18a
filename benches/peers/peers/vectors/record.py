"""The record of a run over vectors: `vectors.json` with every time, `vectors.md` with the tables, and plots of recall against speed."""

import statistics
from dataclasses import asdict, dataclass, field
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from peers import gates, kept, machine
from peers.vectors import targets

OURS = "tallow"
SEARCHES = ("batch", "exact", "single", "codes", "graph")
TITLES = {
    "batch": "All queries at once, k 10",
    "exact": "All queries at once, k 10, scores as exact as f32",
    "single": "One query, k 10",
    "codes": "One query over int8 or 1 bit, rescored, k 10",
    "graph": "All queries at once over a graph, k 10",
    "kmeans": "k-means",
    "pca": "PCA",
    "join": "All-pairs join",
    "tiny": "Cosine of two vectors of 384 numbers",
}
ACCURACIES = {"kmeans": "inertia", "pca": "variance explained", "join": "pairs", "tiny": ""}
# Bytes of a value that a query looks at first, by a word of the peer's label; 4 for all others.
WIDTHS = {"bf16": 2, "i8": 1, "int8": 1, "sq8": 1, "sketched": 1, "rabitq": 1 / 8}


@dataclass
class Section:
    """Everything measured on one data set: the rows of each task's table, as `compare.Row` has them, with their median."""

    name: str
    title: str
    metric: str
    rows: int
    dim: int
    tasks: dict[str, list[dict]] = field(default_factory=dict)
    recalls: dict[str, float] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    # Bytes of a set beyond rows and ids, a row.
    overhead: float | None = None

    def add(self, task: str, rows: list[dict], recall: float | None = None, note: str = "") -> None:
        for row in rows:
            row["median"] = statistics.median(row["seconds"])
        self.tasks[task] = rows
        self.notes[task] = note
        if recall is not None:
            self.recalls[task] = recall

    def best(self, task: str, peer: str, recall: float | None) -> dict | None:
        """The peer's fastest row that reaches the recall; `peer` is how its label begins."""
        rows = [row for row in self.tasks.get(task, []) if row["label"].startswith(peer)]
        rows = [row for row in rows if recall is None or row["accuracy"] >= recall]
        return min(rows, key=lambda row: row["median"], default=None)

    def ratio(self, task: str, theirs: str, ours: dict | None) -> float | None:
        """How many times as fast as `theirs` is `ours`."""
        other = self.best(task, theirs, None)
        return other["median"] / ours["median"] if ours and other else None

    def bandwidth(self, row: dict) -> float:
        """Bytes of all rows, in the width that the peer looks at first, per second of a query."""
        width = next((each for word, each in WIDTHS.items() if word in row["label"]), 4)
        return self.rows * self.dim * width / row["median"]


@dataclass
class Record:
    """A run: the machine, what it reached by itself, who took part, and the data sets."""

    machine: dict
    options: dict
    probes: list[dict] = field(default_factory=list)
    peers: dict[str, dict] = field(default_factory=dict)
    sections: list[Section] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    @property
    def peak(self) -> dict:
        return machine.best(self.probes)

    def section(self, about: dict) -> Section:
        """The section of that data set, added where it is not there yet."""
        known = next((each for each in self.sections if each.name == about["name"]), None)
        if known is None:
            known = Section(**about)
            self.sections.append(known)
        return known

    def note(self, why: str) -> None:
        if why not in self.skipped:
            self.skipped.append(why)


def save(record: Record, out: Path) -> None:
    """Writes all that is known so far into `out`; `load` reads it."""
    document = asdict(record) | {"peak": record.peak, "gates": gates.as_json(targets.gates(record))}
    kept.save(document, out / "vectors.json")


def load(out: Path, options: dict) -> Record | None:
    """The record that an earlier run with the same options left in `out`."""
    document = kept.load(out / "vectors.json", options)
    if document is None:
        return None
    fields = {name: document[name] for name in ("machine", "options", "probes", "peers", "skipped")}
    return Record(**fields, sections=[Section(**each) for each in document["sections"]])


def write(record: Record, out: Path) -> Path:
    """Writes all files into `out`; returns the Markdown's path."""
    save(record, out)
    plots = [plot(section, out / f"vectors-{section.name}.svg") for section in record.sections]
    path = out / "vectors.md"
    path.write_text("\n".join(_lines(record, plots)) + "\n")
    return path


def _lines(record: Record, plots: list[str | None]) -> list[str]:
    lines = ["# Vectors side by side", "", *machine.lines(record.machine, record.peak, record.options), ""]
    lines += [
        "Medians over rounds in which every peer runs once, ± half the interquartile range. Recall is the share of the ten closest rows by 64-bit arithmetic "
        "that was found, a row as close as the last of them but for 1e-6 counted. A peer with a setting that weighs recall against speed is shown at its "
        "fastest that reaches the recall named above the table, or at its best; all settings are in the plots. *of limit*: of the machine's measured "
        "multiply-adds (f32; tiles of bf16 for what computes in fewer bits) for batches, of its measured reads, by the width that the peer keeps, for one query, which "
        "rows that fit into a cache exceed. "
        "The worker is asked by submitted tasks in process.",
        "",
        "## Targets",
        "",
        *gates.table(targets.gates(record)),
    ]
    for section, image in zip(record.sections, plots):
        lines += ["", f"## {section.title}", "", f"{section.rows:,} × {section.dim}, {section.metric}."]
        for task in section.tasks:
            lines += ["", f"### {TITLES[task]}", ""]
            if section.notes.get(task):
                lines += [section.notes[task], ""]
            lines += _search_table(section, task, record.peak) if task in SEARCHES else _table(section, task)
        if image:
            lines += ["", f"![{section.title}]({image})"]
    lines += ["", "## Peers", "", "| peer | version | settings |", "| --- | --- | --- |"]
    lines += [f"| {label} | {about['engine']}: {about['version']} | {about['settings']} |" for label, about in record.peers.items()]
    if record.skipped:
        lines += ["", "Not measured, or left out when it failed:", "", *(f"* {why}" for why in record.skipped)]
    return lines


def _shown(section: Section, task: str) -> list[dict]:
    """One row per peer."""
    rows = {}
    for label in dict.fromkeys(row["label"] for row in section.tasks[task]):
        of_peer = [row for row in section.tasks[task] if row["label"] == label]
        reaching = [row for row in of_peer if row["accuracy"] >= section.recalls[task]]
        rows[label] = min(reaching, key=lambda row: row["median"]) if reaching else max(of_peer, key=lambda row: row["accuracy"])
    return list(rows.values())


def _search_table(section: Section, task: str, peak: dict) -> list[str]:
    rows = _shown(section, task)
    ours = [row for row in rows if row["label"].startswith(OURS)]
    single = rows and rows[0]["amount"] == 1
    speed = "p50 / p99, ms" if single else "queries/s"
    head = ["peer", speed, f"recall (wanted: {section.recalls[task]:g})", "of limit", "build, s", "held, MiB", *(f"{row['label']}, times as fast" for row in ours)]
    lines = ["| " + " | ".join(head) + " |", "| --- |" + " ---: |" * (len(head) - 1)]
    for row in rows:
        if single:
            measured = f"{row['median'] * 1e3:.3f} / {float(np.percentile(row['seconds'], 99)) * 1e3:.3f}"
        else:
            low, middle, high = np.percentile(row["seconds"], [25, 50, 75])
            measured = f"{row['amount'] / row['median']:,.0f} ± {(high - low) / middle / 2:.0%}"
        tune = f" ({row['tune']})" if row["tune"] is not None else ""
        share = _share(section, task, row, peak)
        cells = [
            measured,
            f"{row['accuracy']:.4f}",
            f"{share:.0%}" if share else "",
            f"{row['build_seconds']:.1f}" if row["build_seconds"] is not None else "",
            f"{row['bytes'] / 2**20:,.0f}" if row["bytes"] is not None else "",
            *(f"{row['median'] / our['median']:.2f} ×" if row["label"] != our["label"] else "" for our in ours),
        ]
        lines.append(f"| {row['label']}{tune} | " + " | ".join(cells) + " |")
    return lines


def _share(section: Section, task: str, row: dict, peak: dict) -> float | None:
    """Of the machine's limit, for those that look at all rows."""
    label = row["label"]
    if any(word in label for word in ("ivf", "hnsw")):
        return None
    narrow = any(word in label for word in ("bf16", "i8", "int8", "sq8"))
    if row["amount"] == 1:
        return section.bandwidth(row) / peak["read_bytes_per_second"]
    limit = peak["tile_bf16_flops"] if (narrow or label.startswith(OURS)) and peak["tile_bf16_flops"] else peak["fma_f32_flops"]
    return 2 * row["amount"] * section.rows * section.dim / row["median"] / limit


def _table(section: Section, task: str) -> list[str]:
    rows = section.tasks[task]
    ours = [row for row in rows if row["label"].startswith(OURS)]
    unit, factor = ("µs", 1e6) if task == "tiny" else ("s", 1.0)
    head = ["peer", f"p50, {unit}", *([ACCURACIES[task]] if ACCURACIES[task] else []), *(f"{row['label']}, times as fast" for row in ours)]
    lines = ["| " + " | ".join(head) + " |", "| --- |" + " ---: |" * (len(head) - 1)]
    for row in rows:
        cells = [f"{row['median'] * factor:.2f}"]
        if ACCURACIES[task]:
            cells.append(f"{row['accuracy']:.6g}")
        cells += [f"{row['median'] / our['median']:.2f} ×" if row["label"] != our["label"] else "" for our in ours]
        lines.append(f"| {row['label']} | " + " | ".join(cells) + " |")
    return lines


def plot(section: Section, path: Path) -> str | None:
    """Recall against queries per second, a panel for each search; returns the file's name, None where nothing was searched."""
    tasks = [task for task in SEARCHES if task in section.tasks]
    if not tasks:
        return None
    figure, axes = plt.subplots(1, len(tasks), figsize=(6 * len(tasks), 5), layout="constrained", squeeze=False)
    for axis, task in zip(axes[0], tasks):
        for label in dict.fromkeys(row["label"] for row in section.tasks[task]):
            rows = sorted((row for row in section.tasks[task] if row["label"] == label), key=lambda row: row["accuracy"])
            style = {"linewidth": 2.5, "markersize": 9, "marker": "*"} if label.startswith(OURS) else {"linewidth": 1, "marker": "o", "markersize": 4}
            axis.plot([row["accuracy"] for row in rows], [row["amount"] / row["median"] for row in rows], label=label, **style)
        axis.set_yscale("log")
        axis.set_xlabel("recall@10")
        axis.set_ylabel("queries/s")
        axis.set_title(TITLES[task], fontsize=10)
        axis.grid(alpha=0.3)
        axis.legend(fontsize=7)
    figure.suptitle(section.title)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
    return path.name
