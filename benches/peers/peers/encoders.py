"""The comparison of encoders from end to end: models, probe, peers, workloads, record."""

import argparse
import json
import os
import sys
from pathlib import Path

from peers import machine, measure, report, tallow_peer
from peers.http_peer import HttpPeer
from peers.measure import Group, say
from peers.protocol import Peer, PeerError, Process
from peers.workloads import Texts

# Engine and precision. PyTorch f32 is first: what the others' vectors are compared with.
PEERS = [
    ("torch", "f32"),
    ("torch", "bf16"),
    ("ort", "f32"),
    ("ort", "int8"),
    ("openvino", "f32"),
    ("openvino", "bf16"),
    ("openvino", "int8"),
    ("candle", "f32"),
]
# What is held to a level of instructions: by `TALLOW_ISA`, and by the switches of oneDNN, MKL and PyTorch's own kernels.
LEVEL_PEERS = [("torch", "f32"), ("ort", "f32"), ("tallow", "exact"), ("tallow-task", "exact")]
LEVELS = {
    "avx512": {"TALLOW_ISA": "avx512", "ONEDNN_MAX_CPU_ISA": "AVX512_CORE", "MKL_ENABLE_INSTRUCTIONS": "AVX512", "ATEN_CPU_CAPABILITY": "avx512"},
    "avx2": {"TALLOW_ISA": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"},
}

# Rows of the throughput workloads and of the calibration, by model: a pass takes seconds, not minutes.
ROWS = {"minilm": (256, 96), "base": (64, 24)}
QUICK_ROWS = {"minilm": (64, 96), "base": (32, 24)}
QUERY_COUNT = 200
QUICK_QUERY_COUNT = 20
TITLES = {
    "minilm": ("MiniLM-L6 (384 × 6)", "MiniLM-L6"),
    "base": ("BERT base, seeded random weights (768 × 12)", "BERT base"),
}
# Products on one thread: rows, inner, columns, as in the blocks of MiniLM, of BERT base and of a large model.
PRODUCTS = [(512, 384, 1152), (512, 384, 1536), (1024, 768, 768), (512, 768, 3072), (512, 1024, 4096)]
PRODUCT_PASSES = 30


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="run.sh encoders", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with scifact and stsbenchmark")
    parser.add_argument("--minilm", type=Path, required=True, help="folder of all-MiniLM-L6-v2")
    parser.add_argument("--built", type=Path, required=True, help="folder of the built tallow and examples/peer_driver")
    parser.add_argument("--peak", type=Path, required=True, help="peers/peak.c, compiled")
    parser.add_argument("--out", type=Path, required=True, help="folder for models and record")
    parser.add_argument("--models", default="minilm,base", help="which models (default: %(default)s)")
    parser.add_argument("--peers", default=",".join(engine for engine in dict(PEERS)), help="which other engines (default: %(default)s)")
    parser.add_argument("--tallow", default="exact,bf16,int8", help="the worker's precisions; `auto` is always there (default: %(default)s)")
    parser.add_argument("--levels", default="avx512,avx2", help="levels of instructions below this processor's (default: %(default)s; empty: none)")
    parser.add_argument("--rounds", type=int, help="measured passes of each peer (default: 10, 5 for base and the levels; 2 with --quick)")
    parser.add_argument("--threads", type=int, default=2, help="threads of each peer (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="few rows and two rounds, to see that everything runs")
    parser.add_argument("--resume", action="store_true", help="go on where an earlier run with the same options was ended")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    options.out = options.out.resolve()
    known = {"threads": options.threads, "quick": options.quick, "flags": machine.flags(), "source": machine.source()}
    record = report.load(options.out, known) if options.resume else None
    record = record or report.Record(machine.about(), known)
    record.probes.append(machine.probe(options.threads, options.peak))
    products(record, options)
    for name in options.models.split(","):
        compare(name, "", options, record)
    for level in filter(None, options.levels.split(",")):
        for name in options.models.split(","):
            compare(name, level, options, record)
    record.probes.append(machine.probe(options.threads, options.peak))
    record.machine["load_after"] = os.getloadavg()[0]
    path = report.write(record, options.out)
    print(path.read_text())
    say(f"written: {path}")


def driver(options: argparse.Namespace) -> Path:
    return options.built / "examples" / "peer_driver"


def rounds(options: argparse.Namespace, section: str) -> int:
    if options.rounds:
        return options.rounds
    return 2 if options.quick else 10 if section == "minilm" else 5


def products(record: report.Record, options: argparse.Namespace) -> None:
    """The worker's own bf16 products on one core."""
    if record.products or record.peak["tile_bf16_flops_one"] is None:
        return
    process = Process("tallow products", tallow_peer.command(driver(options), "tallow", 1), 1)
    try:
        for shape in PRODUCTS:
            seconds = process.ask({"op": "gemm", "precision": "bf16", "shape": shape, "repeat": PRODUCT_PASSES})["seconds"]
            m, k, n = shape
            record.products.append({"shape": shape, "flops": 2 * m * k * n / min(seconds)})
    except PeerError as error:
        record.skipped.append(str(error))
    finally:
        process.close()


def compare(name: str, level: str, options: argparse.Namespace, record: report.Record) -> None:
    """Adds everything on one model, at one level of instructions, to the record. A peer that cannot load it is left out, and the record says why."""
    row_count, calibration_count = (QUICK_ROWS if options.quick else ROWS)[name]
    folder = options.out / "models" / name
    texts = Texts(options.data, options.minilm)
    calibration = folder.with_suffix(".calibration.json")
    calibration.parent.mkdir(parents=True, exist_ok=True)
    calibration.write_text(json.dumps(texts.calibration(calibration_count)))
    machine.python_module("peers.models", name, str(options.minilm), str(folder), str(calibration))

    config = json.loads((folder / "config.json").read_text())
    suffix = f" without more than {level}" if level else ""
    title, short = (f"{each}{suffix}" for each in TITLES[name])
    count = rounds(options, f"{name}{suffix}")
    sizes = (config["num_hidden_layers"], config["hidden_size"], config["intermediate_size"])
    section = record.section(report.Section(f"{name}-{level}" if level else name, title, short, *sizes, count, level))
    if name == "minilm" and not level:
        section.orientation = report.ORIENTATION
    workloads = [texts.uniform(row_count), texts.mixed(row_count)] + ([] if level else [texts.sorted_mixed(row_count)])
    queries = texts.queries(QUICK_QUERY_COUNT if options.quick else QUERY_COUNT)
    missing = [each for each in workloads if each.name not in section.figures]
    needs_queries = queries.name not in section.figures
    needs_spearman = name == "minilm" and not section.spearman
    if not (missing or needs_queries or needs_spearman):
        return
    say(f"== {section.title}")
    group = start(folder, level, options, record)
    try:
        for workload in missing:
            section.lengths[workload.name] = [len(ids) for ids in workload.sequences.ids]
            section.figures[workload.name] = measure.throughput(group, workload, count, options.quick)
            report.save(record, options.out)
        if needs_queries:
            section.figures[queries.name] = measure.latency(group, queries, count)
            report.save(record, options.out)
        if needs_spearman:
            section.spearman = measure.similarity_spearman(group, texts.similarity_pairs())
            report.save(record, options.out)
    finally:
        group.close()


def start(folder: Path, level: str, options: argparse.Namespace, record: report.Record) -> Group:
    """The peers' processes with the model loaded; PyTorch f32, which the others are compared with, always takes part."""
    wanted = set(options.peers.split(",")) | {PEERS[0][0]}
    ours = [each for each in options.tallow.split(",") if each]
    if level:
        chosen = [each for each in LEVEL_PEERS if each[0] in wanted or each[0].startswith("tallow")]
    else:
        chosen = [each for each in PEERS if each[0] in wanted]
        chosen += [(engine, precision) for engine in ("tallow", "tallow-task", "tallow-http") for precision in ours]
        chosen.append(("tallow-task", "auto"))
    peers = []
    for engine, precision in chosen:
        peer = None
        try:
            peer = process(engine, precision, level, options)
            record.peers[f"{peer.label}, {level}" if level else peer.label] = peer.load(str(folder))
            peers.append(peer)
        except PeerError as error:
            say(f"left out: {error}")
            record.skipped.append(str(error))
            if peer:
                peer.close()
    return Group(peers, record.skipped)


def process(engine: str, precision: str, level: str, options: argparse.Namespace):
    label = f"{engine} {precision}"
    if engine == "tallow-http":
        return HttpPeer(label, precision, options.built / "tallow", options.threads)
    if engine in tallow_peer.DRIVEN:
        command = tallow_peer.command(driver(options), engine, options.threads)
    else:
        command = [sys.executable, "-m", f"peers.{engine}_peer"]
    return Peer(engine, precision, Process(label, command, options.threads, LEVELS.get(level)))


if __name__ == "__main__":
    main()
