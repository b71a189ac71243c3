"""Pictures of success for an agent that learns its reward from them (serl/agents/vice.py)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from serl.data.features import Encode
from serl.errors import UserError
from serl.pixels import GOAL

VIEWS = 8
"""Shifted views that are encoded of each picture, once, before training."""


class Goals:
    """Features of success pictures, drawn with replacement.

    Args:
        pictures: frames by camera, each (n, H, W, 3); row k of all cameras is one moment.
        encode: features of shifted frames, see `serl.data.features.Encode`.
    """

    def __init__(
        self,
        pictures: Mapping[str, NDArray[np.uint8]],
        encode: Encode,
        shift_px: int,
        rng: np.random.Generator,
    ) -> None:
        self._features: dict[str, NDArray[Any]] = {}
        for camera, frames in pictures.items():
            repeated = np.repeat(frames, VIEWS if shift_px else 1, axis=0)
            offsets = rng.integers(0, 2 * shift_px + 1, (len(repeated), 2), dtype=np.int32)
            self._features[camera] = encode(repeated, offsets).view(ml_dtypes.bfloat16)
        self.count = len(next(iter(pictures.values())))
        self._views = VIEWS if shift_px else 1

    def draw(self, rng: np.random.Generator, shape: tuple[int, int]) -> dict[str, NDArray[Any]]:
        """For `Batch.extra`: (*shape, h, w, C) each. One moment per row in all cameras, each
        camera's view by its own draw."""
        moments = rng.integers(0, self.count, shape) * self._views
        return {
            GOAL + camera: features[moments + rng.integers(0, self._views, shape)]
            for camera, features in self._features.items()
        }


def success_pictures(
    episodes: Iterable[Any], cameras: Sequence[str]
) -> dict[str, NDArray[np.uint8]]:
    """The frames of every record that is a success, by camera.

    Args:
        episodes: with `records`, as a replay's or a demonstration folder's.

    Raises:
        UserError: there are none.
    """
    found = [e.records[e.records["success"]] for e in episodes]
    rows = [r for r in found if len(r)]
    if not rows:
        raise UserError(
            "this agent learns its reward from pictures of success, and no demonstration has one; "
            "record some that succeed (`serl record --pixels`) and give them with --demos."
        )
    return {c: np.concatenate([r[f"obs/{c}"] for r in rows]) for c in cameras}
