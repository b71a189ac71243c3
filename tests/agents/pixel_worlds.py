"""Small image agents for the tests: two cameras of 64x64 pixels, features (2, 2, 128)."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from serl.agents.base import Batch, example_batch
from serl.agents.image_config import ImageConfig
from serl.agents.image_sac import ImageSAC
from serl.agents.sac import SACConfig
from serl.types import ArraySpec, Spec

CAMERAS = ("front", "wrist")


def spec_of(size: int = 64) -> Spec:
    """A state vector, two cameras, two action elements."""
    return Spec(
        observation=(
            ArraySpec(name="state", shape=(5,), dtype="float32"),
            *(ArraySpec(name=c, shape=(size, size, 3), dtype="uint8") for c in CAMERAS),
        ),
        action=ArraySpec(name="action", shape=(2,), dtype="float32", low=-1.0, high=1.0),
    )


SPEC = spec_of()
SMALL = SACConfig(
    hidden=(16, 16),
    num_critics=3,
    batch_size=6,
    utd_ratio=2,
    image=ImageConfig(trunk="small", weights="random", embeddings=2, bottleneck=8, state_code=4),
)


@cache
def image_agent(spec: Spec = SPEC, image: tuple[tuple[str, Any], ...] = (), **changes) -> ImageSAC:
    """SMALL with changes; `image` as pairs."""
    config = replace(SMALL, image=replace(SMALL.image, **dict(image)), **changes)
    agent = config.make(spec)
    assert isinstance(agent, ImageSAC)
    return agent


def batches_of(agent: ImageSAC, seed: int = 0) -> Batch:
    """(U, B, ...) random rows as the agent sees them."""
    rng = np.random.default_rng(seed)
    config = agent.config
    batches = example_batch(agent.seen_spec, rng, (config.utd_ratio, config.batch_size))
    if agent.encodes:
        return batches

    def frames(obs: dict[str, Any]) -> dict[str, Any]:
        draw = {c: rng.integers(0, 256, obs[c].shape, np.uint8) for c in CAMERAS}
        return {**obs, **draw}

    return replace(batches, obs=frames(batches.obs), next_obs=frames(batches.next_obs))


def first(batches: Batch) -> Batch:
    """The first of U minibatches."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), batches)


def plain(tree: Any) -> list[np.ndarray]:
    """Each leaf as numbers, typed keys included; a copy."""
    words = (
        jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x
        for x in jax.tree.leaves(tree)
    )
    return [np.array(x) for x in words]


def same(a: Any, b: Any) -> bool:
    """Whether two trees hold equal numbers."""
    return all(np.array_equal(x, y) for x, y in zip(plain(a), plain(b), strict=True))
