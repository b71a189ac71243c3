"""A frozen trunk: weights with an identity, and the one compiled way to run it.

Files of weights are safetensors whose header names the trunk. This repository's are in
serl/weights; others are made by `serl weights import`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy
from flax.traverse_util import flatten_dict, unflatten_dict
from numpy.typing import NDArray

from serl.agents.image_config import ImageConfig
from serl.channel.codec import unpack_params
from serl.errors import CorruptFile, UserError, writing
from serl.networks import crops
from serl.networks.trunk import TRUNKS, default_trunk
from serl.weights import OURS, find
from serl.weights.file import weights_id, write_whole

BATCHES = (1, 2, 4, 8, 16, 32, 64)
"""Sizes that are compiled, per size of frame and shift; fewer frames are padded, more are split."""


@dataclass(frozen=True, kw_only=True, eq=False)
class FrozenTrunk:
    """Never trained, so what it makes of a frame can be kept. Made by `make_trunk`."""

    name: str
    """In TRUNKS."""
    params: Any
    """Nested dict of float32 arrays."""
    id: str
    """First 16 hex digits of the SHA-256 of name and weights, '-', precision."""
    precision: str = "float32"

    def apply(self, frames: jax.Array, params: Any = None) -> jax.Array:
        """Features (..., h, w, C) float32 of frames (..., H, W, 3), for use inside compiled code.

        Args:
            params: `self.params`, where the caller hands them into its compiled function; without
                them the weights become constants of that function.
        """
        variables = {"params": self.params if params is None else params}
        return jnp.asarray(self.module.apply(variables, frames))

    def encode(
        self, frames: NDArray[np.uint8], offsets: NDArray[Any] | None = None, shift_px: int = 0
    ) -> NDArray[np.uint16]:
        """Features of n frames (n, H, W, 3), as bfloat16 bits (n, h, w, C).

        Args:
            offsets: of each frame's crop (n, 2), see `serl.pixels.shifted`; None: as they are.
        """
        if offsets is None:
            offsets, shift_px = np.zeros((len(frames), 2), np.int32), 0
        parts = []
        for start in range(0, max(len(frames), 1), BATCHES[-1]):
            rows = slice(start, start + BATCHES[-1])
            parts.append(self._encode_some(frames[rows], np.asarray(offsets)[rows], shift_px))
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _encode_some(
        self, frames: NDArray[np.uint8], offsets: NDArray[Any], shift_px: int
    ) -> NDArray[np.uint16]:
        """At most the largest of BATCHES."""
        n = len(frames)
        fill = [(0, next(size for size in BATCHES if size >= n) - n)]
        frames = np.pad(frames, fill + [(0, 0)] * 3) if fill[0][1] else frames
        offsets = np.pad(offsets, [*fill, (0, 0)]) if fill[0][1] else offsets
        out = self._compiled(self._on_device, frames, offsets.astype(np.int32), shift_px=shift_px)
        return np.asarray(out)[:n].view(np.uint16)

    @cached_property
    def module(self) -> nn.Module:
        """The network, computing in this trunk's precision."""
        return TRUNKS.get(self.name)(dtype=jnp.dtype(self.precision))  # type: ignore[call-arg]

    @cached_property
    def _on_device(self) -> Any:
        return jax.device_put(self.params)

    @cached_property
    def _compiled(self) -> Any:
        @partial(jax.jit, static_argnames="shift_px")
        def features(params: Any, frames: jax.Array, offsets: jax.Array, shift_px: int):
            if shift_px:
                frames = crops.shifted(frames, offsets, shift_px)
            return self.apply(frames, params).astype(jnp.bfloat16)

        return features


def make_trunk(
    name: str, params: Mapping[str, Any], precision: str = "float32", source: str = "the weights"
) -> FrozenTrunk:
    """A trunk of these weights. Raises UserError where they are not of the named trunk's layout.

    Args:
        params: nested dict of arrays; bfloat16 becomes float32.
        source: what the error calls them.
    """
    leaves = {path: np.asarray(leaf, np.float32) for path, leaf in _flat(params).items()}
    check_layout(name, leaves, source)
    return FrozenTrunk(
        name=name,
        params=unflatten_dict({path: leaves[path] for path in sorted(leaves)}, sep="/"),
        id=weights_id(name, leaves, precision),
        precision=precision,
    )


