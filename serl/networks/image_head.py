"""From a trunk's feature maps to a vector per camera, and what a network makes of such vectors.

A trunk turns each frame into a small map (h, w, C); a head pools it over its places, and one layer
brings it to a short code. Heads are what image agents and classifiers train; trunks stay frozen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from serl.networks import bf16
from serl.networks.mlp import kernel_init
from serl.networks.norm_act import NormAct


def _dot_general(dtype: Any) -> Callable[..., jax.Array]:
    """For `flax.linen.Dense(dot_general=...)`, (N, in) times (in, out), float32 outside.

    Products of the inputs rounded to `dtype`; the kernel's gradient is always float32. For that a
    CPU wants the transposed input laid out as such: 6.1 ms of one core instead of 8.3 for (256,
    4096) and 256 columns.
    """

    @jax.custom_vjp
    def product(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return forward(x, kernel)[0]

    def rounded(dims: str, a: jax.Array, b: jax.Array) -> jax.Array:
        return jnp.einsum(
            dims, a.astype(dtype), b.astype(dtype), preferred_element_type=jnp.float32
        )

    def forward(x, kernel):
        return rounded("ni,io->no", x, kernel), (x, kernel)

    def backward(saved, dy):
        x, kernel = saved
        turned = x.T
        if jax.default_backend() == "cpu":
            turned = jax.lax.optimization_barrier(turned)
        return rounded("no,io->ni", dy, kernel), turned @ dy

    product.defvjp(forward, backward)
    return lambda x, kernel, *_, **__: product(x, kernel)


_FLOAT32, _BFLOAT16 = _dot_general(jnp.float32), _dot_general(jnp.bfloat16)


def _where_fast(x: jax.Array, kernel: jax.Array, *_: Any, **__: Any) -> jax.Array:
    return (_BFLOAT16 if bf16.is_fast() else _FLOAT32)(x, kernel)


PRODUCTS = {"float32": _FLOAT32, "bfloat16": _BFLOAT16, "auto": _where_fast}
"""By precision, as serl.networks.mlp.PRECISIONS."""


class SpatialEmbeddings(nn.Module):
    """(N, h, w, C) to (N, C * K): K learned maps per channel.

        out[c, k] = Σ_hw f[hw, c] M[hw, c, k]

    Source: SERL's spatial learned embeddings, arXiv:2401.16013; kernel (h, w, C, K) as there. One
    product per channel: on two CPU cores 0.4 ms for 256 maps of 4x4x128.
    """

    size: int = 8

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        n, h, w, c = x.shape
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (h, w, c, self.size))
        flat = x.reshape(n, h * w, c).astype(jnp.float32)
        out = jnp.einsum("npc,pck->nck", flat, kernel.reshape(h * w, c, self.size))
        return out.reshape(n, c * self.size)


class SpatialSoftmax(nn.Module):
    """(N, h, w, C) to (N, 2 C): where each channel is strong, as row and column in -1 ... 1.

    Source: Levine et al., arXiv:1504.00702 sec. 5.1, with one learned temperature.
    """

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        n, h, w, c = x.shape
        sharpness = jnp.exp(self.param("log_sharpness", nn.initializers.zeros, ()))
        share = jax.nn.softmax(sharpness * x.reshape(n, h * w, c).astype(jnp.float32), axis=1)
        rows, columns = jnp.meshgrid(jnp.linspace(-1, 1, h), jnp.linspace(-1, 1, w), indexing="ij")
        places = jnp.stack([rows.ravel(), columns.ravel()], axis=-1)  # (h w, 2)
        return jnp.einsum("npc,pd->ncd", share, places).reshape(n, 2 * c)


class ImageHead(nn.Module):
    """One camera's feature maps (..., h, w, C), or (..., T, h, w, C), to a code (..., bottleneck).

    Pooling, dropout, Dense, LayerNorm, tanh, as serl.md 2.2. Each of T frames is pooled by the same
    pooling and the results are joined before the Dense.
    """

    pooling: str = "spatial_embeddings"
    """One of serl.agents.image_config.POOLINGS."""
    embeddings: int = 8
    bottleneck: int = 256
    dropout: float = 0.0
    stack: int = 1
    """T; at 1 the maps have no such axis."""
    precision: str = "float32"
    """One of serl.networks.mlp.PRECISIONS: how the Dense multiplies."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        lead = x.shape[: -4 if self.stack > 1 else -3]
        pooled = self._pool(x.reshape(-1, *x.shape[-3:])).reshape(prod(lead), -1)
        if self.dropout > 0.0:
            pooled = nn.Dropout(self.dropout)(pooled, deterministic=not train)
        product = PRODUCTS[self.precision]
        dense = nn.Dense(self.bottleneck, kernel_init=kernel_init, dot_general=product)
        return NormAct("tanh")(dense(pooled)).reshape(*lead, self.bottleneck)

    def _pool(self, x: jax.Array) -> jax.Array:
        match self.pooling:
            case "spatial_embeddings":
                return SpatialEmbeddings(self.embeddings)(x)
            case "spatial_softmax":
                return SpatialSoftmax()(x)
            case "average":
                return x.astype(jnp.float32).mean(axis=(-3, -2))
            case "max":
                return x.max(axis=(-3, -2)).astype(jnp.float32)
            case _:
                raise ValueError(f"pooling {self.pooling!r} is not known")


class ImageHeads(nn.Module):
    """One head per camera: {camera: (..., h, w, C)} to {camera: (..., bottleneck)}."""

    cameras: tuple[str, ...]
    head: ImageHead

    @nn.compact
    def __call__(self, maps: Mapping[str, jax.Array], train: bool = False) -> dict[str, jax.Array]:
        return {
            camera: self.head.clone(name=camera.replace("/", "_"), parent=self)(maps[camera], train)
            for camera in self.cameras
        }


class CodeEncoder(nn.Module):
    """Joins the cameras' codes and a code of the state vector: {name: (..., *)} to (..., D).

    The state's code, Dense, LayerNorm, tanh (serl.md 2.3), is learned by the network that owns this
    encoder: the policy's by the policy's loss alone, each critic's by its own.
    """

    cameras: tuple[str, ...]
    state: tuple[tuple[str, tuple[int, ...]], ...]
    """Name and shape of each other observation, in spec order, stacked axes included."""
    state_code: int = 64

    @nn.compact
    def __call__(self, obs: Mapping[str, jax.Array], train: bool = False) -> jax.Array:
        codes = [obs[camera] for camera in self.cameras]
        if self.state:
            parts = [_flat(obs[name], shape) for name, shape in self.state]
            vector = jnp.concatenate(parts, axis=-1)
            x = nn.Dense(self.state_code, kernel_init=kernel_init, name="state")(vector)
            codes.append(NormAct("tanh")(x))
        return jnp.concatenate(codes, axis=-1)


def _flat(x: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """(..., *shape) to (..., prod(shape)), float32."""
    return x.reshape(*x.shape[: x.ndim - len(shape)], prod(shape)).astype(jnp.float32)
