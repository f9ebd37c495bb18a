"""The worker's own encoder and stock candle: the commands that start `examples/peer_driver.rs` for them."""

from pathlib import Path


def command(driver: Path, engine: str, threads: int) -> list[str]:
    """The process for `engine`, `tallow` or `candle`."""
    return [str(driver), engine, str(threads)]
