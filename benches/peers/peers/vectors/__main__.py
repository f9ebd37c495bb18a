"""The comparison of vector computation from end to end: data, probe, peers, tasks, record."""

import argparse
import os
from pathlib import Path

import numpy as np

from peers import machine
from peers.measure import say
from peers.protocol import PeerError, Process
from peers.vectors import compare, data, peers_table, record

# Rows and dimensions of the synthetic sets. Graphs, clusters, components and the join have one of their own kind each.
SYNTHETIC = [(200_000, 384), (200_000, 768), (1_000_000, 384), (1_000_000, 768)]
QUICK_SYNTHETIC = [(100_000, 384), (100_000, 768)]
GRAPH_ROWS_MAX = 200_000
CLUSTERS, CLUSTER_ROUNDS = 1000, 10
QUICK_CLUSTERS, QUICK_CLUSTER_ROUNDS, QUICK_CLUSTER_ROWS = 100, 3, 20_000
COMPONENTS = 128
JOIN_ROWS, QUICK_JOIN_ROWS = 100_000, 10_000
JOIN_COSINE = 0.9
SEED = 7


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="run.sh vectors", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with scifact, mnist-t10k and the books")
    parser.add_argument("--minilm", type=Path, required=True, help="folder of all-MiniLM-L6-v2")
    parser.add_argument("--built", type=Path, required=True, help="folder of the built examples")
    parser.add_argument("--peak", type=Path, required=True, help="peers/peak.c, compiled")
    parser.add_argument("--out", type=Path, required=True, help="folder for data and record")
    parser.add_argument("--sets", default="", help="only data sets whose name has one of these words in it, separated by commas")
    parser.add_argument("--tasks", default="", help="only these tasks, of batch, exact, single, codes, graph, kmeans, pca, join, tiny")
    parser.add_argument("--peers", default="", help="only these peers by module beside the worker, of faiss, usearch, hnswlib, arrays, sklearn")
    parser.add_argument("--rounds", type=int, help="measured passes of each peer (default: 5; 2 with --quick)")
    parser.add_argument("--threads", type=int, default=2, help="threads of each peer (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="100,000 rows at most and two rounds, to see that everything runs")
    parser.add_argument("--resume", action="store_true", help="go on where an earlier run with the same options was ended")
    return parser.parse_args()


class Run:
    """Options and the record that they fill."""

    def __init__(self, options: argparse.Namespace):
        self.options = options
        options.out = options.out.resolve()
        self.rounds = options.rounds or (2 if options.quick else 5)
        self.driver = options.built / "examples" / "peer_vectors"
        known = {"threads": options.threads, "quick": options.quick, "flags": machine.flags(), "source": machine.source()}
        earlier = record.load(options.out, known) if options.resume else None
        self.record = earlier or record.Record(machine.about(), known)

    def wants(self, task: str, section: record.Section) -> bool:
        chosen = self.options.tasks.split(",") if self.options.tasks else None
        return (chosen is None or task in chosen) and task not in section.tasks

    def probe(self) -> None:
        self.record.probes.append(machine.probe(self.options.threads, self.options.peak))

    def measured(self, contenders, work, fill) -> None:
        """Starts the peers, lets `work(started)` measure them, and keeps what `fill(rows)` puts into the record."""
        only = self.options.peers.split(",") if self.options.peers else None
        chosen = [each for each in contenders if only is None or each.module in (*only, "tallow")]
        started = compare.Started(chosen, self.driver, self.options.threads, self.record.note)
        try:
            fill(work(started))
        finally:
            started.close()
        record.save(self.record, self.options.out)

    def searches(self, dataset: data.Dataset) -> None:
        section = self.record.section(data.about(dataset))
        plan = {"rounds": self.rounds, "queries": 20 if self.options.quick else 100}
        graph_rows_max = 20_000 if self.options.quick else GRAPH_ROWS_MAX
        for task in peers_table.searches(section.rows * section.dim, section.rows <= graph_rows_max and section.dim == 384):
            if self.wants(task.name, section):
                self.measured(
                    task.peers,
                    lambda started: compare.search(task, dataset, started, plan, self.record.peers),
                    lambda rows: section.add(task.name, compare.to_json(rows), task.recall),
                )
        if section.overhead is None and (self.options.quick or section.rows >= 1_000_000) and self.wants("memory", section):
            section.overhead = self.overhead(dataset)

    def overhead(self, dataset: data.Dataset) -> float | None:
        """Bytes a row that the worker's process holds beyond the set's rows and ids; None where it holds no set."""
        process = None
        try:
            process = Process("tallow set f32", [str(self.driver), "set-f32", str(self.options.threads)], self.options.threads)
            said = process.ask({"op": "load", "rows": str(dataset.rows), "metric": dataset.metric})
            stats = process.ask({"op": "set"})
            return (said["bytes"] - stats["bytes"]["rows"] - stats["bytes"]["ids"]) / stats["rows"]
        except PeerError as error:
            self.record.note(str(error))
            return None
        finally:
            if process:
                process.close()

    def clusters(self, dataset: data.Dataset) -> None:
        section = self.record.section(data.about(dataset))
        if not self.wants("kmeans", section):
            return
        quick = self.options.quick
        k, rounds = (QUICK_CLUSTERS, QUICK_CLUSTER_ROUNDS) if quick else (CLUSTERS, CLUSTER_ROUNDS)
        rows = dataset.head(QUICK_CLUSTER_ROWS) if quick else dataset.rows
        out = dataset.folder / "centroids.npy"
        say(f"{dataset.title}: k-means")
        request = {"op": "kmeans", "rows": str(rows), "k": k, "iterations": rounds, "seed": SEED, "out": str(out)}
        values = np.load(rows, mmap_mode="r")
        note = f"{len(values):,} × {section.dim}, k {k:,}, {rounds} rounds, the start included"

        def judge(_) -> float:
            return data.inertia(values, np.load(out))

        self.computed("kmeans", peers_table.CLUSTERING, request, judge, section, note)

    def components(self, dataset: data.Dataset) -> None:
        section = self.record.section(data.about(dataset))
        if not self.wants("pca", section):
            return
        out = dataset.folder / "components.npy"
        say(f"{dataset.title}: PCA")
        request = {"op": "pca", "rows": str(dataset.rows), "components": COMPONENTS, "out": str(out)}

        def judge(_) -> float:
            return data.explained(np.load(dataset.rows, mmap_mode="r"), np.load(out))

        self.computed("pca", peers_table.COMPONENTS, request, judge, section, f"{section.rows:,} × {section.dim} to {COMPONENTS}")

    def join(self, dataset: data.Dataset) -> None:
        section = self.record.section(data.about(dataset))
        if not self.wants("join", section):
            return
        rows = dataset.head(QUICK_JOIN_ROWS if self.options.quick else JOIN_ROWS)
        say(f"{dataset.title}: join")
        request = {"op": "join", "rows": str(rows), "threshold": JOIN_COSINE}
        count = len(np.load(rows, mmap_mode="r"))
        note = f"{count:,} × {section.dim}, pairs of a cosine of at least {JOIN_COSINE}"
        self.computed("join", peers_table.JOINING, request, lambda answer: float(answer["pairs"]), section, note)

    def tiny(self, dataset: data.Dataset) -> None:
        section = self.record.section(data.about(dataset))
        if not self.wants("tiny", section):
            return
        say("tiny operations")
        request = {"op": "tiny", "repeat": 200 if self.options.quick else 2000}
        note = "The worker: a task with two binary parts, submitted, awaited and its answer taken. The others: one call with arrays in memory."
        self.computed("tiny", peers_table.TINY, request, lambda _: 0.0, section, note)

    def computed(self, task: str, contenders, request: dict, judge, section: record.Section, note: str) -> None:
        self.measured(
            contenders,
            lambda started: compare.reduce(request, started, 2 if self.options.quick else 3, judge, self.record.peers),
            lambda rows: section.add(task, compare.to_json(rows), note=note),
        )


def main() -> None:
    run = Run(arguments())
    options = run.options
    run.probe()
    words = [word for word in options.sets.split(",") if word]
    wanted = lambda name: not words or any(word in name for word in words)
    driver = options.built / "examples" / "peer_driver"
    if wanted("minilm"):
        made = data.minilm(options.out, options.data, options.minilm, driver, options.threads)
        run.searches(made)
        run.tiny(made)
    if wanted("mnist"):
        run.searches(data.mnist(options.out, options.data))
    for rows, dim in QUICK_SYNTHETIC if options.quick else SYNTHETIC:
        if not wanted(data.synthetic_name(rows, dim)):
            continue
        made = data.synthetic(options.out, rows, dim)
        run.searches(made)
        if rows < 1_000_000:
            if dim == 384:
                run.clusters(made)
                run.join(made)
            else:
                run.components(made)
    run.probe()
    run.record.machine["load_after"] = os.getloadavg()[0]
    path = record.write(run.record, options.out)
    print(path.read_text())
    say(f"written: {path}")


if __name__ == "__main__":
    main()
