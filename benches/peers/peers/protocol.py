"""The line protocol between the harness and a peer's process; `examples/peer_driver` is its other implementation.

Every peer is a process of its own, so that no two engines share threads, allocators or OpenMP runtimes. A peer times itself: what the lines cost is
in no figure.
"""

import base64
import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from typing import Protocol

import numpy as np

Ids = list[list[int]]

BATCH_ROWS = 32
# A peer that says nothing for so long hangs: it is ended and left out.
SILENCE_SECONDS = 900


@dataclass(frozen=True)
class Sequences:
    """Texts and their token ids, special tokens included, in the same order."""

    ids: Ids
    texts: list[str]

    def one(self, at: int) -> "Sequences":
        """The sequence at that place by itself."""
        return Sequences([self.ids[at]], [self.texts[at]])

    @property
    def token_count(self) -> int:
        return sum(map(len, self.ids))


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


def answer_lines(answer) -> None:
    """Answers requests on standard input by `answer(request)` until it ends. What libraries print goes to standard error."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        try:
            found = answer(json.loads(line))
        except Exception as error:  # The process serves on; the harness decides what an error means.
            found = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(found), file=answers, flush=True)


def serve(engine: Engine) -> None:
    """Serves an encoder."""
    answer_lines(lambda request: _answer(engine, request))


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


class Process:
    """A peer's process: one line of JSON for each line of JSON."""

    def __init__(self, label: str, command: list[str], threads: int, environment: dict | None = None):
        self.label = label
        counts = {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS", "PEER_THREADS")}
        everything = os.environ | counts | (environment or {})
        try:
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=everything)
        except OSError as error:
            raise PeerError(f"{label}: {error}") from error

    def ask(self, request: dict) -> dict:
        """The answer to one request. Raises `PeerError` for an answer that is an error, and when the process ended or hangs."""
        watch = threading.Timer(SILENCE_SECONDS, self._process.kill)
        watch.start()
        try:
            print(json.dumps(request), file=self._process.stdin, flush=True)
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        finally:
            watch.cancel()
        if not line:
            raise PeerError(f"{self.label}: the process ended with status {self._process.wait()}")
        answer = json.loads(line)
        if "error" in answer:
            raise PeerError(f"{self.label}: {answer['error']}")
        return answer

    def close(self) -> None:
        """Ends the process."""
        try:
            self._process.stdin.close()
            self._process.wait(30)
        except (BrokenPipeError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()


class Peer:
    """An encoder's process with one model loaded."""

    def __init__(self, name: str, precision: str, process: Process):
        self.name = name
        self.precision = precision
        self.label = process.label
        self._process = process

    def load(self, model: str) -> dict:
        """Loads the model in the folder; returns what the peer says of itself."""
        return self._process.ask({"op": "load", "model": model, "precision": self.precision})

    def run(self, sequences: Sequences, repeat: int = 1) -> tuple[list[float], np.ndarray]:
        """Embeds all sequences `repeat` times: the seconds of each pass, and the last one's vectors `[rows, dimensions]`."""
        answer = self._process.ask({"op": "run", "ids": sequences.ids, "texts": sequences.texts, "repeat": repeat})
        vectors = np.frombuffer(base64.b64decode(answer["vectors_base64"]), dtype="<f4")
        return answer["seconds"], vectors.reshape(len(sequences.ids), answer["dimensions"])

    def close(self) -> None:
        """Ends the process."""
        self._process.close()
