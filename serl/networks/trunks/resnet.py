"""ResNets with group normalisation, as in SERL: names and shapes of its published weights.

Source: He et al., arXiv:1512.03385; group norm: Wu and He, arXiv:1803.08494. ResNet-10 is one block
per stage; 4 905 792 parameters in 36 arrays, 128x128x3 to 4x4x512. The published file is described
in serl.weights.serl_resnet10.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from serl.networks.trunk import TRUNKS

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
"""Of ImageNet's pixels as fractions of 255, per channel."""

GROUPS = 4
EPSILON = 1e-5


class ResNet(nn.Module):
    """Stem and four stages, each half the size and twice the width of the one before."""

    blocks: tuple[int, ...] = (1, 1, 1, 1)
    """Per stage."""
    dtype: Any = jnp.float32
    """What products are computed in; parameters, norms' statistics and features are float32."""

    @nn.compact
    def __call__(self, frames: jax.Array) -> jax.Array:
        """Frames (..., H, W, 3) in 0 ... 255 to (..., ceil(H / 32), ceil(W / 32), 512)."""
        lead = frames.shape[:-3]
        x = frames.reshape(-1, *frames.shape[-3:]).astype(jnp.float32) / 255.0
        x = ((x - jnp.array(MEAN)) / jnp.array(STD)).astype(self.dtype)
        x = conv(64, 7, 2, self.dtype, padding=((3, 3), (3, 3)), name="conv_init")(x)
        x = nn.relu(norm(self.dtype, "norm_init")(x))
        x = nn.max_pool(x, (3, 3), strides=(2, 2), padding="SAME")
        index = 0
        for stage, count in enumerate(self.blocks):
            for block in range(count):
                stride = 2 if stage and not block else 1
                name = f"ResNetBlock_{index}"
                x = Block(64 << stage, stride, self.dtype, name=name)(x)
                index += 1
        return x.astype(jnp.float32).reshape(*lead, *x.shape[1:])


class Block(nn.Module):
    """relu(x + norm(conv(relu(norm(conv(x)))))); x is projected where its shape changes."""

    width: int
    stride: int
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        y = conv(self.width, 3, self.stride, self.dtype, name="Conv_0")(x)
        y = nn.relu(norm(self.dtype, "MyGroupNorm_0")(y))
        y = conv(self.width, 3, 1, self.dtype, name="Conv_1")(y)
        y = norm(self.dtype, "MyGroupNorm_1")(y)
        if x.shape != y.shape:
            x = conv(self.width, 1, self.stride, self.dtype, name="conv_proj")(x)
            x = norm(self.dtype, "norm_proj")(x)
        return nn.relu(x + y)


def conv(
    width: int, size: int, stride: int, dtype: Any, *, name: str, padding: Any = "SAME"
) -> nn.Conv:
    """Without a bias: a norm follows."""
    return nn.Conv(
        width,
        (size, size),
        strides=(stride, stride),
        padding=padding,
        use_bias=False,
        dtype=dtype,
        kernel_init=nn.initializers.kaiming_normal(),
        name=name,
    )


def norm(dtype: Any, name: str) -> nn.GroupNorm:
    """Over height, width and a quarter of the channels."""
    return nn.GroupNorm(num_groups=GROUPS, epsilon=EPSILON, dtype=dtype, name=name)


@TRUNKS.register("resnet10")
class ResNet10(ResNet):
    """4 905 792 parameters."""


@TRUNKS.register("resnet18")
class ResNet18(ResNet):
    """Two blocks per stage; 11 176 512 parameters."""

    blocks: tuple[int, ...] = (2, 2, 2, 2)
