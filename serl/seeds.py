"""Which seed an episode gets: blocks that never meet.

Training, demonstrations, the gates that stop training, the final test and tuning each draw
episode seeds from a block of their own, so an evaluation is never on an episode that was trained
or tuned on.
"""

from __future__ import annotations

import enum


class Purpose(enum.IntEnum):
    """The high bits of a seed. The numbers are in published results: never reuse one."""

    TRAIN = 1
    DEMO = 2
    GATE = 3
    FINAL = 4
    TUNE = 5


def episode_seed(purpose: Purpose, experiment_seed: int, episode: int, *, lane: int = 0) -> int:
    """The seed of one episode: purpose, experiment seed, lane and episode in disjoint bits.

    Args:
        experiment_seed: 0 to 65535.
        episode: 0 to 2**24 - 1.
        lane: 0 to 4095; tells several actors, or several gates, of one run apart.

    Raises:
        ValueError: an argument outside its range.
    """
    for name, value, bits in (
        ("experiment seed", experiment_seed, 16),
        ("episode", episode, 24),
        ("lane", lane, 12),
    ):
        if not 0 <= value < 1 << bits:
            raise ValueError(f"{name} {value} is outside 0 to {(1 << bits) - 1}")
    return purpose << 52 | experiment_seed << 36 | lane << 24 | episode
