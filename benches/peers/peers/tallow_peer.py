"""The worker's own encoders and stock candle: the commands that start `examples/peer_driver` for them."""

from pathlib import Path

DRIVEN = ("tallow", "tallow-task", "candle")


def command(driver: Path, engine: str, threads: int) -> list[str]:
    """The process for `engine`, one of `DRIVEN`."""
    return [str(driver), engine, str(threads)]
