from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from rewards.squares import square_episode

from serl.rewards.frames import Episode


@pytest.fixture
def squares() -> list[Episode]:
    """Twelve episodes from left to right."""
    rng = np.random.default_rng(0)
    return [square_episode(np.sort(rng.uniform(0, 1, 20))) for _ in range(12)]


@pytest.fixture(scope="session")
def trunk() -> Any:
    from serl.trunk import random_trunk

    return random_trunk("small", seed=0)
