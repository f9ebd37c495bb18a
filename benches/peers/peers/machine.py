"""The machine of a record: what it is, and what it reaches by itself in the same session."""

import datetime
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

ISA = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_bf16", "amx_int8")


def about() -> dict:
    """Processor, system and versions."""
    cpu = Path("/proc/cpuinfo").read_text()
    fields = dict(line.split(":", 1) for line in cpu.split("\n\n")[0].splitlines() if ":" in line)
    fields = {name.strip(): value.strip() for name, value in fields.items()}
    memory = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal"))
    return {
        "cpu": f"{fields['model name']} (family {fields['cpu family']}, model {fields['model']})",
        "cores": os.cpu_count(),
        "memory_bytes": int(memory.split()[1]) * 1024,
        "isa": " ".join(name for name in ISA if name in fields["flags"].split()),
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "source": source(),
        "compiler": os.environ.get("PEERS_COMPILER", "unknown"),
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "load_before": os.getloadavg()[0],
    }


def probe(threads: int, binary: Path) -> dict:
    """What `threads` threads reach: `peers/peak.c` at the processor's own limits, and the best products of PyTorch's oneDNN."""
    own = subprocess.run([binary, str(threads)], check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(own) | json.loads(python_module("peers.probe", str(threads)))


def best(probes: list[dict]) -> dict:
    """The best of each figure; None for what the processor lacks."""
    return {name: max((each[name] for each in probes if each[name] is not None), default=None) for name in probes[0]}


def lines(machine: dict, peak: dict, options: dict) -> list[str]:
    """The paragraphs of a record that name all of it."""

    def trillions(name: str) -> str:
        return "none" if peak[name] is None else f"{peak[name] / 1e12:.2f}"

    return [
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_bytes'] / 2**30:.0f} GiB, {machine['isa']}; {machine['system']}; "
        f"worker at {machine['source']}, {machine['compiler']}, release profile; {machine['date']}. "
        f"Load average {machine['load_before']:.1f} at the start, {machine['load_after']:.1f} at the end. "
        f"Flags: {' '.join(options['flags']) or 'none'}.",
        "",
        f"Reached by this machine in the same session with {options['threads']} threads (one thread): tiles {trillions('tile_bf16_flops')} "
        f"({trillions('tile_bf16_flops_one')}) TFLOP/s bf16 and {trillions('tile_int8_ops')} ({trillions('tile_int8_ops_one')}) TOP/s int8, "
        f"f32 multiply-adds {trillions('fma_f32_flops')} ({trillions('fma_f32_flops_one')}) TFLOP/s, "
        f"reads {peak['read_bytes_per_second'] / 1e9:.1f} ({peak['read_bytes_per_second_one'] / 1e9:.1f}) GB/s; "
        f"square products by oneDNN {trillions('onednn_bf16_flops')} TFLOP/s bf16 and {trillions('onednn_f32_flops')} TFLOP/s f32.",
    ]


def source() -> str:
    """The commit that the worker was built from, as `run.sh` names it."""
    return os.environ.get("PEERS_SOURCE", "unknown")


def flags() -> list[str]:
    """The options that the caller of `run.sh` chose, without those that it adds itself and without `--resume`."""
    added = ("--data", "--minilm", "--built", "--peak", "--out")
    words = [word for word in sys.argv[1:] if word != "--resume"]
    return [word for at, word in enumerate(words) if word not in added and (at == 0 or words[at - 1] not in added)]


def python_module(*command: str) -> str:
    """Runs a module in a process of its own, whose threads and memory end with it; returns what it prints."""
    return subprocess.run([sys.executable, "-W", "ignore", "-m", *command], check=True, stdout=subprocess.PIPE, text=True).stdout
