"""What every gripper's driver promises, run over all that this machine can bring up.

A new gripper is made with the address of a file that takes whatever is written to it, as a device
does. One that needs more enters `MAKERS`; one that cannot be made here says in `ELSEWHERE` where it
is tested.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from robot_servers.grippers.base import GRIPPERS
from robot_servers.types import GripperTarget

ROOT = Path(__file__).resolve().parent.parent.parent

ELSEWHERE: dict[str, str] = {
    "franka_hand": "tests/hardware/test_franky.py",  # on franky-sim
    "none": "tests/hardware/test_hardware_backend.py",  # there is none to command
    "robotiq": "tests/hardware/test_robotiq.py",  # a Modbus server on loopback
    "ros2_hand": "tests/ros2/test_hand.py",  # over a fake of rclpy
}

MAKERS: dict[str, Callable[[Path], Any]] = {"mock": lambda device: GRIPPERS.get("mock")()}

MAKERS |= {
    name: partial(lambda name, device: GRIPPERS.get(name)(address=str(device)), name)
    for name in GRIPPERS
    if name not in MAKERS.keys() | ELSEWHERE.keys()
}

AT_ONCE_S = 0.05
"""A call that returns at once, on a busy machine; a motion takes ten times as long."""


def test_every_gripper_is_held_to_this_contract_or_says_where_it_is_tested():
    assert set(GRIPPERS.names()) == MAKERS.keys() | ELSEWHERE.keys()
    assert not MAKERS.keys() & ELSEWHERE.keys()
    assert all((ROOT / file).is_file() for file in ELSEWHERE.values())


@pytest.fixture(params=MAKERS)
def gripper(request, tmp_path):
    device = tmp_path / "device"
    device.touch()
    gripper = MAKERS[request.param](device)
    gripper.connect()
    yield gripper
    gripper.close()


def until(gripper, done, limit_s=10.0):
    deadline = time.monotonic() + limit_s
    while not done(state := gripper.state()):
        assert time.monotonic() < deadline, state
        time.sleep(0.01)
    return state


def go(gripper, share):
    """To this share of its opening, without a wait."""
    target = GripperTarget(width_m=share * gripper.description.width_max_m)
    start = time.monotonic()
    gripper.command(target)
    assert time.monotonic() - start < AT_ONCE_S
    return target.width_m


def test_it_describes_itself(gripper):
    d = gripper.description
    assert d.name
    assert min(d.width_max_m, d.force_max_n, d.speed_max_m_per_s) > 0
    assert d.width_max_m < 0.5  # metres, not millimetres


def test_it_closes_and_opens_to_its_opening_without_anyone_waiting(gripper):
    for share in (0.0, 1.0):
        width = go(gripper, share)
        state = until(gripper, lambda s, w=width: s.target_m == w and not s.moving)
        assert not state.error
        opening = state.width_m / gripper.description.width_max_m
        assert opening >= 0.95 if share else opening <= 0.05


def test_the_newest_target_wins(gripper):
    go(gripper, 0.0)
    until(gripper, lambda s: not s.moving)
    go(gripper, 1.0)
    time.sleep(0.05)
    go(gripper, 0.0)
    state = until(gripper, lambda s: s.target_m == 0.0 and not s.moving)
    assert state.width_m <= 0.05 * gripper.description.width_max_m


def test_a_state_is_fresh_and_costs_nothing(gripper):
    """Read in the arm's loop, 200 times a second."""
    took_s = []
    for _ in range(5):  # the machine may be doing something else
        start = time.monotonic()
        states = [gripper.state() for _ in range(100)]
        took_s.append(time.monotonic() - start)
    assert min(took_s) < AT_ONCE_S
    stamps = [state.stamp_mono_ns for state in states]
    assert stamps == sorted(stamps)
    assert time.monotonic_ns() - stamps[-1] < 1e9
    assert all(0 <= state.width_m <= gripper.description.width_max_m for state in states)


def test_closing_twice_is_closing_once(gripper):
    gripper.close()
    gripper.close()
    gripper.connect()
    go(gripper, 1.0)
    until(gripper, lambda s: not s.moving)
