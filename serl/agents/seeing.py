"""How an agent sees camera frames: codes of the cameras stand in for what they show.

With a frozen trunk the agent is given the trunk's features and never holds the trunk; otherwise it
is given frames, shifts them, and the trunk is one more part of what it learns. What always learns
are the heads (serl/networks/image_head.py), one set, trained by the loss that the agent says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.core import unfreeze

from serl import pixels
from serl.agents.base import PureAgent
from serl.agents.image_config import ImageConfig
from serl.errors import SpecMismatch, UserError
from serl.networks.augment import augmented
from serl.networks.crops import random_offsets, shifted
from serl.networks.image_head import CodeEncoder, ImageHead, ImageHeads
from serl.networks.trunk import TRUNKS, default_trunk, feature_shape
from serl.types import ArraySpec, Spec

Observations = Mapping[str, jax.Array]

feature_shape = cache(feature_shape)


class Seeing(PureAgent):
    """What agents with cameras share; goes before the agent it lends sight to.

    Parameters that see are a dict: "heads" and, if it is trained, "trunk"; others beside them are
    left alone. Call `open_eyes` before the rest of `__init__`.
    """

    def open_eyes(self, image: ImageConfig, spec: Spec, precision: str) -> None:
        """Choose trunk and heads.

        Args:
            spec: of the environment, with at least one uint8 (H, W, 3) observation; all of one
                size.
            precision: how the heads multiply.
        """
        self.image = image
        frames = pixels.images(spec)
        self.cameras = tuple(a.name for a in frames)
        if len({a.shape for a in frames}) > 1:
            sizes = ", ".join(f"{a.name} {a.shape}" for a in frames)
            raise UserError(f"cameras of different sizes: {sizes}. Give all the same `size`.")
        self.frame_shape = frames[0].shape
        self.trunk_name = default_trunk() if image.trunk == "auto" else image.trunk
        self.trunk = TRUNKS.get(self.trunk_name)()
        self.feature_shape = feature_shape(self.trunk_name, self.frame_shape)  # pyright: ignore
        self.stack_axis = (image.stack,) if image.stack > 1 else ()
        head = ImageHead(
            pooling=image.pooling,
            embeddings=image.embeddings,
            bottleneck=image.bottleneck,
            dropout=image.dropout,
            stack=image.stack,
            precision=precision,
        )
        self.heads = ImageHeads(self.cameras, head)

    def make_encoder(self) -> CodeEncoder:
        """Codes of the cameras and of all that is no frame."""
        state = tuple(
            (a.name, (*self.stack_axis, *a.shape))
            for a in self.spec.observation
            if a.name not in self.cameras
        )
        return CodeEncoder(self.cameras, state, self.image.state_code)

    @property
    def encodes(self) -> bool:
        """Whether a frozen trunk comes before this agent; otherwise it is given frames."""
        return self.image.frozen

    @property
    def seen_spec(self) -> Spec:
        """With a frozen trunk features for frames; with stacks of T an axis T before each shape."""

        def seen(array: ArraySpec) -> ArraySpec:
            camera = array.name in self.cameras
            if camera and self.encodes:
                array = replace(array, shape=self.feature_shape, dtype="bfloat16")
            return replace(array, shape=(*self.stack_axis, *array.shape), low=None, high=None)

        spec = super().seen_spec
        return replace(spec, observation=tuple(map(seen, spec.observation)))

    @property
    def record_spec(self) -> Spec:
        """The spec, with room for the features of a frozen trunk where the learner keeps any."""
        kept = self.encodes and self.image.crops > 0
        return pixels.record_spec(self.spec, self.feature_shape) if kept else self.spec

    def first_eyes(self, head_key: jax.Array, trunk_key: jax.Array, obs: Observations) -> Any:
        """Parameters that see, fresh, from observations as `seen_spec` has them."""
        params = {} if self.encodes else {"trunk": self.first_trunk(trunk_key)}
        maps = self.features(params, obs)
        params["heads"] = self.heads.init(head_key, maps)["params"]
        return params

    def first_trunk(self, key: jax.Array) -> Any:
        """Parameters that a trunk to be trained starts from: the weights its config names."""
        if self.image.weights == "random":
            frame = jnp.zeros(self.frame_shape, jnp.uint8)
            return unfreeze(self.trunk.init(key, frame))["params"]
        from serl.trunk import load_trunk

        params = load_trunk(replace(self.image, trunk=self.trunk_name)).params
        return jax.tree.map(jnp.asarray, params)

    def see(self, params: Any, obs: Observations, key: jax.Array | None = None) -> Observations:
        """Observations with each camera's code (..., bottleneck) in place of what it shows.

        Args:
            params: of whoever sees, or what is published: heads and trunk.
            key: for the dropout of pooled features; None leaves none out.
        """
        rngs = {"dropout": key} if key is not None and self.image.dropout > 0.0 else None
        maps = self.features(params, obs)
        codes = self.heads.apply({"params": params["heads"]}, maps, rngs is not None, rngs=rngs)
        return {**obs, **codes}  # pyright: ignore

    def features(self, params: Any, obs: Observations) -> Observations:
        """Each camera's maps ([T,] h, w, C): as given, or by the trunk that is being trained."""
        shown = {camera: jnp.asarray(obs[camera]) for camera in self.cameras}
        self._check(shown)
        if self.encodes:
            return {
                camera: jax.lax.bitcast_convert_type(x, jnp.bfloat16) if x.dtype == np.uint16 else x
                for camera, x in shown.items()
            }
        frames = jnp.stack([shown[camera] for camera in self.cameras])
        flat = frames.reshape(-1, *self.frame_shape)
        maps = self.trunk.apply({"params": params["trunk"]}, flat)
        maps = maps.reshape(*frames.shape[:-3], *self.feature_shape)  # pyright: ignore
        return dict(zip(self.cameras, maps, strict=True))

    def shift(self, obs: Observations, key: jax.Array) -> Observations:
        """Frames (B, [T,] H, W, 3) shifted by a random offset of each row and camera (DrQ,
        arXiv:2004.13649) and augmented; all T frames alike. Features come from such frames."""
        px, augment = self.image.shift_px, self.image.augment
        if self.encodes:
            return obs
        keys = jax.random.split(key, len(self.cameras))
        out = dict(obs)
        for camera, camera_key in zip(self.cameras, keys, strict=True):
            frames = obs[camera]
            if augment.on:
                row_keys = jax.random.split(jax.random.fold_in(camera_key, 1), len(frames))
                frames = augmented(frames, row_keys, augment)
            offsets = random_offsets(camera_key, frames.shape[:1], px)
            offsets = jnp.repeat(offsets, self.image.stack, axis=0)
            flat = frames.reshape(-1, *self.frame_shape)
            out[camera] = shifted(flat, offsets, px).reshape(frames.shape)
        return out

    def _check(self, shown: Observations) -> None:
        """Raises SpecMismatch where a camera shows something else than `seen_spec` says."""
        expected = self.feature_shape if self.encodes else self.frame_shape
        expected = (*self.stack_axis, *expected)
        dtypes = ("bfloat16", "uint16", "float32") if self.encodes else ("uint8",)
        for camera, x in shown.items():
            if x.shape[-len(expected) :] != expected or x.dtype.name not in dtypes:
                what = f"features of trunk {self.trunk_name!r}" if self.encodes else "frames"
                raise SpecMismatch(
                    f"camera {camera!r} shows {x.dtype.name} {x.shape}; this agent sees {what}, "
                    f"{dtypes[0]} {expected}."
                )


def seeing_params(params: Any) -> dict[str, Any]:
    """What sees among a network's parameters: heads, and trunk if it is trained."""
    return {name: params[name] for name in ("heads", "trunk") if name in params}
