"""Runs on disk: a record is written whole or not at all, and read again only by a run with the same options."""

import json
from pathlib import Path


def save(document: dict, path: Path) -> None:
    """Writes a record so far, so that a run that is ended early leaves its figures; `load` reads it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".new").write_text(json.dumps(document, indent=1))
    path.with_suffix(".new").rename(path)


def load(path: Path, options: dict) -> dict | None:
    """What an earlier run with the same options left at `path`."""
    if not path.exists():
        return None
    document = json.loads(path.read_text())
    return document if document["options"] == options else None
