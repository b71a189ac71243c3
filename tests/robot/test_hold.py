"""Hold, halt, recover and the collision reflex of the simulated arm."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from robot_servers.types import (
    ArmCommand,
    CartesianTarget,
    CollisionThresholds,
    FaultKind,
    Gains,
    JointTarget,
    Mode,
    MotionLimits,
    WrenchTarget,
)
from serl.errors import UserError

GAINS = Gains(translational_clip_m=(0.03,) * 3)
"""2000 N/m, 89 N s/m, and a clip that lets the arm reach 0.3 m/s."""

DIRECTIONS = [*np.eye(3), *-np.eye(3), np.full(3, 3**-0.5)]


@pytest.fixture
def fast(stepped_cell):
    stepped_cell.backend.set_gains({"": GAINS})
    return stepped_cell


def moving(cell, direction, speed=0.3):
    """The TCP at `speed` [m/s] on a straight line through the middle of the workspace."""
    cell.backend.set_limits({"": MotionLimits(linear_speed_m_per_s=speed)})
    cell.reset(x=0.9)
    cell.go(cell.down(*(np.array([0.5, 0, 0.35]) - 0.15 * direction)), seconds=2.0)
    cell.go(cell.down(*(np.array([0.5, 0, 0.35]) + 0.25 * direction)), seconds=0.3)
    for _ in range(400):
        state = cell.backend.advance(cell.backend.period_s)[""]
        if np.linalg.norm(state.twist_base_tcp[:3]) > 0.98 * speed:
            return state
    raise AssertionError("never fast enough")


@pytest.mark.parametrize("direction", DIRECTIONS, ids=str)
def test_a_hold_stops_the_tcp_within_100_ms_and_it_stays_stopped(fast, direction):
    """A frozen reference alone took 250 ms: the spring threw the TCP back at 4 cm/s."""
    moving(fast, direction)
    fast.backend.hold([""])
    limit = fast.backend.world.arms.gains[0, 12] * fast.backend.period_s
    speeds, references = [], []
    last = fast.backend.states()[""].tau_nm
    for _ in range(round(0.4 / fast.backend.period_s)):
        state = fast.backend.advance(fast.backend.period_s)[""]
        speeds.append(np.linalg.norm(state.twist_base_tcp[:3]))
        references.append(state.T_base_ref)
        assert (np.abs(state.tau_nm - last) <= limit + 1e-9).all()
        last = state.tau_nm
    from_80_ms = round(0.08 / fast.backend.period_s)
    assert max(speeds[from_80_ms:]) < 0.01
    assert all(np.array_equal(T, references[-1]) for T in references[from_80_ms:])
    assert state.mode is Mode.HOLD
    np.testing.assert_array_equal(state.T_base_target, state.T_base_ref)


def test_a_hold_of_a_fast_joint_move_stops_it_too(cell):
    cell.backend.set_gains({"": Gains()})
    robot = cell.backend.arms[""]
    cell.reset(x=0.9)
    goal = np.add(robot.q_home_rad, [0.8, 0.3, -0.4, 0.4, 0.3, 0.4, -0.8])
    cell.backend.command({"": ArmCommand(target=JointTarget(q_rad=goal))})
    assert np.linalg.norm(cell.wait(0.4).twist_base_tcp[:3]) > 0.25
    cell.backend.hold([""])
    assert np.linalg.norm(cell.wait(0.1).twist_base_tcp[:3]) < 0.01


def test_holding_again_and_again_does_not_creep_under_a_push(cell):
    """A guard may hold on every tick; a reference frozen anew each time would give way."""
    cell.backend.set_gains({"": Gains()})
    start = cell.reset(x=0.9).T_base_tcp
    cell.backend.hold([""])
    cell.backend.scene.push(np.array([10.0, 0, 0, 0, 0, 0]))
    for _ in range(40):
        cell.backend.hold([""])
        state = cell.wait(0.05)
    assert state.T_base_tcp[0, 3] - start[0, 3] == pytest.approx(10 / 2000, abs=1e-3)


def test_a_hold_drops_commands_still_under_way(make_cell):
    cell = make_cell(action_delay_s=0.1)
    start = cell.reset(x=0.9).T_base_tcp
    cell.go(cell.down(0.5, 0, 0.3), seconds=0.05)
    cell.backend.hold([""])
    state = cell.wait(1.0)
    np.testing.assert_allclose(state.T_base_tcp, start, atol=1e-4)
    assert state.mode is Mode.HOLD


def test_the_next_command_leaves_a_hold(cell):
    T = cell.reset(x=0.9).T_base_tcp.copy()
    cell.backend.hold([""])
    T[0, 3] += 0.02
    state = cell.go(T, seconds=1.5)
    assert state.mode is Mode.IMPEDANCE
    np.testing.assert_allclose(state.T_base_tcp, T, atol=2e-3)


def test_a_halted_arm_follows_nothing_and_yields_until_it_is_recovered(fast):
    moving(fast, DIRECTIONS[0])
    fast.backend.halt([""])
    halted = fast.wait(0.1)
    assert np.linalg.norm(halted.twist_base_tcp[:3]) < 0.01
    assert halted.mode is Mode.IDLE
    target = ArmCommand(target=CartesianTarget(T_base_tcp=halted.T_base_tcp))
    with pytest.raises(UserError, match="halted; recover"):
        fast.backend.command({"": target})
    fast.backend.hold([""])  # a hold is no way out
    fast.backend.scene.push(np.array([20.0, 0, 0, 0, 0, 0]))
    gone = fast.wait(0.5)
    assert gone.T_base_tcp[0, 3] - halted.T_base_tcp[0, 3] > 0.02  # 20 N on a spring: 1 cm
    assert gone.mode is Mode.IDLE
    fast.backend.scene.push(np.zeros(6))
    fast.backend.recover([""])
    state = fast.wait(0.5)
    assert state.mode is Mode.HOLD
    assert np.linalg.norm(state.T_base_tcp[:3, 3] - gone.T_base_tcp[:3, 3]) < 0.02
    fast.backend.command({"": target})
    assert fast.wait(0.05).mode is Mode.IMPEDANCE


def test_recovering_an_arm_that_is_well_changes_nothing(cell):
    T = cell.reset(x=0.9).T_base_tcp
    cell.go(T, seconds=0.1)
    cell.backend.recover([""])
    assert cell.backend.states()[""].mode is Mode.IMPEDANCE


THRESHOLDS = CollisionThresholds(torque_nm=(40.0,) * 7, wrench=(30.0,) * 3 + (15.0,) * 3)


def test_a_reflex_latches_until_recover_and_only_once_the_load_is_gone(make_cell):
    cell = make_cell()
    start = cell.reset(x=0.9)
    cell.backend.set_collision({"": THRESHOLDS})
    cell.backend.scene.push(np.array([25.0, 0, 0, 0, 0, 0]))
    assert cell.wait(0.5).fault is None
    cell.backend.scene.push(np.array([35.0, 0, 0, 0, 0, 0]))
    state = cell.wait(0.1)
    assert state.mode is Mode.FAULT
    assert state.fault.kind is FaultKind.REFLEX
    assert "force x 3" in state.fault.reason
    assert "threshold 30 N" in state.fault.reason
    target = ArmCommand(target=CartesianTarget(T_base_tcp=start.T_base_tcp))
    with pytest.raises(UserError, match=r"in a fault: collision reflex"):
        cell.backend.command({"": target})
    with pytest.raises(UserError, match=r"cannot recover: .* 35.0 N"):
        cell.backend.recover([""])
    cell.backend.scene.push(np.zeros(6))
    state = cell.wait(1.0)
    assert state.mode is Mode.FAULT
    cell.backend.recover([""])
    state = cell.wait(0.1)
    assert state.mode is Mode.HOLD
    assert state.fault is None
    cell.backend.command({"": target})


def test_a_joint_torque_trips_it_as_well(make_cell):
    cell = make_cell()
    cell.reset(x=0.9)
    cell.backend.set_collision({"": replace(THRESHOLDS, torque_nm=(5.0,) + (40.0,) * 6)})
    cell.backend.scene.push(np.array([0, 25.0, 0, 0, 0, 0]))  # 0.31 m from joint 1's axis
    assert "torque joint1" in cell.wait(0.2).fault.reason


def test_running_into_the_table_trips_it_and_without_thresholds_nothing_does(make_cell):
    cell = make_cell()
    cell.backend.set_gains({"": GAINS})
    for thresholds, faulted in ((None, False), (THRESHOLDS, True)):
        if thresholds is not None:
            cell.backend.set_collision({"": thresholds})
        cell.reset(x=0.9)
        cell.go(cell.down(0.5, 0, 0.1), seconds=2.0)
        state = cell.go(cell.down(0.5, 0, -0.1), seconds=2.0)
        assert (state.fault is not None) == faulted
    assert cell.reset(x=0.9).fault is None  # another world


@pytest.mark.parametrize(
    "bad",
    [
        replace(THRESHOLDS, torque_nm=(40.0,) * 6),
        replace(THRESHOLDS, wrench=(30.0, 30.0, -1.0, 15.0, 15.0, 15.0)),
    ],
)
def test_thresholds_that_make_no_sense_are_refused(cell, bad):
    with pytest.raises(UserError, match="collision thresholds"):
        cell.backend.set_collision({"": bad})


def test_the_same_joint_target_again_goes_on_with_the_move(cell):
    """Sent at 20 Hz, a joint move used to start anew each time, from rest, and crept."""
    robot = cell.backend.arms[""]
    goal = np.add(robot.q_home_rad, 0.4)
    ends = []
    for times in (1, 20):
        cell.reset(x=0.9)
        for _ in range(times):
            cell.backend.command({"": ArmCommand(target=JointTarget(q_rad=goal.copy()))})
            state = cell.wait(1.0 / times)
        ends.append(state.q_rad)
    np.testing.assert_array_equal(ends[0], ends[1])


def test_wrench_hold_and_joint_modes_hand_over_without_a_jump(cell):
    """Whatever comes next starts from where the arm is."""
    cell.backend.set_gains({"": Gains()})
    cell.reset(x=0.9)
    push = ArmCommand(target=WrenchTarget(wrench=np.array([5.0, 0, 0, 0, 0, 0])))
    cell.backend.command({"": push})
    assert cell.wait(0.1).mode is Mode.WRENCH
    cell.backend.hold([""])
    held = cell.wait(0.3)
    assert np.linalg.norm(held.twist_base_tcp[:3]) < 0.01
    state = cell.go(held.T_base_tcp, seconds=0.5)
    np.testing.assert_allclose(state.T_base_tcp, held.T_base_tcp, atol=2e-3)
