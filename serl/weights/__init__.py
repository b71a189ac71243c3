"""Weights of trunks: this repository's beside this file, imported ones in the user's cache.

Plain Python; what is in a file is `serl.trunk`'s to read.
"""

from __future__ import annotations

import os
from pathlib import Path

from serl.errors import UserError, unknown_name

OURS = Path(__file__).parent
"""<trunk>.safetensors, made by benchmarks/pretrain.py."""

SUFFIX = ".safetensors"


def imported_folder() -> Path:
    """Where `serl weights import` puts sets: serl/weights in the user's cache directory."""
    cache = os.environ.get("XDG_CACHE_HOME", "")
    base = Path(cache) if os.path.isabs(cache) else Path.home() / ".cache"
    return base / "serl" / "weights"


def imported() -> dict[str, Path]:
    """Imported sets by name."""
    return {path.stem: path for path in sorted(imported_folder().glob(f"*{SUFFIX}"))}


def find(weights: str) -> Path:
    """The file of an imported set's name, or of a path. Raises UserError."""
    path = Path(weights).expanduser()
    if path.suffix == SUFFIX or path.parent != Path():
        if not path.is_file():
            raise UserError(f"there is no weight file {path}.")
        return path
    sets = imported()
    if weights not in sets:
        raise unknown_name("set of weights", weights, ["pretrained", "random", *sets])
    return sets[weights]
