"""The doctor's line on the arm's system version, which no library here can read."""

from __future__ import annotations

import pytest

from launch import doctor_robot
from robot_servers.protocol import robot_pb2 as pb

ACCEPTED = {"library": "franky-control 1.0; the arm accepts its libfranka"}


def line(backend, **facts):
    reply = pb.DescribeReply(version="1", backend=backend, facts=facts)
    return {check.name: check for check in doctor_robot.server(reply)}.get("firmware")


@pytest.mark.parametrize("backend", ["franky", "ros2"])
def test_a_version_that_cannot_be_read_is_said_not_left_out(backend):
    check = line(backend)
    assert check.ok is None
    assert "not readable" in check.text
    assert "Desk" in check.text
    assert "matches" not in check.text


def test_an_arm_that_accepted_the_library_matches_it():
    assert "matches" in line("franky", **ACCEPTED).text


def test_a_backend_that_knows_it_says_it_and_a_simulator_has_none():
    assert line("vendor", firmware="5.7.1").text == "5.7.1"
    assert line("mujoco") is None
