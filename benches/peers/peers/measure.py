"""Interleaved measurement of peers: in every round each of them runs once, so that a disturbance of the machine meets all alike."""

import math
import os
import statistics
import sys
from dataclasses import dataclass, field

import numpy as np
from scipy.stats import spearmanr

from peers.protocol import Peer, PeerError
from peers.workloads import SimilarityPairs, Workload

# A peer's turn in a round lasts at least so long, by whole passes: a fast one is not measured by a blink.
TURN_SECONDS = 0.5
PASSES_MAX = 8
PASSES_WARM = 10


@dataclass
class Figures:
    """One peer on one workload."""

    tokens: int
    sequences: int
    seconds: list[float] = field(default_factory=list)
    cosine_min: float = float("nan")
    cosine_mean: float = float("nan")
    loads: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """Seconds of a pass."""
        return statistics.median(self.seconds)

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.median

    @property
    def spread(self) -> float:
        """The interquartile range as a share of the median."""
        low, middle, high = np.percentile(self.seconds, [25, 50, 75])
        return (high - low) / middle

    def latency(self, percent: float) -> float:
        """Seconds of one pass at that percentile."""
        return float(np.percentile(self.seconds, percent))


class Group:
    """Peers that are measured together, the first of which the others' vectors are compared with. One that fails is left out from then on."""

    def __init__(self, peers: list[Peer], skipped: list[str]):
        self.peers = peers
        self._skipped = skipped

    def each(self, work) -> None:
        """`work(peer)` for each peer in turn."""
        for peer in list(self.peers):
            try:
                work(peer)
            except PeerError as error:
                if peer is self.peers[0]:
                    raise
                say(f"left out: {error}")
                self._skipped.append(str(error))
                self.peers.remove(peer)
                peer.close()

    def close(self) -> None:
        """Ends all processes."""
        for peer in self.peers:
            peer.close()


def throughput(group: Group, workload: Workload, rounds: int, quick: bool) -> dict[str, Figures]:
    """Whole passes over the workload, after one that warms up and gives the vectors to compare."""
    sequences = workload.sequences
    say(f"{workload.title}: {len(sequences.ids)} sequences, {sequences.token_count} tokens")
    _, reference = group.peers[0].run(sequences)
    figures, passes = {}, {}

    def first(peer: Peer) -> None:
        seconds, vectors = peer.run(sequences)
        figures[peer.label] = Figures(sequences.token_count, len(sequences.ids))
        passes[peer.label] = 1 if quick else min(PASSES_MAX, max(1, math.ceil(TURN_SECONDS / seconds[0])))
        _compare(figures[peer.label], vectors, reference)

    def turn(peer: Peer) -> None:
        seconds, _ = peer.run(sequences, passes[peer.label])
        figures[peer.label].seconds += seconds
        figures[peer.label].loads.append(os.getloadavg()[0])

    group.each(first)
    for _ in range(rounds):
        group.each(turn)
    return _complete(figures, group)


def latency(group: Group, workload: Workload, rounds: int) -> dict[str, Figures]:
    """One query at a time: each round gives every peer its share of the queries, the first of them unmeasured."""
    sequences = workload.sequences
    count = len(sequences.ids)
    say(f"{workload.title}: {count} queries")
    reference = np.concatenate([group.peers[0].run(sequences.one(at))[1] for at in range(count)])
    figures = {peer.label: Figures(sequences.token_count // count, 1) for peer in group.peers}
    answered = {peer.label: [None] * count for peer in group.peers}
    for first in range(rounds):

        def turn(peer: Peer) -> None:
            peer.run(sequences.one(0), PASSES_WARM)
            for at in range(first, count, rounds):
                seconds, answered[peer.label][at] = peer.run(sequences.one(at))
                figures[peer.label].seconds += seconds
            figures[peer.label].loads.append(os.getloadavg()[0])

        group.each(turn)
    for peer in group.peers:
        _compare(figures[peer.label], np.concatenate(answered[peer.label]), reference)
    return _complete(figures, group)


def similarity_spearman(group: Group, pairs: SimilarityPairs) -> dict[str, float]:
    """Spearman's correlation of each peer's cosines with the people's scores on STS-B test."""
    say(f"STS-B: {len(pairs.sequences.ids)} sentences")
    found = {}

    def correlate(peer: Peer) -> None:
        _, vectors = peer.run(pairs.sequences)
        cosines = _cosines(vectors[pairs.firsts], vectors[pairs.seconds])
        found[peer.label] = float(spearmanr(cosines, pairs.scores).statistic)

    group.each(correlate)
    return found


def say(text: str) -> None:
    """Tells whoever waits what is measured."""
    print(text, file=sys.stderr, flush=True)


def _complete(figures: dict[str, Figures], group: Group) -> dict[str, Figures]:
    return {peer.label: figures[peer.label] for peer in group.peers}


def _compare(figures: Figures, vectors: np.ndarray, reference: np.ndarray) -> None:
    cosines = _cosines(vectors, reference)
    figures.cosine_min, figures.cosine_mean = float(cosines.min()), float(cosines.mean())


def _cosines(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    left, right = left.astype(np.float64), right.astype(np.float64)
    return (left * right).sum(1) / np.linalg.norm(left, axis=1) / np.linalg.norm(right, axis=1)
