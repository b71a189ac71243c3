"""Soft start of joint moves and pushes; the TCP itself in a keep-out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from robot_servers.backends.joint_line import JointLine
from robot_servers.config import ArmSettings, KeepOut, RobotConfig, SafetyLimits, Workspace
from robot_servers.control import se3
from robot_servers.joint_path import softly_started
from robot_servers.models.base import MODELS
from robot_servers.ramps import SOFT_START_S, SOFT_START_SPEED_SHARE
from robot_servers.types import (
    ArmCommand,
    FaultKind,
    JointTarget,
    Mode,
    MotionLimits,
    WrenchTarget,
)

ROBOT = MODELS.get("panda").description
HOME = np.array(ROBOT.q_home_rad)
PUSH = WrenchTarget(wrench=np.array([0.0, 0.0, -5.0, 0.0, 0.0, 0.0]))


def send(cell, target):
    return cell.guard.command({"": ArmCommand(target=target)}, valid_for_s=0.1)[""]


def passed(cell):
    return cell.backend.said("command")[-1][1][""].target


def test_a_joint_move_is_never_faster_than_the_ramp():
    target = softly_started(JointTarget(q_rad=HOME + 0.5), HOME, ROBOT, SOFT_START_S)
    assert target.acceleration_share < 1.0
    line = JointLine(HOME, target.q_rad, ROBOT, target.speed_share, None, target.acceleration_share)
    full = target.speed_share * np.array(ROBOT.dq_max_rad_per_s)
    for i in range(1, 101):
        line.advance(0.005)
        ramp = min(1.0, SOFT_START_SPEED_SHARE + (1 - SOFT_START_SPEED_SHARE) * i * 0.005 / 0.5)
        assert (np.abs(line.dq_ref) <= ramp * full + 1e-9).all()


def test_out_of_hold_a_joint_move_starts_softly_and_a_later_one_does_not(cells):
    cell = cells()
    assert send(cell, JointTarget(q_rad=HOME + 0.05)).refused == ""
    first = passed(cell).acceleration_share
    for _ in range(12):
        send(cell, JointTarget(q_rad=HOME + 0.05))
        cell.backend.tick_for(0.05)
    assert send(cell, JointTarget(q_rad=HOME + 0.06)).refused == ""
    assert passed(cell).acceleration_share > first


def test_out_of_hold_a_push_grows_with_the_ramp_and_is_no_clamp(cells):
    cell, seen = cells(), []
    for _ in range(60):
        verdict = send(cell, PUSH)
        assert (verdict.refused, verdict.clamps) == ("", ())
        seen.append(passed(cell).wrench[2])
        cell.backend.tick(10)
    assert seen[0] == pytest.approx(-1.0)
    assert seen[25] == pytest.approx(-3.0, abs=0.2)
    assert seen[-1] == -5.0
    assert (np.diff(seen) <= 0).all()


def test_in_lockstep_there_is_no_soft_start(cells):
    cell = cells(lockstep=True)
    command = ArmCommand(target=PUSH)
    cell.guard.command({"": command}, valid_for_s=0.1)
    assert cell.backend.said("command")[-1][1][""] is command
    cell.guard.set_motion({"": MotionLimits(linear_speed_m_per_s=0.4)})
    assert cell.backend.limits[""].linear_speed_m_per_s == 0.4


@pytest.fixture
def walled(cells):
    """A cell with a keep-out that begins 5 cm beyond where the TCP is, in x."""
    x, y, z = MODELS.get("panda").T_base_tcp(HOME)[:3, 3]
    box = KeepOut(low_m=(x + 0.05, y - 0.2, z - 0.2), high_m=(x + 0.25, y + 0.2, z + 0.2))
    limits = SafetyLimits(workspace=replace(Workspace(), keep_out=(box,)))
    return cells(config=RobotConfig(arm=ArmSettings(limits=limits)))


def displace(cell, x):
    T = se3.apply_displacement(cell.T, np.array([x, 0, 0, 0, 0, 0]))
    cell.backend.set("", T_base_tcp=T)
    cell.backend.tick()


def test_a_push_into_a_keep_out_faults_at_its_face(walled):
    send(walled, PUSH)
    walled.backend.tick()
    displace(walled, 0.049)
    assert walled.state().fault is None
    displace(walled, 0.002)
    assert walled.state().fault.kind is FaultKind.WORKSPACE
    assert "0.1 cm inside the keep-out" in walled.state().fault.reason


def test_a_spring_may_be_bent_two_centimetres_into_a_keep_out_and_no_further(walled):
    walled.backend.follow = False
    send(walled, walled.shifted(0.01))
    walled.backend.tick()
    displace(walled, 0.069)
    assert walled.state().fault is None
    displace(walled, 0.002)
    assert walled.state().fault.kind is FaultKind.WORKSPACE


def test_an_arm_in_a_keep_out_may_not_push_and_may_come_out(walled):
    displace(walled, 0.1)
    assert "may not push" in send(walled, PUSH).refused
    walled.backend.follow = False
    assert send(walled, walled.shifted(-0.03)).refused == ""
    walled.backend.tick()
    displace(walled, -0.02)
    assert walled.state().fault is None
    displace(walled, 0.03)
    assert walled.state().fault.kind is FaultKind.WORKSPACE


def test_narrowing_forgives_the_place_and_no_force(cells):
    cell = cells()
    send(cell, cell.shifted(0.01))
    cell.backend.tick()
    cell.backend.set("", wrench_base_ext=np.array([90.0, 0, 0, 0, 0, 0]))
    for force_n in (79.0, 78.0, 77.0, 76.0):
        cell.backend.tick(5)
        cell.guard.narrow({"": replace(SafetyLimits(), force_n=force_n)})
    assert cell.state().fault.kind is FaultKind.FORCE
    assert cell.state().mode is Mode.FAULT
