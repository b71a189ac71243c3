"""The one hidden stack every network uses: Dense, dropout, LayerNorm, activation, per layer."""

from __future__ import annotations

import flax.linen as nn
import jax

from serl.networks import bf16
from serl.networks.norm_act import ACTIVATIONS, NormAct

kernel_init = nn.initializers.xavier_uniform()
"""As SERL and RLPD, output layers included."""


PRECISIONS = {"float32": None, "bfloat16": bf16.dot_general, "auto": bf16.where_fast}
"""How a Dense multiplies; "auto" is bfloat16 on a machine that is faster so (bf16.is_fast)."""


class MLP(nn.Module):
    """(..., in) to (..., hidden[-1]); the last layer is activated too.

    Order and defaults are SERL's: serl_launcher/networks/mlp.py.
    """

    hidden: tuple[int, ...]
    activation: str = "tanh"
    layer_norm: bool = True
    dropout: float = 0.0
    precision: str = "float32"
    """One of PRECISIONS: how hidden layers after the first multiply. The first, which sees raw
    observations, is always float32."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        for layer, size in enumerate(self.hidden):
            product = PRECISIONS[self.precision] if layer else None
            x = nn.Dense(size, kernel_init=kernel_init, dot_general=product)(x)
            if self.dropout > 0.0:
                x = nn.Dropout(self.dropout)(x, deterministic=not train)
            if self.layer_norm:
                x = NormAct(self.activation)(x)
            else:
                x = ACTIVATIONS[self.activation].value(x)
        return x