def random_trunk(name: str, seed: int = 0, precision: str = "float32") -> FrozenTrunk:
    """A trunk as it is before any training."""
    module = TRUNKS.get(name)()
    frame = jnp.zeros((1, 128, 128, 3), jnp.uint8)
    return make_trunk(name, jax.jit(module.init)(jax.random.key(seed), frame)["params"], precision)


def load_trunk(config: ImageConfig, seed: int = 0) -> FrozenTrunk:
    """The trunk a config names. `seed` makes random weights."""
    name = default_trunk() if config.trunk == "auto" else config.trunk
    TRUNKS.get(name)
    if config.weights == "random":
        return random_trunk(name, seed, config.precision)
    path = OURS / f"{name}.safetensors" if config.weights == "pretrained" else find(config.weights)
    if not path.exists():
        raise UserError(
            f"there are no pretrained weights of trunk {name} here: make them with "
            f"`python -m benchmarks.pretrain --trunk {name}`, import SERL's with `serl weights "
            'import`, or choose image.weights "random" or another image.trunk.'
        )
    trunk = read_trunk(path, config.precision)
    if trunk.name != name:
        raise UserError(
            f"{path} holds weights of trunk {trunk.name}, this run's trunk is {name}: set "
            f"image.trunk to {trunk.name}, or choose other image.weights."
        )
    return trunk


def save_trunk(trunk: FrozenTrunk, path: str | Path) -> None:
    """One safetensors file, whole or not at all; name and id in its header. bfloat16 where that
    loses nothing."""
    leaves = {path: np.asarray(leaf, np.float32) for path, leaf in _flat(trunk.params).items()}
    small = {path: leaf.astype(jnp.bfloat16) for path, leaf in leaves.items()}
    if all(np.array_equal(small[path].astype(np.float32), leaves[path]) for path in leaves):
        leaves = small
    with writing(path):
        header = {"trunk": trunk.name, "id": trunk.id}
        write_whole(Path(path), safetensors.numpy.save(leaves, header))


def read_trunk(path: str | Path, precision: str = "float32") -> FrozenTrunk:
    """Inverse of `save_trunk`. Raises UserError where the layout is not the named trunk's."""
    try:
        with safetensors.safe_open(path, framework="numpy") as file:  # type: ignore[no-untyped-call]
            header = file.metadata() or {}
        params = unpack_params(Path(path).read_bytes())
    except OSError as error:
        raise UserError(f"cannot read weights {path}: {error.strerror or error}.") from error
    except (safetensors.SafetensorError, UserError) as error:
        raise CorruptFile(
            f"{path} is no whole safetensors file ({error}): fetch or import it again."
        ) from error
    name = header.get("trunk")
    if name is None:
        raise UserError(
            f"{path} does not say which trunk its weights are of: it is not one of `serl weights "
            "import`'s files. Import the original."
        )
    return make_trunk(name, params, precision, str(path))


def check_layout(name: str, leaves: Mapping[str, NDArray[Any]], source: str) -> None:
    """Refuse weights whose names or shapes are not the trunk's, naming the first difference.

    Args:
        leaves: arrays by path, names joined with '/'.
    """
    wanted = layout(name)
    for path in sorted(wanted.keys() | leaves.keys()):
        if path not in leaves:
            found = "it is missing"
        elif path not in wanted:
            raise UserError(f"{source} is not a {name}: it has no place for {path}.")
        elif leaves[path].shape != wanted[path]:
            found = f"it is {leaves[path].shape}"
        elif not np.isfinite(leaves[path]).all():
            found = "it holds numbers that are not finite"
        else:
            continue
        raise UserError(f"{source} is not a {name}: {path} must be {wanted[path]}, {found}.")


def layout(name: str) -> dict[str, tuple[int, ...]]:
    """Shape of every array of a trunk, by path; nothing is computed."""
    module = TRUNKS.get(name)()
    frame = jax.ShapeDtypeStruct((1, 128, 128, 3), jnp.uint8)
    params = jax.eval_shape(module.init, jax.random.key(0), frame)["params"]
    return {path: leaf.shape for path, leaf in _flat(params).items()}


def _flat(params: Mapping[str, Any]) -> dict[str, Any]:
    return {str(path): leaf for path, leaf in flatten_dict(dict(params), sep="/").items()}
