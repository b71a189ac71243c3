"""The network goes away without a word, and comes back."""

from __future__ import annotations

import time

import numpy as np
import pytest
from robot_server.wire_cutter import WireCutter

from robot_servers.client import StaleState
from robot_servers.types import Mode


@pytest.fixture
def wire(kit):
    server = kit.serve()
    wire = WireCutter(*server.address)
    kit._open.insert(0, wire)
    wire.server = server
    return wire


def test_a_dropped_network_pauses_the_client_and_holds_the_arm_and_both_go_on(wire, kit, offset):
    guard = wire.server.guard
    remote = kit.remote(f"grpc://127.0.0.1:{wire.port}", valid_for_s=0.2)
    for _ in range(10):
        remote.command({"": offset(remote.states()[""], y=0.02)})
        remote.advance(0.02)
    wire.cut()
    cut_ns = time.monotonic_ns()
    with pytest.raises(StaleState):
        remote.command({"": offset(remote.states()[""], y=0.02)})
    assert (time.monotonic_ns() - cut_ns) * 1e-9 < 1.5  # bounded: the env is told, not stuck
    with pytest.raises(StaleState, match="old"):
        remote.states()
    _, frozen = guard.wait_newer(-(1 << 62), 1.0)
    assert frozen[""].mode is Mode.HOLD
    time.sleep(0.2)
    later = guard.states()[""]
    np.testing.assert_array_equal(later.T_base_target, frozen[""].T_base_target)
    wire.mend()
    deadline = time.monotonic() + 10
    while True:
        try:
            remote.states()
            break
        except StaleState:
            assert time.monotonic() < deadline
            time.sleep(0.02)
    assert guard.states()[""].mode is Mode.HOLD  # what was sent before is too old to be obeyed
    remote.command({"": offset(remote.states()[""])})
    assert wire.server.leases.holder
