"""What a frozen trunk makes of camera frames, as data: shapes, identity, and which crops.

Shared by actor, channel, replay and learner. Plain NumPy: no JAX.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serl.errors import UserError
from serl.types import ArraySpec, Spec

FEATURE = "feature."
"""Prefix of the extras that carry an actor's features: 'feature.front', uint16 (h, w, C)."""

GOAL = "goal/"
"""Prefix of a batch's extras that hold features of pictures of success: 'goal/front'."""

TRUNK_NUMBER = "feature.trunk"
"""Extra that says which trunk made them: `FeatureLayout.number`, uint64; 0 is none."""

POOLINGS = ("spatial_embeddings", "spatial_softmax", "average", "max")
"""How a head may pool a feature map over its places (serl.networks.image_head)."""


def images(spec: Spec) -> tuple[ArraySpec, ...]:
    """The image observations of a spec, in order: uint8 (H, W, 3)."""
    return tuple(a for a in spec.observation if a.dtype == "uint8" and len(a.shape) == 3)


def check_frames(arrays: Sequence[ArraySpec], obs: Mapping[str, Any]) -> None:
    """UserError, one line, unless each camera's frame is of the shape and dtype of its spec."""
    for array in arrays:
        if array.name not in obs:
            raise UserError(
                f"observation {array.name!r}, a camera's frame, is missing; the env gave "
                f"{', '.join(obs)}. Check the cameras in the experiment."
            )
        frame = np.asarray(obs[array.name])
        if frame.shape != array.shape or frame.dtype != array.dtype:
            raise UserError(
                f"observation {array.name!r} is {frame.dtype} {frame.shape}; a frame of this "
                f"experiment is {array.dtype} {array.shape}. Check the camera's size and crop; "
                "nothing was stored for this step."
            )


def record_spec(spec: Spec, feature_shape: tuple[int, int, int]) -> Spec:
    """`spec` with room for the features of every camera's unshifted view.

    Args:
        feature_shape: (h, w, C) of the trunk; the same for every camera.
    """
    extras = [
        ArraySpec(name=FEATURE + a.name, shape=feature_shape, dtype="uint16") for a in images(spec)
    ]
    number = ArraySpec(name=TRUNK_NUMBER, shape=(), dtype="uint64")
    return replace(spec, extras=(*spec.extras, *extras, number))


@dataclass(frozen=True, kw_only=True)
class FeatureLayout:
    """Which features a replay keeps: K crops of each camera's frame, bfloat16 as uint16 bits."""

    trunk: str
    """`FrozenTrunk.id`: hash of architecture and weights, and the precision it runs in."""
    cameras: tuple[str, ...]
    shape: tuple[int, int, int]
    """(h, w, C) of one frame's features."""
    crops: int
    """K. Crop 0 is the unshifted view; the others are random shifts, fixed per frame."""
    shift_px: int = 4
    """Largest shift in each direction. Source: DrQ, arXiv:2004.13649 sec. 3.1."""
    per_episode: bool = False
    """Crop k has one offset for all frames of an episode: what stacks of frames need."""

    @property
    def number(self) -> int:
        """Travels with features, so that only the same trunk's are kept."""
        return trunk_number(self.trunk)


def trunk_number(trunk: str) -> int:
    """Of a trunk's id, 'hash-precision'; never 0. What follows, an augmentation's name, does not
    count: crop 0 has none.

    >>> trunk_number("00000000000000ab-float32") == trunk_number("00000000000000ab-float32-c0ffee")
    True
    >>> trunk_number("00000000000000ab-float32") == trunk_number("00000000000000ab-bfloat16")
    False
    """
    digest, _, rest = trunk.partition("-")
    precision = zlib.crc32(rest.partition("-")[0].encode())
    return int(digest, 16) ^ precision or 1


def crop_offsets(
    layout: FeatureLayout, actor: NDArray[Any], episode: NDArray[Any], index: NDArray[Any]
) -> NDArray[np.int32]:
    """Where each crop of each frame begins in the frame padded by `shift_px`: (n, cameras, K, 2).

    Row and column, within 0 ... 2 * shift_px; crop 0 is the middle. They follow from the frame's
    key alone, so a demo's crops are the same in every run and nothing needs to be stored.

    Args:
        actor: CRC-32 of the actor's id (n,).
        episode, index: the record's key (n,).
    """
    n, cameras, crops = len(actor), len(layout.cameras), layout.crops
    at = np.zeros_like(index) if layout.per_episode else index
    key = np.asarray(actor, np.uint64) << np.uint64(32) | np.asarray(episode, np.uint64)
    key = _mix(_mix(key) ^ np.asarray(at, np.uint64))  # (n,)
    lanes = np.arange(cameras * crops * 2, dtype=np.uint64)
    draws = _mix(key[:, None] ^ _mix(lanes + np.uint64(1)))
    size = np.uint64(2 * layout.shift_px + 1)
    offsets = (draws % size).astype(np.int32).reshape(n, cameras, crops, 2)
    offsets[:, :, 0] = layout.shift_px
    return offsets


def shifted(frames: NDArray[np.uint8], offsets: NDArray[Any], shift_px: int) -> NDArray[np.uint8]:
    """Frames (n, H, W, C) padded by their edges, cut out again at `offsets` (n, 2): same shape.

    The plain meaning of a crop; the compiled form is `serl.networks.crops`.
    """
    p = shift_px
    padded = np.pad(frames, ((0, 0), (p, p), (p, p), (0, 0)), mode="edge")
    height, width = frames.shape[1:3]
    out = np.empty_like(frames)
    for k, (row, column) in enumerate(np.asarray(offsets).tolist()):
        out[k] = padded[k, row : row + height, column : column + width]
    return out


def bits(values: Sequence[Any] | NDArray[Any]) -> NDArray[np.uint16]:
    """bfloat16 values as their bits, for files and wires that know no bfloat16."""
    return np.asarray(values).view(np.uint16)


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """splitmix64's finaliser (Steele, Lea, Flood, OOPSLA 2014): every input bit moves them all."""
    with np.errstate(over="ignore"):
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))
