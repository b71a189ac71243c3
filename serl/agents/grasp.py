"""The grippers as one choice among classes, and the formulas of the double DQN that learns it.

A gripper closes (0), stays (1) or opens (2); several grippers make one joint class, the first one's
digit leading: 3 classes for one arm, 9 for two. Source: HIL-SERL, arXiv:2410.21845 (serl.md 1.8).
Shapes: B batch, E grasp critics, G classes, A action.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import sqrt

import jax
import jax.numpy as jnp
import numpy as np

from serl.agents.base import ActionScale, Batch, check_range
from serl.agents.optimizer import OptimizerConfig
from serl.errors import UserError
from serl.types import ArraySpec

WAYS = 3
"""Of one gripper: close, stay, open."""
THRESHOLD = 0.5
"""An element of ±1 beyond this opens, below minus this closes: envs.wrappers.action's."""


@dataclass(frozen=True, kw_only=True)
class GraspConfig:
    """The grasp critic, and how it is tried out and trained."""

    num_critics: int = 2
    """E, whole critics. The mean of all chooses; the minimum of their targets is learned from, as
    for two continuous critics. 1 is HIL-SERL's."""
    epsilon: float = 0.02
    """Share of training steps at which the class is drawn at random, all classes alike. HIL-SERL
    has 0: only humans, demonstrations and chance in Q ever try another one there."""
    hidden: tuple[int, ...] = (256, 256)
    """Hidden layer sizes; each has LayerNorm and activation, the last one too."""
    teaches_heads: bool = True
    """With cameras: whether the heads learn from this critic too, as HIL-SERL's do, or from the
    continuous critics alone."""
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)

    def __post_init__(self) -> None:
        check_range("grasp.num_critics", self.num_critics, 1, 100)
        check_range("grasp.epsilon", self.epsilon, 0.0, 1.0)
        if not self.hidden or min(self.hidden) < 1:
            raise UserError(
                f"agent.grasp.hidden is {self.hidden}; it must name at least one layer, each at "
                "least 1 wide."
            )


@dataclass(frozen=True)
class Grippers:
    """Which action elements are grippers, and what their joint class means."""

    columns: tuple[int, ...]
    """Of the grippers, in the order of the arms."""
    moves: tuple[int, ...]
    """Of all the others."""
    scale: ActionScale
    """Of the grippers' elements."""

    @staticmethod
    def of(action: ArraySpec) -> Grippers:
        """By the names of the elements: a gripper's ends in 'gripper'.

        Raises:
            UserError: there is no gripper, or nothing else.
        """
        names = action.fields
        columns = tuple(k for k, name in enumerate(names) if name.endswith("gripper"))
        moves = tuple(k for k in range(len(names)) if k not in columns)
        if not columns or not moves:
            raise UserError(
                "agent hybrid_sac moves an arm and chooses what its gripper does, but the elements "
                f"of the action are {', '.join(names) or 'not named'}: at least one must end in "
                "'gripper', and one not. Choose agent sac, or another env.action."
            )
        return Grippers(columns, moves, ActionScale.of(action).part(columns))

    @property
    def classes(self) -> int:
        """G."""
        return WAYS ** len(self.columns)

    def class_of(self, action: jax.Array) -> jax.Array:
        """Joint class (...) of actions (..., A) in the env's bounds."""
        unit = self.scale.to_unit(action[..., np.array(self.columns)])
        way = 1 + (unit >= THRESHOLD).astype(jnp.int32) - (unit <= -THRESHOLD).astype(jnp.int32)
        return (way * self._places).sum(axis=-1)

    def elements_of(self, joint: jax.Array) -> jax.Array:
        """The grippers' elements (..., n) in the env's bounds that say this class (...)."""
        way = joint[..., None] // self._places % WAYS
        return self.scale.from_unit(way.astype(jnp.float32) - 1.0)

    def joined(self, moves: jax.Array, grips: jax.Array) -> jax.Array:
        """The whole action (..., A), of its continuous and its gripper (..., n) elements."""
        order = np.argsort(np.array((*self.moves, *self.columns)))
        return jnp.concatenate([moves, grips], axis=-1)[..., order]

    @property
    def _places(self) -> np.ndarray:
        """Weight of each gripper's digit (n,)."""
        return WAYS ** np.arange(len(self.columns))[::-1].astype(np.int32)


def best_class(q: jax.Array) -> jax.Array:
    """argmax_g mean_i Q_i(s, g): (E, ..., G) to (...)."""
    return q.mean(axis=0).argmax(axis=-1)


def explored(best: jax.Array, noise: jax.Array, epsilon: float, classes: int) -> jax.Array:
    """`best`, or with probability ε any class alike.

    Both follow from one standard normal number z. c = |2 Φ(z) - 1| is uniform in 0 ... 1; above
    1 - ε the class is drawn, and where c lies up there says which. z = 0 never explores.
    """
    if epsilon == 0.0:
        return best
    c = jax.lax.erf(jnp.abs(noise) / sqrt(2.0))
    share = (c - (1.0 - epsilon)) / epsilon
    drawn = jnp.clip((share * classes).astype(best.dtype), 0, classes - 1)
    return jnp.where(share > 0.0, drawn, best)


def grasp_target(
    batch: Batch, penalty: jax.Array, online_q: jax.Array, target_q: jax.Array
) -> jax.Array:
    """What the grasp critics should say of (s, g): (B,).

        y = r + p + γⁿ (1 - terminated) min_i Q'_i(s', g*),   g* = argmax_g mean_i Q_i(s', g)

    The online critics choose, their targets judge; a time-out still bootstraps. p, the grasp
    penalty of the step, is at most 0, and nobody else sees it.

    Args:
        penalty: (B,); for n-step returns the discounted sum, as `reward`.
        online_q, target_q: at the next state, (E, B, G).

    Source: double DQN, arXiv:1509.06461; the minimum over members from TD3, arXiv:1802.09477.
    """
    chosen = class_values(target_q, best_class(online_q)).min(axis=0)
    y = batch.reward + penalty + batch.discount * (1.0 - batch.terminated) * chosen
    return jax.lax.stop_gradient(y)


def class_values(q: jax.Array, joint: jax.Array) -> jax.Array:
    """Q of one class per row: (E, B, G) and (B,) to (E, B)."""
    return jnp.take_along_axis(q, joint[None, :, None], axis=-1)[..., 0]
