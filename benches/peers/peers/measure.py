"""Interleaved measurement of peers: in every round each of them runs once, so that a disturbance of the machine meets all alike."""

import os
import statistics
import sys
from dataclasses import dataclass, field

import numpy as np
from scipy.stats import spearmanr

from peers.protocol import Peer
from peers.workloads import SimilarityPairs, Workload


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
    def tokens_per_second(self) -> float:
        return self.tokens / statistics.median(self.seconds)

    @property
    def spread(self) -> float:
        """The interquartile range as a share of the median."""
        low, middle, high = np.percentile(self.seconds, [25, 50, 75])
        return (high - low) / middle

    def latency(self, percent: float) -> float:
        """Seconds of one pass at that percentile."""
        return float(np.percentile(self.seconds, percent))


def throughput(peers: list[Peer], golden: Peer, workload: Workload, rounds: int) -> dict[str, Figures]:
    """Whole passes over the workload, after one that warms up and gives the vectors to compare."""
    _say(f"{workload.title}: {len(workload.ids)} sequences, {workload.token_count} tokens")
    figures = {peer.label: Figures(workload.token_count, len(workload.ids)) for peer in peers}
    _, reference = golden.run(workload.ids)
    for peer in peers:
        _, vectors = peer.run(workload.ids)
        _compare(figures[peer.label], vectors, reference)
    for _ in range(rounds):
        for peer in peers:
            seconds, _ = peer.run(workload.ids)
            figures[peer.label].seconds += seconds
            figures[peer.label].loads.append(os.getloadavg()[0])
    return figures


def latency(peers: list[Peer], golden: Peer, workload: Workload, rounds: int) -> dict[str, Figures]:
    """One query at a time: each round gives every peer its share of the queries, the first of them unmeasured."""
    _say(f"{workload.title}: {len(workload.ids)} queries")
    figures = {peer.label: Figures(workload.token_count // len(workload.ids), 1) for peer in peers}
    reference = np.concatenate([golden.run([ids])[1] for ids in workload.ids])
    answered = {peer.label: [None] * len(workload.ids) for peer in peers}
    for turn in range(rounds):
        for peer in peers:
            peer.run([workload.ids[0]], repeat=10)
            for at in range(turn, len(workload.ids), rounds):
                seconds, answered[peer.label][at] = peer.run([workload.ids[at]])
                figures[peer.label].seconds += seconds
            figures[peer.label].loads.append(os.getloadavg()[0])
    for peer in peers:
        _compare(figures[peer.label], np.concatenate(answered[peer.label]), reference)
    return figures


def similarity_spearman(peers: list[Peer], pairs: SimilarityPairs) -> dict[str, float]:
    """Spearman's correlation of each peer's cosines with the people's scores on STS-B test."""
    _say(f"STS-B: {len(pairs.ids)} sentences")
    found = {}
    for peer in peers:
        _, vectors = peer.run(pairs.ids)
        cosines = _cosines(vectors[pairs.firsts], vectors[pairs.seconds])
        found[peer.label] = float(spearmanr(cosines, pairs.scores).statistic)
    return found


def _compare(figures: Figures, vectors: np.ndarray, reference: np.ndarray) -> None:
    cosines = _cosines(vectors, reference)
    figures.cosine_min, figures.cosine_mean = float(cosines.min()), float(cosines.mean())


def _cosines(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    left, right = left.astype(np.float64), right.astype(np.float64)
    return (left * right).sum(1) / np.linalg.norm(left, axis=1) / np.linalg.norm(right, axis=1)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
