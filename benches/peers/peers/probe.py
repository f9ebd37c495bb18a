"""What PyTorch's oneDNN reaches on this machine in square products: `python -m peers.probe THREADS` prints JSON. The best of many passes counts."""

import json
import sys
import time

import torch

PASSES = 12
MATRIX_SIZES = (1024, 2048, 4096)


def matmul_flops(dtype: torch.dtype) -> float:
    """Floating-point operations per second of the best square product."""
    best = 0.0
    for size in MATRIX_SIZES:
        left, right = torch.randn(size, size).to(dtype), torch.randn(size, size).to(dtype)
        best = max(best, 2 * size**3 / _fastest(lambda: left @ right))
    return best


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
    print(json.dumps({"onednn_bf16_flops": matmul_flops(torch.bfloat16), "onednn_f32_flops": matmul_flops(torch.float32)}))


if __name__ == "__main__":
    main(int(sys.argv[1]))
