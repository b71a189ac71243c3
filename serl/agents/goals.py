"""Pictures of success for VICE: encoded once, drawn for every batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from serl.agents.vice import GOAL
from serl.errors import UserError


class Goals:
    """Features of n pictures of success, K crops of each and camera.

    Args:
        frames: by camera, (n, H, W, 3) uint8: the last observations of successful demonstrations,
            say, or those labelled as successes for a classifier. Row k of all cameras is one view.
        encode: (frames, offsets, shift_px) to bfloat16 bits, as `FrozenTrunk.encode`.
        crops: K; the first is unshifted.
        shift_px: largest shift of the others.
    """

    def __init__(
        self,
        frames: Mapping[str, NDArray[np.uint8]],
        encode: Callable[..., NDArray[np.uint16]],
        crops: int = 4,
        shift_px: int = 4,
        seed: int = 0,
    ) -> None:
        counts = {camera: len(x) for camera, x in frames.items()}
        if not counts or len(set(counts.values())) > 1 or 0 in counts.values():
            raise UserError(
                f"agent vice needs pictures of success, as many of each camera; there are {counts}."
            )
        self.count = next(iter(counts.values()))
        rng = np.random.default_rng([4, seed])
        self._features: dict[str, NDArray[Any]] = {}
        for camera, views in frames.items():
            offsets = rng.integers(0, 2 * shift_px + 1, (max(crops, 1), self.count, 2))
            offsets[0] = shift_px
            made = [np.asarray(encode(views, at, shift_px)) for at in offsets]
            self._features[camera] = np.stack(made).view(jnp.bfloat16)  # (K, n, h, w, C)

    def sample(self, rng: np.random.Generator, utd: int, batch: int) -> dict[str, NDArray[Any]]:
        """For `Batch.extra`: {'goal/<camera>': (U, B, h, w, C) bfloat16}, a crop drawn for each."""
        row = rng.integers(0, self.count, (utd, batch))
        return {
            GOAL + camera: features[rng.integers(0, len(features), row.shape), row]
            for camera, features in self._features.items()
        }
