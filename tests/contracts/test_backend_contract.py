"""What every backend promises, run over all that are registered."""

from __future__ import annotations

import numpy as np
import pytest

from robot_servers.backends.base import BACKENDS
from robot_servers.control import se3
from robot_servers.types import (
    ArmCommand,
    CartesianTarget,
    Gains,
    GripperTarget,
    JointTarget,
    Mode,
    MotionLimits,
)
from serl.errors import UserError


@pytest.fixture(scope="module", params=BACKENDS.names())
def backend(request):
    backend = BACKENDS.get(request.param)()
    backend.connect()
    yield backend
    backend.close()


@pytest.fixture(autouse=True)
def _start(backend):
    if backend.scene is not None:
        backend.scene.reset([])


def test_a_state_is_whole_and_consistent(backend):
    states = backend.advance(0.02)
    assert states.keys() == backend.arms.keys()
    for name, state in states.items():
        n = backend.arms[name].joint_count
        assert state.q_rad.shape == state.dq_rad_per_s.shape == state.tau_nm.shape == (n,)
        assert state.twist_base_tcp.shape == state.wrench_base_ext.shape == (6,)
        for T in (state.T_base_tcp, state.T_base_ref, state.T_base_target):
            assert se3.is_pose(T)
        assert isinstance(state.mode, Mode)


def test_time_goes_forward_and_stands_still_between_samples(backend):
    stamps = [backend.advance(0.02)[name].stamp_mono_ns for name in backend.arms for _ in range(3)]
    assert (np.diff(stamps) > 0).all()


def test_a_state_handed_out_does_not_change_afterwards(backend):
    (name,) = list(backend.arms)[:1]
    state = backend.states()[name]
    kept = state.q_rad.copy(), state.T_base_tcp.copy()
    T = se3.apply_displacement(state.T_base_tcp, np.array([0.03, 0, 0, 0, 0, 0]))
    backend.command({name: ArmCommand(target=CartesianTarget(T_base_tcp=T))})
    T[:] = np.nan  # nor does a command, once accepted
    backend.advance(0.2)
    np.testing.assert_array_equal(state.q_rad, kept[0])
    np.testing.assert_array_equal(state.T_base_tcp, kept[1])
    assert np.isfinite(backend.states()[name].T_base_target).all()


def test_it_moves_to_a_cartesian_target_and_to_a_joint_target(backend):
    for name, robot in backend.arms.items():
        start = backend.states()[name]
        T = se3.apply_displacement(start.T_base_tcp, np.array([0.03, 0.03, -0.03, 0, 0, 0.1]))
        backend.command({name: ArmCommand(target=CartesianTarget(T_base_tcp=T))})
        state = backend.advance(2.0)[name]
        np.testing.assert_allclose(state.T_base_tcp, T, atol=5e-3)
        np.testing.assert_array_equal(state.T_base_target, T)
        assert state.mode is Mode.IMPEDANCE
        home = np.array(robot.q_home_rad)
        backend.command({name: ArmCommand(target=JointTarget(q_rad=home))})
        state = backend.advance(2.0)[name]
        np.testing.assert_allclose(state.q_rad, home, atol=5e-3)
        assert state.mode is Mode.JOINT


def test_a_gripper_goes_to_a_width(backend):
    for name, robot in backend.arms.items():
        if robot.gripper is None:
            continue
        half = robot.gripper.width_max_m / 2
        backend.command({name: ArmCommand(gripper=GripperTarget(width_m=half))})
        state = backend.advance(2.0)[name]
        assert state.gripper_width_m == pytest.approx(half, abs=2e-3)
        assert state.gripper_target_m == half
        assert not state.gripper_moving


def test_an_empty_command_leaves_everything_as_it_is(backend):
    for name in backend.arms:
        T = se3.apply_displacement(
            backend.states()[name].T_base_tcp, np.array([0.02, 0, 0, 0, 0, 0])
        )
        backend.command({name: ArmCommand(target=CartesianTarget(T_base_tcp=T))})
        backend.command({name: ArmCommand()})
        np.testing.assert_array_equal(backend.advance(0.1)[name].T_base_target, T)


