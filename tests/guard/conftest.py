"""Guards over a backend whose time stands still until a test lets it tick."""

from __future__ import annotations

from dataclasses import replace

import pytest
from guard.fake_backend import Cell, FakeBackend

from robot_servers.config import RobotConfig
from robot_servers.guard import Guard


@pytest.fixture
def cells(tmp_path):
    """Makes cells; closes them."""
    made = []

    def make(names=("",), *, ready=True, **options):
        config = options.pop("config", RobotConfig())
        config = replace(config, recordings=tmp_path / "recordings")
        backend = FakeBackend(names, **options)
        events = []
        guard = Guard(backend, config, clock=backend.clock, on_event=events.append, settle_s=0.0)
        guard.start()
        made.append(guard)
        if ready and not backend.lockstep:
            backend.tick_for(0.35)
        return Cell(guard, backend, events)

    yield make
    for guard in made:
        guard.close()
