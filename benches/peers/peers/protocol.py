"""The line protocol between the harness and a peer's process; `examples/peer_driver.rs` is its other implementation.

Every peer is a process of its own, so that no two engines share threads, allocators or OpenMP runtimes. A peer times itself: what the lines cost is
in no figure.
"""

import base64
import json
import os
import subprocess
import sys
import time
from typing import Protocol

import numpy as np

Ids = list[list[int]]

BATCH_ROWS = 32


class Engine(Protocol):
    """What a peer's module gives to `serve`."""

    def load(self, model: str, precision: str) -> dict:
        """Reads the model; returns `engine`, `version` and `settings` for the report."""

    def embed(self, ids: Ids) -> np.ndarray:
        """Unit vectors `[len(ids), dimensions]` f32, in order."""


def padded_batches(ids: Ids):
    """Batches of `BATCH_ROWS` in the order given, padded with zeros to their longest: ids and mask, int64."""
    for start in range(0, len(ids), BATCH_ROWS):
        rows = ids[start : start + BATCH_ROWS]
        width = max(map(len, rows))
        batch = np.zeros((len(rows), width), dtype=np.int64)
        mask = np.zeros_like(batch)
        for row, tokens in enumerate(rows):
            batch[row, : len(tokens)] = tokens
            mask[row, : len(tokens)] = 1
        yield batch, mask


def serve(engine: Engine) -> None:
    """Answers requests on standard input until it ends. What libraries print goes to standard error."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        try:
            answer = _answer(engine, json.loads(line))
        except Exception as error:  # The process serves on; the harness decides what an error means.
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


def _answer(engine: Engine, request: dict) -> dict:
    if request["op"] == "load":
        return engine.load(request["model"], request["precision"])
    seconds = []
    for _ in range(request["repeat"]):
        started = time.perf_counter()
        vectors = engine.embed(request["ids"])
        seconds.append(time.perf_counter() - started)
    vectors = np.ascontiguousarray(vectors, dtype="<f4")
    return {"seconds": seconds, "dimensions": vectors.shape[1], "vectors_base64": base64.b64encode(vectors.tobytes()).decode()}


class PeerError(Exception):
    """A peer said no, or its process ended."""


class Peer:
    """A peer's process with one model loaded."""

    def __init__(self, name: str, precision: str, command: list[str], threads: int):
        self.name = name
        self.precision = precision
        environment = os.environ | {"OMP_NUM_THREADS": str(threads), "RAYON_NUM_THREADS": str(threads), "PEER_THREADS": str(threads)}
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)

    @property
    def label(self) -> str:
        return f"{self.name} {self.precision}"

    def load(self, model: str) -> dict:
        """Loads the model in the folder; returns what the peer says of itself."""
        return self._ask({"op": "load", "model": model, "precision": self.precision})

    def run(self, ids: Ids, repeat: int = 1) -> tuple[list[float], np.ndarray]:
        """Embeds all sequences `repeat` times: the seconds of each pass, and the last one's vectors `[len(ids), dimensions]`."""
        answer = self._ask({"op": "run", "ids": ids, "repeat": repeat})
        vectors = np.frombuffer(base64.b64decode(answer["vectors_base64"]), dtype="<f4")
        return answer["seconds"], vectors.reshape(len(ids), answer["dimensions"])

    def close(self) -> None:
        """Ends the process."""
        self._process.stdin.close()
        self._process.wait()

    def _ask(self, request: dict) -> dict:
        try:
            print(json.dumps(request), file=self._process.stdin, flush=True)
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise PeerError(f"{self.label}: the process ended with status {self._process.wait()}")
        answer = json.loads(line)
        if "error" in answer:
            raise PeerError(f"{self.label}: {answer['error']}")
        return answer
