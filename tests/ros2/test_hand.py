"""The Franka Hand behind franka_ros2's gripper node."""

from __future__ import annotations

import time

import pytest

from robot_servers.backends.ros2.session import poll
from robot_servers.grippers import ros2_hand
from robot_servers.grippers.ros2_hand import Ros2Hand
from robot_servers.types import GripperTarget
from serl.errors import UserError


@pytest.fixture
def hand(world):
    hand = Ros2Hand()
    hand.connect()
    yield hand
    hand.close()


def settled(hand):
    assert poll(lambda: not hand.state().moving, 3.0)
    return hand.state()


def test_an_opened_hand_reads_its_opening_and_a_command_returns_at_once(hand):
    began = time.monotonic()
    hand.command(GripperTarget(width_m=0.02))
    assert time.monotonic() - began < 0.1
    assert hand.state().moving
    assert settled(hand).width_m == pytest.approx(0.02, abs=1e-3)
    hand.command(GripperTarget(width_m=0.08))
    assert settled(hand).width_m >= 0.95 * 0.08
    assert not hand.state().error


def test_closing_grasps_what_is_there_and_says_that_it_holds(hand, world):
    world.object_width_m = 0.03
    hand.command(GripperTarget(width_m=0.0, force_n=20.0))
    assert poll(lambda: hand.state().holding, 3.0)
    assert hand.state().width_m == pytest.approx(0.03, abs=1e-3)
    assert hand.state().target_m == 0.0
    assert not hand.state().error


def test_the_newest_target_wins_over_one_under_way(hand):
    hand.command(GripperTarget(width_m=0.0))
    time.sleep(0.2)
    hand.command(GripperTarget(width_m=0.07))
    hand.command(GripperTarget(width_m=0.06))
    assert poll(lambda: abs(hand.state().width_m - 0.06) < 1e-3, 3.0)
    assert not hand.state().error


def test_no_gripper_node_is_one_line(world, monkeypatch):
    monkeypatch.setattr(ros2_hand, "FIRST_STATE_S", 0.2)
    with pytest.raises(UserError, match=r"nothing on topic left_gripper/joint_states .*--gripper"):
        Ros2Hand(address="left_gripper").connect()
