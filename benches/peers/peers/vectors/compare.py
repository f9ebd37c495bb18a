"""Interleaved measurement: in every round each peer runs once with each of its settings."""

import json
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from peers.measure import say
from peers.protocol import PeerError, Process
from peers.vectors.data import K, Dataset
from peers.vectors.peers_table import Contender, SearchTask

MEMORY_KEPT_FREE = 2 << 30
# A setting that has been measured for so long and twice takes no part in further rounds.
SETTING_SECONDS = 60.0
ROUNDS_MIN = 2


@dataclass
class Row:
    """One peer with one setting at one task."""

    label: str
    tune: int | None = None
    seconds: list[float] = field(default_factory=list)
    # Queries of one of the times above; what else a time stands for is 1.
    amount: int = 1
    # Recall, or what the task's accuracy is.
    accuracy: float | None = None
    build_seconds: float | None = None
    bytes: int | None = None
    loads: list[float] = field(default_factory=list)


class Started:
    """The processes of a task, those that could be started. One that fails is left out from then on, and the record says why."""

    def __init__(self, contenders, driver: Path, threads: int, note):
        self.processes: dict[Contender, Process] = {}
        self._note = note
        for each in contenders:
            if each.module == "tallow":
                command = [str(driver), each.variant, str(threads)]
            else:
                command = [sys.executable, "-W", "ignore", "-m", "peers.vectors.serving", f"{each.module}_peer", each.variant]
            try:
                self.processes[each] = Process(each.label, command, threads)
            except PeerError as error:
                self._note(str(error))

    def each(self, work) -> None:
        """`work(contender, process)` for each in turn."""
        for contender, process in list(self.processes.items()):
            try:
                work(contender, process)
            except PeerError as error:
                self.leave_out(contender, str(error))

    def leave_out(self, contender: Contender, why: str) -> None:
        say(f"left out: {why}")
        self._note(why)
        self.processes.pop(contender).close()

    def close(self) -> None:
        for process in self.processes.values():
            process.close()


def search(task: SearchTask, dataset: Dataset, started: Started, plan: dict, about: dict) -> list[Row]:
    """`plan` names the rounds and, for single queries, how many of them."""
    say(f"{dataset.title}: {task.title}")
    scratch = dataset.folder / "found.npy"
    count = plan["queries"] if task.single else len(np.load(dataset.queries, mmap_mode="r"))
    queries = dataset.few_queries(count) if task.single else dataset.queries
    rows: dict[tuple, Row] = {}

    def load(contender: Contender, process: Process) -> None:
        needed = int(contender.weight * 4 * np.prod(dataset.shape)) + MEMORY_KEPT_FREE
        if needed > memory_available():
            raise PeerError(f"{contender.label}, {dataset.title}: needs {needed >> 20} MiB, and {memory_available() >> 20} MiB are left")
        said = process.ask({"op": "load", "rows": str(dataset.rows), "metric": dataset.metric})
        about[contender.label] = {name: said[name] for name in ("engine", "version", "settings")}
        for tune in contender.tunes:
            rows[contender, tune] = Row(contender.label, tune, amount=1 if task.single else count, build_seconds=said["build_seconds"], bytes=said["bytes"])

    def run(contender: Contender, process: Process, tune) -> list[float]:
        request = {"op": "search", "queries": str(queries), "k": K, "single": task.single, "repeat": 1, "out": str(scratch)}
        if tune is not None:
            request["tune"] = tune
        return process.ask(request)["seconds"]

    def warm(contender: Contender, process: Process) -> None:
        for tune in contender.tunes:
            run(contender, process, tune)
            rows[contender, tune].accuracy = dataset.recall(np.load(scratch))

    def turn(contender: Contender, process: Process) -> None:
        for tune in contender.tunes:
            row = rows[contender, tune]
            if len(row.loads) >= ROUNDS_MIN and sum(row.seconds) > SETTING_SECONDS:
                continue
            row.seconds += run(contender, process, tune)
            row.loads.append(os.getloadavg()[0])

    started.each(load)
    started.each(warm)
    for _ in range(plan["rounds"]):
        started.each(turn)
    return [row for (contender, _), row in rows.items() if contender in started.processes]


def reduce(request: dict, started: Started, rounds: int, judge, about: dict) -> list[Row]:
    """Whole computations; `judge(answer)` is the accuracy of the first."""
    rows: dict[Contender, Row] = {}

    def turn(contender: Contender, process: Process) -> None:
        answer = process.ask(dict(request))
        row = rows.get(contender)
        if row is None:
            row = rows[contender] = Row(contender.label, accuracy=judge(answer))
            if contender.module != "tallow":
                about.setdefault(contender.label, process.ask({"op": "describe"}))
        row.seconds += answer["seconds"]
        row.loads.append(os.getloadavg()[0])

    for _ in range(rounds):
        started.each(turn)
    return [row for contender, row in rows.items() if contender in started.processes]


def memory_available() -> int:
    """Bytes that new processes may take."""
    with open("/proc/meminfo") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))


def to_json(rows: list[Row]) -> list[dict]:
    return json.loads(json.dumps([vars(row) for row in rows]))
