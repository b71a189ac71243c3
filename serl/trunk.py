"""A frozen trunk: weights with an identity, and the one compiled way to run it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serl.agents.image_config import ImageConfig


@dataclass(frozen=True, kw_only=True, eq=False)
class FrozenTrunk:
    """Never trained, so what it makes of a frame can be kept."""

    name: str
    """In TRUNKS."""
    params: Any
    """Nested dict of float32 arrays."""
    id: str
    """First 16 hex digits of the SHA-256 of name and weights, '-', precision."""
    precision: str = "float32"

    def encode(
        self, frames: NDArray[np.uint8], offsets: NDArray[Any] | None = None, shift_px: int = 0
    ) -> NDArray[np.uint16]:
        """Features of n frames (n, H, W, 3), as bfloat16 bits (n, h, w, C).

        Args:
            offsets: of each frame's crop (n, 2), see `serl.pixels.shifted`; None: as they are.
        """
        raise NotImplementedError


def load_trunk(config: ImageConfig, seed: int = 0) -> FrozenTrunk:
    """The trunk a config names. `seed` makes random weights."""
    raise NotImplementedError


def save_trunk(trunk: FrozenTrunk, path: str | Path) -> None:
    """One safetensors file; name and id in its header."""
    raise NotImplementedError


def read_trunk(path: str | Path, precision: str = "float32") -> FrozenTrunk:
    """Inverse of `save_trunk`. Raises UserError where the layout is not the named trunk's."""
    raise NotImplementedError