BAD = {
    "target.T_base_tcp": ArmCommand(target=CartesianTarget(T_base_tcp=np.full((4, 4), np.nan))),
    "target.T_base_tcp is no rigid pose": ArmCommand(
        target=CartesianTarget(T_base_tcp=np.diag([1.0, 1.0, -1.0, 1.0]))
    ),
    "target.q_rad holds": ArmCommand(target=JointTarget(q_rad=np.full(7, np.inf))),
    "target.q_rad has 2": ArmCommand(target=JointTarget(q_rad=np.zeros(2))),
    "gripper.width_m": ArmCommand(gripper=GripperTarget(width_m=float("nan"))),
    "gripper.force_n": ArmCommand(gripper=GripperTarget(width_m=0.0, force_n=float("inf"))),
}


@pytest.mark.parametrize("message", BAD)
def test_a_command_that_is_not_finite_is_refused_with_the_fields_name(backend, message):
    (name,) = list(backend.arms)[:1]
    before = backend.states()[name]
    with pytest.raises(UserError, match=message):
        backend.command({name: BAD[message]})
    after = backend.states()[name]
    np.testing.assert_array_equal(after.T_base_target, before.T_base_target)
    assert after.mode is before.mode


def test_what_lies_beyond_the_limits_is_clamped_and_said_so(backend):
    for name, robot in backend.arms.items():
        far = np.array(robot.q_max_rad) + 1.0
        backend.command({name: ArmCommand(target=JointTarget(q_rad=far))})
        assert backend.states()[name].clamped
        backend.command({name: ArmCommand(target=JointTarget(q_rad=np.array(robot.q_home_rad)))})
        assert not backend.states()[name].clamped
        if robot.gripper is not None:
            backend.command({name: ArmCommand(gripper=GripperTarget(width_m=1.0))})
            state = backend.states()[name]
            assert state.clamped
            assert state.gripper_target_m == robot.gripper.width_max_m


def test_an_unknown_arm_is_refused_and_no_arm_is_commanded(backend):
    with pytest.raises(UserError, match="no arm named 'third'"):
        backend.command({"third": ArmCommand()})
    with pytest.raises(UserError, match="no arm named 'third'"):
        backend.set_gains({"third": Gains()})
    with pytest.raises(UserError, match="no arm named 'third'"):
        backend.set_limits({"third": MotionLimits()})


def test_gains_and_limits_that_make_no_sense_are_refused(backend):
    (name,) = list(backend.arms)[:1]
    with pytest.raises(UserError, match="translational_stiffness_n_per_m"):
        backend.set_gains({name: Gains(translational_stiffness_n_per_m=-1.0)})
    with pytest.raises(UserError, match="rotational_clip_rad"):
        backend.set_gains({name: Gains(rotational_clip_rad=(0.1, float("nan"), 0.1))})
    with pytest.raises(UserError, match="linear_speed_m_per_s"):
        backend.set_limits({name: MotionLimits(linear_speed_m_per_s=0.0)})


def test_a_period_of_a_fraction_of_a_physics_step_is_refused(backend):
    with pytest.raises(UserError, match="not a whole number"):
        backend.advance(0.00123)


def test_a_reset_gives_the_same_state_every_time(backend):
    if backend.scene is None:
        return
    first = backend.scene.reset([])
    for name in backend.arms:
        T = se3.apply_displacement(first[name].T_base_tcp, np.array([0.05, 0, 0, 0, 0, 0]))
        backend.command({name: ArmCommand(target=CartesianTarget(T_base_tcp=T))})
    backend.advance(0.2)
    again = backend.scene.reset([])
    for name, state in first.items():
        for field, value in vars(state).items():
            np.testing.assert_array_equal(value, vars(again[name])[field], err_msg=field)
