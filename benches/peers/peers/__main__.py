"""The comparison from end to end: models, probe, peers, workloads, record."""

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

from peers import measure, report, tallow_peer
from peers.protocol import Peer, PeerError
from peers.workloads import Texts

# Engine and precision; the worker's own precisions are an option.
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
GOLDEN = ("torch", "f32")
NATIVE = ("candle", "tallow")

# Rows of the throughput workloads and of the calibration, by model: a pass takes seconds, not minutes.
ROWS = {"minilm": (256, 96), "base": (64, 24)}
QUICK_ROWS = {"minilm": (64, 96), "base": (32, 24)}
QUERY_COUNT = 200
ISA = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="run.sh encoders", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with scifact and stsbenchmark")
    parser.add_argument("--minilm", type=Path, required=True, help="folder of all-MiniLM-L6-v2")
    parser.add_argument("--driver", type=Path, required=True, help="the built examples/peer_driver")
    parser.add_argument("--out", type=Path, required=True, help="folder for models and record")
    parser.add_argument("--models", default="minilm,base", help="which models (default: %(default)s)")
    parser.add_argument("--peers", default=",".join(engine for engine in dict(PEERS)), help="which other engines (default: %(default)s)")
    parser.add_argument("--tallow", default="exact,bf16,int8", help="the worker's precisions (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=10, help="measured passes of each peer (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="threads of each peer (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="few rows and two rounds, to see that everything runs")
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.rounds = 2
    return chosen


def main() -> None:
    options = arguments()
    machine = about_machine()
    probes = [probe(options.threads)]
    record = report.Record(machine, probes, peers={}, options={"rounds": options.rounds, "threads": options.threads, "quick": options.quick})
    for name in options.models.split(","):
        compare(name, options, record)
    probes.append(probe(options.threads))
    machine["load_after"] = os.getloadavg()[0]
    path = report.write(record, options.out)
    print(path.read_text())
    print(f"written: {path}", file=sys.stderr)


def compare(name: str, options: argparse.Namespace, record: report.Record) -> None:
    """Adds everything on one model to the record. A peer that cannot load it is left out, and the record says why."""
    row_count, calibration_count = (QUICK_ROWS if options.quick else ROWS)[name]
    folder = options.out / "models" / name
    texts = Texts(options.data, options.minilm)
    calibration = folder.with_suffix(".calibration.json")
    calibration.parent.mkdir(parents=True, exist_ok=True)
    calibration.write_text(json.dumps(texts.calibration(calibration_count)))
    python_module("peers.models", name, str(options.minilm), str(folder), str(calibration))

    config = json.loads((folder / "config.json").read_text())
    title = {"minilm": "MiniLM-L6 (384 × 6)", "base": "BERT base, seeded random weights (768 × 12)"}[name]
    model = report.ModelRecord(name, title, config["num_hidden_layers"], config["hidden_size"], config["intermediate_size"])
    if name == "minilm":
        model.orientation = report.ORIENTATION
    record.models.append(model)
    peers = start(folder, options, record)
    try:
        golden = next(peer for peer in peers if (peer.name, peer.precision) == GOLDEN)
        for workload in (texts.uniform(row_count), texts.mixed(row_count), texts.sorted_mixed(row_count)):
            model.lengths[workload.name] = [len(ids) for ids in workload.ids]
            model.figures[workload.name] = measure.throughput(peers, golden, workload, options.rounds)
            report.save(record, options.out)
        queries = texts.queries(QUERY_COUNT // 10 if options.quick else QUERY_COUNT)
        model.figures[queries.name] = measure.latency(peers, golden, queries, options.rounds)
        report.save(record, options.out)
        if name == "minilm":
            model.spearman = measure.similarity_spearman(peers, texts.similarity_pairs())
    finally:
        for peer in peers:
            peer.close()


def start(folder: Path, options: argparse.Namespace, record: report.Record) -> list[Peer]:
    """The peers' processes with the model loaded; PyTorch f32, which the others are compared with, always takes part."""
    wanted = set(options.peers.split(",")) | {GOLDEN[0]}
    chosen = [each for each in PEERS if each[0] in wanted] + [("tallow", precision) for precision in options.tallow.split(",") if precision]
    peers = []
    for engine, precision in chosen:
        if engine in NATIVE:
            command = tallow_peer.command(options.driver, engine, options.threads)
        else:
            command = [sys.executable, "-m", f"peers.{engine}_peer"]
        peer = Peer(engine, precision, command, options.threads)
        try:
            record.peers[peer.label] = peer.load(str(folder))
            peers.append(peer)
        except PeerError as error:
            record.skipped.append(str(error))
            peer.close()
    return peers


def probe(threads: int) -> dict:
    return json.loads(python_module("peers.probe", str(threads)))


def python_module(*command: str) -> str:
    """Runs a module in a process of its own, whose threads and memory end with it; returns what it prints."""
    return subprocess.run([sys.executable, "-W", "ignore", "-m", *command], check=True, stdout=subprocess.PIPE, text=True).stdout


def about_machine() -> dict:
    cpu = Path("/proc/cpuinfo").read_text()
    fields = dict(line.split(":", 1) for line in cpu.split("\n\n")[0].splitlines() if ":" in line)
    fields = {name.strip(): value.strip() for name, value in fields.items()}
    return {
        "cpu": f"{fields['model name']} (family {fields['cpu family']}, model {fields['model']})",
        "cores": os.cpu_count(),
        "isa": " ".join(name for name in ISA if name in fields["flags"].split()),
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "load_before": os.getloadavg()[0],
    }


if __name__ == "__main__":
    main()
