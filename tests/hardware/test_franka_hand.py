"""The Franka Hand's thread over a stand-in for franky's gripper that fails when told to."""

from __future__ import annotations

import sys
import time
from types import SimpleNamespace

import pytest

from robot_servers.grippers.franka_hand import TRIES, FrankaHand
from robot_servers.types import GripperTarget


class Done:
    def wait(self, _):
        return True

    def get(self):
        return True


class Fingers:
    """franky.Gripper: arrives at once; the next `broken` commands raise."""

    max_width = 0.08

    def __init__(self, address):
        self.width, self.broken, self.asked = 0.08, 0, 0

    @property
    def state(self):
        return SimpleNamespace(width=self.width, is_grasped=False)

    def move_async(self, width, speed):
        self.asked += 1
        if self.broken:
            self.broken -= 1
            raise RuntimeError("UDP receive: timeout")
        self.width = width
        return Done()

    def grasp_async(self, width, *_):
        return self.move_async(width, 0.1)


@pytest.fixture
def hand(monkeypatch):
    monkeypatch.setitem(sys.modules, "franky", SimpleNamespace(Gripper=Fingers))
    monkeypatch.setattr(FrankaHand, "_pause", lambda self: time.sleep(0.02))
    hand = FrankaHand(address="nowhere")
    hand.connect()
    yield hand
    hand.close()


def test_a_target_that_failed_is_given_again(hand):
    hand._hand.broken = 2
    hand.command(GripperTarget(width_m=0.03))
    end = time.monotonic() + 5
    while hand.state().width_m != 0.03 or hand.state().error:
        assert time.monotonic() < end, hand.state()
        time.sleep(0.01)
    assert hand._hand.asked == 3


def test_a_hand_that_always_fails_is_asked_a_few_times_and_says_why(hand):
    hand._hand.broken = 1000
    hand.command(GripperTarget(width_m=0.03))
    time.sleep(1.0)
    assert hand._hand.asked == 1 + TRIES
    hand._hand.broken = 0
    hand.command(GripperTarget(width_m=0.03))  # asked for anew, it is tried anew
    end = time.monotonic() + 5
    while hand.state().width_m != 0.03:
        assert time.monotonic() < end, hand.state()
        time.sleep(0.01)


def test_a_motion_that_fails_under_way_does_not_stay_an_error(hand):
    class Failed(Done):
        def get(self):
            raise RuntimeError("UDP receive: timeout")

    move = hand._hand.move_async
    hand._hand.grasp_async = lambda width, *_: (
        setattr(hand._hand, "grasp_async", lambda w, *_: move(w, 0.1)) or Failed()
    )
    hand.command(GripperTarget(width_m=0.03))
    end = time.monotonic() + 5
    while hand.state().width_m != 0.03 or hand.state().error:
        assert time.monotonic() < end, hand.state()
        time.sleep(0.01)
