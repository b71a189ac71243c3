"""What `HardwareBackend` makes of any driver: modes, reference, faults; over the mock arm."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import numpy as np
import pytest

from robot_servers.backends.hardware import clip_reference, symmetric
from robot_servers.backends.mock import MockBackend
from robot_servers.control import se3
from robot_servers.grippers.mock import MockGripper
from robot_servers.types import (
    ArmCommand,
    CartesianTarget,
    CollisionThresholds,
    Fault,
    FaultKind,
    Gains,
    GripperTarget,
    JointTarget,
    Mode,
    MotionLimits,
    Payload,
    WrenchTarget,
)
from serl.errors import UserError


@pytest.fixture
def arm(Hand):
    with MockBackend() as backend:
        arm = Hand(backend)
        arm.driver = backend.driver
        yield arm


def fault(kind=FaultKind.REFLEX, reason="it tripped"):
    return Fault(kind=kind, reason=reason, stamp_mono_ns=time.monotonic_ns())


def push(*wrench):
    return WrenchTarget(wrench=np.array(wrench, float))


def test_it_starts_in_hold_and_asks_nothing_of_the_arm_before_the_first_command(arm):
    arm.wait(0.05)
    assert arm.state.mode is Mode.HOLD
    assert arm.driver.calls == []
    arm.shift(0.01, 0, 0, 0, 0, 0)
    arm.until(lambda s: s.mode is Mode.IMPEDANCE and arm.driver.calls == ["impedance"])


def test_the_reference_keeps_speed_and_acceleration_limits(arm):
    limits = MotionLimits(linear_speed_m_per_s=0.2, linear_acceleration_m_per_s2=1.0)
    arm.backend.set_limits({"": limits})
    arm.record()
    T = arm.shift(0.1, 0, 0, 0, 0, 0)
    arm.until(lambda s: np.allclose(s.T_base_ref, T, atol=1e-9))
    x = np.array([s.T_base_ref[0, 3] for s in arm.ticks])
    dt = arm.backend.period_s
    speed = np.diff(x) / dt
    assert 0.19 < speed.max() <= 0.2 + 1e-9
    assert speed.min() >= -1e-12
    assert np.abs(np.diff(speed)).max() <= 1.0 * dt + 1e-9


def test_a_sample_is_told_once_and_its_stamps_grow(arm):
    arm.record()
    arm.wait(0.3)
    stamps = [s.stamp_mono_ns for s in arm.ticks]
    assert len(stamps) > 20
    assert (np.diff(stamps) > 0).all()


def test_advance_keeps_its_deadlines_and_never_hands_a_sample_out_twice(arm):
    stamps = [arm.backend.advance(0.005)[""].stamp_mono_ns for _ in range(40)]
    assert (np.diff(stamps) > 0).all()
    arm.backend.advance(0.03)
    start = time.monotonic()
    for _ in range(10):
        arm.backend.advance(0.03)
        time.sleep(0.01)  # the caller's own work is part of the period
    assert 0.25 < time.monotonic() - start < 0.6


def test_hold_freezes_the_reference_on_the_arm_and_the_arm_within_a_tenth_of_a_second(arm):
    arm.backend.set_limits({"": MotionLimits(linear_speed_m_per_s=0.3)})
    arm.record()
    arm.shift(0.0, 0.2, 0, 0, 0, 0)
    arm.until(lambda s: np.linalg.norm(s.twist_base_tcp[:3]) > 0.2)
    asked_ns = time.monotonic_ns()
    arm.backend.hold([""])
    assert arm.state.mode is Mode.HOLD
    arm.wait(0.3)
    after = [s for s in arm.ticks if s.stamp_mono_ns > asked_ns + 100_000_000]
    frozen = after[0].T_base_ref
    assert all(np.array_equal(s.T_base_ref, frozen) for s in after)
    assert all(np.linalg.norm(s.twist_base_tcp[:3]) < 0.01 for s in after)
    np.testing.assert_array_equal(arm.state.T_base_target, frozen)


def test_the_next_target_leaves_hold_from_where_the_arm_is(arm):
    arm.shift(0.05, 0, 0, 0, 0, 0)
    arm.until(lambda s: np.linalg.norm(s.twist_base_tcp[:3]) > 0.05)
    arm.backend.hold([""])
    held = arm.until(arm.at_rest).T_base_ref
    arm.record()
    T = arm.shift(0, 0.02, 0, 0, 0, 0)
    arm.until(lambda s: np.allclose(s.T_base_ref, T, atol=1e-9))
    first = next(s for s in arm.ticks if s.mode is Mode.IMPEDANCE)
    assert np.linalg.norm(first.T_base_ref[:3, 3] - held[:3, 3]) < 1e-3


def test_a_joint_move_arrives_and_the_same_target_again_goes_on_with_it(arm):
    q = np.array(arm.state.q_rad)
    q[0] += 0.5
    arm.record()
    arm.command(JointTarget(q_rad=q))
    for _ in range(20):
        arm.wait(0.02)
        arm.command(JointTarget(q_rad=q))
    state = arm.until(lambda s: np.abs(s.q_rad - q).max() < 1e-3)
    assert state.mode is Mode.JOINT
    assert (state.stamp_mono_ns - arm.ticks[0].stamp_mono_ns) * 1e-9 < 1.5
    assert arm.driver.calls == ["joints"]


def test_out_of_a_joint_move_a_cartesian_target_starts_at_the_measured_pose(arm):
    arm.command(JointTarget(q_rad=arm.state.q_rad + 0.3))
    arm.wait(0.2)
    arm.record()
    arm.go(arm.state.T_base_tcp)
    arm.wait(0.2)
    assert arm.driver.calls[-1] == "impedance"
    first = next(s for s in arm.ticks if s.mode is Mode.IMPEDANCE)
    assert np.linalg.norm(first.T_base_ref[:3, 3] - first.T_base_tcp[:3, 3]) < 0.02


def test_a_push_on_the_arm_gives_force_over_stiffness(arm):
    T = arm.shift(0, 0, 0, 0, 0, 0)
    arm.driver.wrench = np.array([8.0, 0, 0, 0, 0, 0])
    arm.wait(0.6)
    assert arm.state.T_base_tcp[0, 3] - T[0, 3] == pytest.approx(8.0 / 2000.0, abs=2e-4)
    np.testing.assert_allclose(arm.state.wrench_base_ext, arm.driver.wrench)


def test_gains_and_clips_change_without_leaving_control(arm):
    arm.shift(0, 0, 0, 0, 0, 0)
    arm.driver.wrench = np.array([0, 10.0, 0, 0, 0, 0])
    arm.wait(0.6)
    stiff = arm.state.T_base_tcp[1, 3]
    arm.backend.set_gains({"": Gains(translational_stiffness_n_per_m=1000.0)})
    arm.wait(0.8)
    assert arm.state.T_base_tcp[1, 3] - stiff == pytest.approx(0.005, abs=3e-4)
    assert arm.driver.calls == ["impedance"]


def test_an_asymmetric_clip_pulls_harder_one_way_than_the_other():
    gains = Gains(translational_clip_m=(0.01,) * 3, translational_clip_neg_m=(0.002,) * 3)
    T = se3.pose(np.eye(3), [0.5, 0, 0.3])
    far = np.array([0.1, -0.1, 0.001, 0, 0, 0])
    clipped = clip_reference(T, se3.apply_displacement(T, far), gains)
    np.testing.assert_allclose(
        se3.pose_error(clipped, T), [0.01, -0.002, 0.001, 0, 0, 0], atol=1e-12
    )
    assert symmetric(gains).translational_clip_m == (0.01,) * 3
    assert symmetric(gains).translational_clip_neg_m is None
    assert symmetric(Gains()) == Gains()


def test_wrench_mode_pushes_lapses_after_a_tenth_of_a_second_and_is_damped(arm):
    arm.record()
    end = time.monotonic() + 0.2
    while time.monotonic() < end:
        arm.command(push(6, 0, 0, 0, 0, 0))
        time.sleep(0.01)
    last_ns = time.monotonic_ns()
    arm.wait(0.8)
    assert arm.state.mode is Mode.WRENCH
    before = [s for s in arm.ticks if s.stamp_mono_ns <= last_ns]
    after = [s for s in arm.ticks if s.stamp_mono_ns > last_ns + 130_000_000]
    assert before[-1].twist_base_tcp[0] > 0.01
    speeds = [np.linalg.norm(s.dq_rad_per_s) for s in after]
    assert speeds[-1] < 0.5 * speeds[0]
    for state in after[1:]:  # damping only: every joint is braked
        assert (state.tau_nm * state.dq_rad_per_s <= 1e-6).all()


def test_wrench_mode_is_pulled_back_into_its_box(arm):
    p = arm.state.T_base_tcp[:3, 3]
    arm.backend.set_wrench_box("", p - 0.5, p + np.array([-0.02, 0.5, 0.5]))
    arm.record()
    arm.command(push(0, 0, 0, 0, 0, 0))
    arm.until(lambda s: s.T_base_tcp[0, 3] < p[0] - 0.005)


def test_a_vendor_fault_latches_until_recover(arm):
    arm.shift(0.05, 0, 0, 0, 0, 0)
    arm.driver.fault = fault()
    state = arm.until(lambda s: s.mode is Mode.FAULT)
    assert state.fault.kind is FaultKind.REFLEX
    with pytest.raises(UserError, match="it tripped"):
        arm.shift(0.01, 0, 0, 0, 0, 0)
    arm.driver.fault = None  # gone by itself: the fault stays
    arm.wait(0.05)
    assert arm.state.mode is Mode.FAULT
    arm.driver.stuck = "the user stop is pressed; release it, then recover."
    with pytest.raises(UserError, match="user stop"):
        arm.backend.recover([""])
    arm.driver.stuck = ""
    arm.backend.recover([""])
    assert arm.state.mode is Mode.HOLD
    assert arm.state.fault is None
    arm.until(lambda s: arm.driver.calls[-1] == "impedance")
    T = arm.shift(0.02, 0, 0, 0, 0, 0)
    arm.until(lambda s: arm.away(T)[0] < 1e-3)


def test_silence_is_a_communication_fault_and_the_loop_goes_on(arm):
    arm.record()
    arm.driver.silent = True
    state = arm.until(lambda s: s.mode is Mode.FAULT)
    assert state.fault.kind is FaultKind.COMMUNICATION
    assert "silent" in state.fault.reason
    assert arm.ticks[-1].fault is not None, "those who watch are told"
    told = len(arm.ticks)
    time.sleep(0.1)
    assert len(arm.ticks) == told, "no sample, no tick"
    arm.driver.silent = False
    arm.backend.recover([""])
    assert arm.state.mode is Mode.HOLD


def blocked(arm):
    """An obstacle at 3 cm of the way to a reference that has arrived at 5 cm; its force."""
    T = arm.shift(0.05, 0, 0, 0, 0, 0)
    arm.until(lambda s: s.T_base_tcp[0, 3] > T[0, 3] - 0.02)
    spring_n = 2000.0 * 0.01  # the clip's
    arm.driver.wrench = np.array([-spring_n, 0, 0, 0, 0, 0])
    arm.until(lambda s: np.allclose(s.T_base_ref, T, atol=1e-9) and arm.at_rest(s))
    assert T[0, 3] - arm.state.T_base_tcp[0, 3] > 0.015
    return T


def test_a_fault_of_a_blocked_arm_does_not_let_it_jump_when_the_obstacle_goes(arm, monkeypatch):
    blocked(arm)
    read = arm.driver.read

    def once():
        monkeypatch.setattr(arm.driver, "read", read)
        raise TimeoutError("one state lost")

    monkeypatch.setattr(arm.driver, "read", once)
    at = arm.until(lambda s: s.mode is Mode.FAULT).T_base_tcp
    assert arm.state.fault.kind is FaultKind.COMMUNICATION
    arm.wait(0.05)
    arm.driver.wrench = np.zeros(6)
    arm.backend.hold([""])
    arm.wait(0.5)
    assert arm.away(at)[0] < 3e-3
    assert arm.state.mode is Mode.FAULT
    np.testing.assert_allclose(arm.driver._T_ref, arm.state.T_base_ref)


def test_after_a_fault_of_the_arm_itself_nothing_enters_control_before_recover(arm):
    arm.shift(0.05, 0, 0, 0, 0, 0)
    arm.until(lambda s: arm.driver.calls == ["impedance"])
    arm.driver.fault = fault()
    arm.until(lambda s: s.mode is Mode.FAULT)
    arm.driver.fault = None
    arm.backend.hold([""])
    arm.wait(0.1)
    assert arm.driver.calls[-1] == "hold"


def test_a_fault_in_a_joint_move_brakes_the_arm(arm, monkeypatch):
    arm.command(JointTarget(q_rad=arm.state.q_rad + 0.8))
    arm.until(lambda s: np.abs(s.dq_rad_per_s).max() > 0.5)
    joints = arm.driver.joints

    def once(q):
        monkeypatch.setattr(arm.driver, "joints", joints)
        raise RuntimeError("vendor says no")

    monkeypatch.setattr(arm.driver, "joints", once)
    arm.until(lambda s: s.mode is Mode.FAULT)
    arm.wait(0.3)
    assert arm.driver.calls[-1] == "impedance"
    assert np.linalg.norm(arm.state.twist_base_tcp[:3]) < 0.01


@pytest.mark.parametrize("call", ["impedance", "joints", "torque"])
def test_what_a_driver_raises_is_a_fault_and_never_ends_the_loop(arm, monkeypatch, call):
    def broken(*_):
        raise RuntimeError("vendor says no")

    monkeypatch.setattr(arm.driver, call, broken)
    targets = {
        "impedance": CartesianTarget(T_base_tcp=arm.state.T_base_tcp),
        "joints": JointTarget(q_rad=arm.state.q_rad),
        "torque": push(1, 0, 0, 0, 0, 0),
    }
    arm.command(targets[call])
    state = arm.until(lambda s: s.mode is Mode.FAULT)
    assert state.fault.kind is FaultKind.OTHER
    assert "vendor says no" in state.fault.reason
    assert "\n" not in state.fault.reason
    monkeypatch.undo()
    arm.backend.recover([""])
    assert arm.wait(0.05).mode is Mode.HOLD


def test_halt_follows_nothing_until_recover(arm):
    arm.shift(0.05, 0, 0, 0, 0, 0)
    arm.wait(0.1)
    arm.backend.halt([""])
    assert arm.state.mode is Mode.IDLE
    assert arm.driver.calls[-1] == "hold"
    with pytest.raises(UserError, match="halted; recover"):
        arm.shift(0.01, 0, 0, 0, 0, 0)
    arm.backend.hold([""])  # neither a fault nor a stop is left this way
    arm.wait(0.05)
    assert arm.state.mode is Mode.IDLE
    assert arm.driver.calls[-1] == "hold"
    arm.backend.recover([""])
    assert arm.state.mode is Mode.HOLD


def test_a_halt_while_the_driver_acts_wins(arm, monkeypatch):
    entered, go_on = threading.Event(), threading.Event()
    impedance = arm.driver.impedance

    def slow(T, gains):
        entered.set()
        go_on.wait(2)
        impedance(T, gains)

    monkeypatch.setattr(arm.driver, "impedance", slow)
    arm.shift(0.01, 0, 0, 0, 0, 0)
    assert entered.wait(2)
    arm.backend.halt([""])
    go_on.set()
    arm.wait(0.05)
    assert arm.driver.calls[-1] == "hold"


def test_a_subscriber_that_raises_ends_the_loop_with_the_arm_held(Hand):
    with MockBackend() as backend:
        arm = Hand(backend)
        arm.shift(0.05, 0, 0, 0, 0, 0)
        backend.advance(0.1)

        def broken(states):
            raise ValueError("a bug")

        backend.subscribe(broken)
        state = arm.until(lambda s: s.mode is Mode.FAULT)
        assert "a bug" in state.fault.reason
        np.testing.assert_array_equal(backend.driver._T_ref, state.T_base_tcp)
        with pytest.raises(RuntimeError, match="loop has failed"):
            backend.advance(0.05)
        with pytest.raises(UserError, match="a bug"):
            backend.recover([""])


def test_payload_and_thresholds_reach_the_arm_at_rest_only(arm):
    arm.backend.set_payload({"": Payload(mass_kg=0.4)})
    arm.backend.set_collision({"": CollisionThresholds(torque_nm=(20,) * 7, wrench=(5,) * 6)})
    assert arm.driver.payload.mass_kg == 0.4
    arm.driver.wrench = np.array([6.0, 0, 0, 0, 0, 0])
    assert arm.until(lambda s: s.fault is not None).fault.kind is FaultKind.REFLEX
    arm.driver.wrench = np.zeros(6)
    arm.backend.recover([""])
    arm.shift(0, 0.1, 0, 0, 0, 0)
    arm.until(lambda s: np.linalg.norm(s.twist_base_tcp[:3]) > 0.1)
    with pytest.raises(UserError, match="moves; stop it"):
        arm.backend.set_payload({"": Payload(mass_kg=0.5)})
    assert arm.driver.payload.mass_kg == 0.4


def test_the_gripper_moves_without_anyone_waiting_and_opens_fully(arm):
    start = time.monotonic()
    arm.command(gripper=GripperTarget(width_m=0.0, speed_m_per_s=0.1))
    assert time.monotonic() - start < 0.1
    arm.until(lambda s: s.gripper_moving)
    arm.until(lambda s: s.gripper_width_m == 0.0 and not s.gripper_moving)
    arm.command(gripper=GripperTarget(width_m=0.08))
    arm.until(lambda s: s.gripper_width_m >= 0.95 * 0.08)
    assert arm.state.gripper_target_m == 0.08


@pytest.mark.parametrize("word", ["hold", "halt"])
def test_a_hold_or_halt_stops_fingers_that_close_on_nothing(arm, word):
    arm.command(gripper=GripperTarget(width_m=0.0, speed_m_per_s=0.02))
    arm.until(lambda s: s.gripper_width_m < 0.07)
    getattr(arm.backend, word)([""])
    stopped = arm.state.gripper_width_m
    arm.wait(0.4)
    assert arm.state.gripper_width_m == pytest.approx(stopped, abs=2e-3)
    assert not arm.state.gripper_moving


@pytest.mark.parametrize("word", ["hold", "halt"])
def test_a_hold_or_halt_drops_nothing(Hand, word):
    with MockBackend(gripper=MockGripper(object_width_m=0.05)) as backend:
        arm = Hand(backend)
        arm.command(gripper=GripperTarget(width_m=0.0))
        arm.until(lambda s: s.gripper_width_m == 0.05 and not s.gripper_moving)
        getattr(backend, word)([""])
        assert arm.wait(0.05).gripper_target_m == 0.0
        assert "holding" in backend.facts()["gripper"]


def test_a_grippers_error_is_said_once_and_is_among_the_facts(Hand, caplog):
    hand = MockGripper()
    with MockBackend(gripper=hand) as backend:
        arm, well = Hand(backend), hand.state
        hand.state = lambda: replace(well(), error="its cable is off")
        arm.wait(0.2)
        assert backend.facts()["gripper"] == "mock: its cable is off"
        hand.state = well
        arm.wait(0.1)
    said = [r.getMessage() for r in caplog.records if "gripper" in r.getMessage()]
    assert len(said) == 2
    assert "its cable is off" in said[0]
    assert "well again" in said[1]


def test_without_a_gripper_a_gripper_target_is_refused_by_name():
    with MockBackend(gripper="none") as backend:
        assert backend.arms[""].gripper is None
        assert "gripper" in backend.unsupported
        with pytest.raises(UserError, match="no gripper"):
            backend.command({"": ArmCommand(gripper=GripperTarget(width_m=0.0))})


def test_bad_wrenches_and_names_are_refused_in_one_line(arm):
    for target in (
        push(1, 2, 3),
        push(np.nan, 0, 0, 0, 0, 0),
        WrenchTarget(wrench=np.zeros(6), frame="flange"),
    ):
        with pytest.raises(UserError, match="6 finite numbers"):
            arm.command(target)
    with pytest.raises(UserError, match="no arm named 'left'"):
        arm.backend.hold(["left"])
    with pytest.raises(UserError, match="one arm, not 2"):
        MockBackend(arms={"left": "panda", "right": "panda"})


def test_a_closed_backend_connects_again(arm):
    arm.backend.close()
    with pytest.raises(UserError, match="not connected"):
        arm.backend.states()
    arm.backend.connect()
    assert arm.wait(0.05).mode is Mode.HOLD
