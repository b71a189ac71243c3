"""What a client does while servers or the network are away."""

from __future__ import annotations

import logging
import threading
import time
from argparse import Namespace

import pytest
from robot_server.wire_cutter import WireCutter

from launch import robot_link
from robot_servers.client import StaleState
from robot_servers.types import FaultKind, Mode
from serl.errors import UserError


def wired(kit, server):
    wire = WireCutter(*server.address)
    kit._open.insert(0, wire)
    return wire


@pytest.fixture
def pair(kit):
    """Two arms, the first of which is reached over a wire that has been cut; the second's guard."""
    left, right = kit.serve(), kit.serve()
    wire = wired(kit, left)
    address = f"left=grpc://127.0.0.1:{wire.port},right=grpc://{right.address}"
    remote = kit.remote(address, valid_for_s=1.0)
    remote.advance(0.05)
    wire.cut()
    return remote, right.guard, address


@pytest.mark.parametrize("word", ["stop", "halt"])
def test_a_server_that_hangs_does_not_keep_the_other_arm_from_stopping(pair, word, until):
    remote, right, _ = pair
    asked = time.monotonic()
    stop = {"stop": lambda: remote.stop("enough"), "halt": lambda: remote.halt(["left", "right"])}
    with pytest.raises(UserError, match="does not answer"):
        stop[word]()
    fault = right.states()[""].fault
    assert fault.kind is (FaultKind.STOP if word == "stop" else FaultKind.ESTOP)
    assert fault.stamp_mono_ns * 1e-9 - asked < 1.0
    assert time.monotonic() - asked < 8.0


def test_hold_reaches_the_server_that_is_there_at_once(pair, offset, until):
    remote, right, _ = pair
    remote.command({"right": offset(right.states()[""])})
    until(lambda: right.states()[""].mode is Mode.IMPEDANCE, "the right arm to follow")
    failures = []

    def hold():
        try:
            remote.hold(["left", "right"])
        except UserError as error:
            failures.append(str(error))

    thread = threading.Thread(target=hold)
    thread.start()
    until(lambda: right.states()[""].mode is Mode.HOLD, "the right arm to hold", 0.6)
    thread.join()
    assert len(failures) == 1
    assert "does not answer" in failures[0]


def test_the_operators_stop_reaches_every_server_at_once(pair):
    _, right, address = pair
    args = Namespace(address=address, token_file=None, tls_ca=None, tls_name=None)
    args.insecure_lan = False
    asked = time.monotonic()
    with pytest.raises(UserError, match="does not answer"):
        robot_link.stop(args)
    fault = right.states()[""].fault
    assert fault.kind is FaultKind.STOP
    assert fault.stamp_mono_ns * 1e-9 - asked < 1.0


def test_a_real_time_scene_in_an_outage_is_stale_within_five_seconds(kit):
    server = kit.simulator(lockstep=False, arms={"": "panda"})
    wire = wired(kit, server)
    remote = kit.remote(f"grpc://127.0.0.1:{wire.port}", arms={"": "panda"}, lockstep=False)
    wire.cut()
    for call in (remote.scene.object_poses, lambda: remote.scene.reset([])):
        asked = time.monotonic()
        with pytest.raises(StaleState):
            call()
        assert time.monotonic() - asked < 5.0


def all_is_well(remote):
    try:
        remote.states()
    except StaleState:
        return False
    return True


def test_an_outage_is_said_once_and_its_end_once(kit, caplog, until):
    server = kit.serve()
    remote = kit.remote(server)
    with caplog.at_level(logging.WARNING, logger="robot_servers.link"):
        server.close()
        until(lambda: not all_is_well(remote), "the outage to be seen")
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            assert not all_is_well(remote)
            time.sleep(0.02)
        said = [r.getMessage() for r in caplog.records]
        assert sum("command stream broke" in line for line in said) == 1
        assert len(said) == 2, said  # and that states come no more
        server = kit.serve(bind=str(server.address))
        until(lambda: all_is_well(remote), "the server to be there again")
    said = [r.getMessage() for r in caplog.records][2:]
    assert sum("go through again" in line for line in said) == 1
    assert sum("states come again" in line for line in said) == 1
    assert len(said) == 2, said
