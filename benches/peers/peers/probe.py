"""What this machine can do at most, measured: `python -m peers.probe THREADS` prints JSON.

Products through PyTorch's oneDNN stand for the arithmetic, and sums over arrays far larger than any cache for the memory. The best of many passes is
the peak; nothing is gained by a mean over disturbances.
"""

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

PASSES = 12
MATRIX_SIZES = (1024, 2048, 4096)
ARRAY_BYTES = 1 << 30


def matmul_flops(dtype: torch.dtype) -> float:
    """Floating-point operations per second of the best square product."""
    best = 0.0
    for size in MATRIX_SIZES:
        left, right = torch.randn(size, size).to(dtype), torch.randn(size, size).to(dtype)
        best = max(best, 2 * size**3 / _fastest(lambda: left @ right))
    return best


def read_bandwidth(threads: int) -> float:
    """Bytes per second read by `threads` threads at once, each from an array of its own."""
    arrays = [np.ones(ARRAY_BYTES // 4, dtype=np.float32) for _ in range(threads)]
    with ThreadPoolExecutor(threads) as pool:
        return threads * ARRAY_BYTES / _fastest(lambda: list(pool.map(np.max, arrays)))


def _fastest(work) -> float:
    work()
    seconds = []
    for _ in range(PASSES):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


@torch.inference_mode()
def main(threads: int) -> None:
    torch.set_num_threads(threads)
    print(
        json.dumps(
            {
                "bf16_flops": matmul_flops(torch.bfloat16),
                "f32_flops": matmul_flops(torch.float32),
                "read_bytes_per_second": read_bandwidth(threads),
            }
        )
    )


if __name__ == "__main__":
    main(int(sys.argv[1]))
