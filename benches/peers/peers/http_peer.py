"""The worker as its callers over the network have it: `tallow serve`, texts in and base64 vectors out by OpenAI's `/v1/embeddings`, several texts a
call and several connections at once. The client is this process; it writes prepared calls and reads answers, and parses them when the clock has stopped.
"""

import base64
import json
import os
import re
import socket
import subprocess
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from peers.protocol import PeerError, Sequences

TEXTS_PER_CALL = 32
CONNECTIONS = 4
START_SECONDS = 120


class HttpPeer:
    """A served worker with one model, asked as `protocol.Peer` is."""

    def __init__(self, label: str, precision: str, binary: Path, threads: int):
        self.name, self.label, self.precision = "tallow-http", label, precision
        self._binary, self._threads = binary, threads
        self._server = None
        self._home = tempfile.TemporaryDirectory()

    def load(self, model: str) -> dict:
        """Starts the server with the model in the folder as its default, and has it loaded."""
        command = [self._binary, "serve", "--no-auth", "--listen", "127.0.0.1:0", "--model", model, "--precision", self.precision]
        command += ["--threads", str(self._threads), "--offline", "--log", "error", "--data-dir", self._home.name]
        environment = os.environ | {"XDG_CONFIG_HOME": self._home.name, "NO_COLOR": "1"}
        self._server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)
        self._address = self._wait_for_address()
        self.run(Sequences([[]], ["warm"]), check=False)
        version = subprocess.run([self._binary, "--version"], check=True, stdout=subprocess.PIPE, text=True).stdout.split()[1]
        settings = f"{self._threads} threads, `tallow serve`, {CONNECTIONS} connections, {TEXTS_PER_CALL} texts a call, base64 out"
        return {"engine": "tallow, HTTP", "version": version, "settings": settings}

    def run(self, sequences: Sequences, repeat: int = 1, check: bool = True) -> tuple[list[float], np.ndarray]:
        """As `Peer.run`; passes follow each other without a pause, and each counts as its share of their time."""
        # Made anew, and not on the clock: a server closes connections that are silent while the other peers have their turns.
        connections = [Connection(self._address) for _ in range(CONNECTIONS)]
        try:
            return self._run(connections, sequences, repeat, check)
        except OSError as error:
            raise PeerError(f"{self.label}: {error}") from error
        finally:
            for connection in connections:
                connection.close()

    def _run(self, connections: list, sequences: Sequences, repeat: int, check: bool) -> tuple[list[float], np.ndarray]:
        chunks = [sequences.texts[start : start + TEXTS_PER_CALL] for start in range(0, len(sequences.texts), TEXTS_PER_CALL)]
        calls = [_call(chunk) for chunk in chunks]
        if len(calls) == 1:
            seconds, answers = [], []
            for _ in range(repeat):
                started = time.perf_counter()
                answers = [connections[0].exchange(calls[0])]
                seconds.append(time.perf_counter() - started)
        else:
            elapsed, answers = _all(connections, calls * repeat)
            seconds = [elapsed / repeat] * repeat
        rows, tokens = [], 0
        for status, body in answers[-len(calls) :]:
            answer = json.loads(body)
            if status != 200:
                raise PeerError(f"{self.label}: {status}: {body[:300].decode(errors='replace')}")
            tokens += answer["usage"]["prompt_tokens"]
            rows += [np.frombuffer(base64.b64decode(item["embedding"]), dtype="<f4") for item in answer["data"]]
        if check and tokens != sequences.token_count:
            raise PeerError(f"{self.label}: the worker counted {tokens} tokens where the other engines get {sequences.token_count}")
        return seconds, np.stack(rows)

    def _wait_for_address(self) -> tuple[str, int]:
        watch = threading.Timer(START_SECONDS, self._server.kill)
        watch.start()
        said = []
        for line in self._server.stdout:
            said.append(line)
            if found := re.search(r"http://127\.0\.0\.1:(\d+)/v1", line):
                watch.cancel()
                # Nobody reads on: a full pipe would stop the server.
                threading.Thread(target=self._server.stdout.read, daemon=True).start()
                return "127.0.0.1", int(found[1])
        watch.cancel()
        raise PeerError(f"{self.label}: `tallow serve` ended: {''.join(said)[-500:]}")

    def close(self) -> None:
        """Ends the server."""
        if self._server:
            self._server.terminate()
            try:
                self._server.wait(30)
            except subprocess.TimeoutExpired:
                self._server.kill()
                self._server.wait()
        self._home.cleanup()


class Connection:
    """One kept-alive connection."""

    def __init__(self, address: tuple[str, int]):
        self._socket = socket.create_connection(address, timeout=300)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def exchange(self, call: bytes) -> tuple[int, bytes]:
        """Status and body of the answer to a prepared call."""
        self._socket.sendall(call)
        filled = b""
        while (end := filled.find(b"\r\n\r\n")) < 0:
            filled += self._some()
        head = filled[:end].decode("latin-1")
        length = int(re.search(r"(?im)^content-length: *(\d+)", head)[1])
        body = bytearray(filled[end + 4 :])
        while len(body) < length:
            body += self._some()
        return int(head[9:12]), bytes(body)

    def _some(self) -> bytes:
        found = self._socket.recv(1 << 20)
        if not found:
            raise ConnectionError("the server closed the connection")
        return found

    def close(self) -> None:
        self._socket.close()


def _all(connections: list, calls: list[bytes]) -> tuple[float, list]:
    """Seconds of all calls over all connections, each of which takes the next call when it is free; the answers in order."""
    answers = [None] * len(calls)
    places, lock = iter(range(len(calls))), threading.Lock()

    def drain(connection: Connection) -> None:
        while True:
            with lock:
                at = next(places, None)
            if at is None:
                return
            answers[at] = connection.exchange(calls[at])

    with ThreadPoolExecutor(len(connections)) as pool:
        started = time.perf_counter()
        for done in [pool.submit(drain, connection) for connection in connections]:
            done.result()
        return time.perf_counter() - started, answers


def _call(texts: list[str]) -> bytes:
    body = json.dumps({"input": texts, "encoding_format": "base64"}).encode()
    head = f"POST /v1/embeddings HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body
