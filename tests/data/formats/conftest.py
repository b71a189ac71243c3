"""The helpers of `made`, for every format alike."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from data.formats.made import ENDS, HZ, episode, episodes, spec


@pytest.fixture(scope="session")
def kit() -> SimpleNamespace:
    """The helpers of this file."""
    return SimpleNamespace(spec=spec, episode=episode, episodes=episodes, hz=HZ, ends=ENDS)
