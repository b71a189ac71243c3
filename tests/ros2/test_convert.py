"""Conversions between ROS messages and our types."""

from __future__ import annotations

import math
import time
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ros2 import fake_messages as fake

from robot_servers.backends.franka_wrench import wrench_on_robot
from robot_servers.backends.ros2 import convert
from robot_servers.backends.ros2.faults import fault_of
from robot_servers.control import se3
from robot_servers.types import CollisionThresholds, FaultKind, Gains, Payload

NUMBERS = st.floats(-3.0, 3.0)
JOINTS = [f"fr3_joint{i}" for i in range(1, 8)]
SET_LOAD = fake.PACKAGES["franka_msgs.srv"]["SetLoad"]
SET_COLLISION = fake.PACKAGES["franka_msgs.srv"]["SetForceTorqueCollisionBehavior"]


@given(st.lists(NUMBERS, min_size=6, max_size=6))
def test_a_pose_comes_back_from_its_message_with_w_not_negative(numbers):
    T = se3.pose_from_rotvec(numbers[:3], numbers[3:])
    message = fake.POSE()
    convert.fill_pose(message, T)
    np.testing.assert_allclose(convert.pose_from_msg(message), T, atol=1e-12)
    q = message.orientation
    assert q.w >= 0
    assert math.hypot(q.x, q.y, q.z, q.w) == pytest.approx(1.0)


def test_a_quarter_turn_about_z_has_its_sine_in_z():
    message = fake.POSE()
    convert.fill_pose(message, se3.pose_from_rotvec([1, 2, 3], [0, 0, math.pi / 2]))
    assert message.orientation.z == pytest.approx(math.sqrt(0.5))
    assert (message.position.x, message.position.y, message.position.z) == (1.0, 2.0, 3.0)


@given(st.permutations(range(9)), st.lists(NUMBERS, min_size=9, max_size=9))
def test_joints_are_found_by_name_in_any_order_and_among_others(order, q):
    names = [*JOINTS, "finger1", "finger2"]
    message = fake.JOINT_STATE(
        name=[names[i] for i in order],
        position=[q[i] for i in order],
        velocity=[2 * q[i] for i in order],
        effort=[3 * q[i] for i in order],
    )
    found, velocity, effort = convert.joints_from_msg(message, JOINTS)
    np.testing.assert_array_equal(found, q[:7])
    np.testing.assert_array_equal(velocity, 2 * np.array(q[:7]))
    np.testing.assert_array_equal(effort, 3 * np.array(q[:7]))


def test_a_joint_state_without_effort_or_with_nan_reads_zero_and_a_missing_joint_is_named():
    message = fake.JOINT_STATE(
        name=JOINTS, position=[0.1] * 7, velocity=[math.nan] + [0.2] * 6, effort=[]
    )
    _, velocity, effort = convert.joints_from_msg(message, JOINTS)
    assert velocity[0] == 0.0
    assert velocity[1] == 0.2
    assert not effort.any()
    with pytest.raises(ValueError, match="panda_joint1 not among fr3_joint1"):
        convert.joints_from_msg(message, ["panda_joint1"])


def test_a_joint_state_without_names_is_taken_in_our_order_if_it_has_as_many():
    message = fake.JOINT_STATE(position=[float(i) for i in range(7)])
    np.testing.assert_array_equal(convert.joints_from_msg(message, JOINTS)[0], range(7))
    with pytest.raises(ValueError, match="6 positions of 7 joints"):
        convert.joints_from_msg(fake.JOINT_STATE(position=[0.0] * 6), JOINTS)


@given(st.lists(NUMBERS, min_size=6, max_size=6))
def test_a_wrench_is_taken_as_it_is(numbers):
    message = fake.WRENCH()
    message.force.x, message.force.y, message.force.z = numbers[:3]
    message.torque.x, message.torque.y, message.torque.z = numbers[3:]
    np.testing.assert_array_equal(convert.wrench_from_msg(message), numbers)


def test_libfrankas_wrench_turns_its_sign_its_axes_and_its_point():
    R = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])  # TCP x is base y
    T_base_tcp = se3.pose(R, [0.5, 0.1, 0.3])
    T_tcp_k = se3.pose(np.eye(3), [0.0, 0.0, 0.1])
    given = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    at_tcp = wrench_on_robot(given, T_base_tcp, np.eye(4))
    np.testing.assert_allclose(at_tcp, [2, -1, -3, 5, -4, -6], atol=1e-12)
    moved = wrench_on_robot(given, T_base_tcp, T_tcp_k)
    np.testing.assert_allclose(moved[:3], at_tcp[:3], atol=1e-12)
    # (0, 0, 0.1) x (2, -1, -3) = (0.1, 0.2, 0)
    np.testing.assert_allclose(moved[3:], at_tcp[3:] + np.array([0.1, 0.2, 0]), atol=1e-12)


@given(
    st.integers(0, convert.MAX_AGE_NS), st.integers(10**18, 2 * 10**18), st.integers(10**12, 10**15)
)
def test_a_stamp_moves_to_the_monotonic_clock_by_its_age(age, ros_now, mono_now):
    assert convert.mono_stamp_ns(ros_now - age, ros_now, mono_now) == mono_now - age


@given(st.integers(1, 10**12), st.sampled_from([-1, 1]))
def test_a_stamp_of_another_clock_becomes_the_time_it_came(off, sign):
    stamp = 10**18 - (convert.MAX_AGE_NS if sign > 0 else 0) - sign * off
    assert convert.mono_stamp_ns(stamp, 10**18, 5) == 5


def test_time_messages_are_whole_nanoseconds():
    now = time.time_ns()
    sec, nanosec = divmod(now, 10**9)
    assert convert.to_ns(SimpleNamespace(sec=sec, nanosec=nanosec)) == now


@given(st.floats(0, 4000), st.floats(0, 400), st.floats(0, 100), st.floats(0, 2), st.floats(0, 200))
def test_crisps_parameters_are_floats_within_its_bounds(k, d, k_rot, k_n, k_1):
    gains = Gains(
        translational_stiffness_n_per_m=k,
        translational_damping_n_s_per_m=d,
        rotational_stiffness_nm_per_rad=k_rot,
        nullspace_stiffness_nm_per_rad=k_n,
        joint1_nullspace_factor=k_1,
    )
    parameters = convert.crisp_parameters(gains, JOINTS)
    assert all(type(value) is float for value in parameters.values())
    assert parameters["task.k_pos_z"] == k
    assert parameters["task.d_pos_x"] == d
    assert parameters["task.k_rot_y"] == k_rot
    assert parameters["nullspace.damping"] > 0  # negative or none: versions of CRISP disagree
    assert parameters[f"nullspace.weights.{JOINTS[0]}.value"] == k_1
    assert parameters["max_delta_tau"] == 1.0  # SERL's 1 N m per 1 kHz update


def test_the_first_joints_nullspace_damping_is_serls():
    parameters = convert.crisp_parameters(Gains(), JOINTS)
    damping = parameters["nullspace.damping"] * parameters[f"nullspace.weights.{JOINTS[0]}.value"]
    assert damping == pytest.approx(2 * math.sqrt(0.2) * 2 * math.sqrt(100))


def test_of_an_asymmetric_clip_the_larger_side_goes_to_crisp():
    gains = Gains(
        translational_clip_m=(0.01, 0.02, 0.03), translational_clip_neg_m=(0.02, 0.01, 0.03)
    )
    parameters = convert.crisp_parameters(gains, JOINTS)
    assert [parameters[f"task.error_clip.{a}"] for a in "xyz"] == [0.02, 0.02, 0.03]


def test_a_load_is_column_major_and_thresholds_are_lower_and_upper_alike():
    request = SET_LOAD.Request()
    payload = Payload(mass_kg=0.5, com_flange_m=(0.0, 0.0, 0.05), inertia_kg_m2=tuple(range(9)))
    convert.fill_load(request, payload)
    assert request.mass == 0.5
    assert list(request.load_inertia) == [0, 3, 6, 1, 4, 7, 2, 5, 8]
    request = SET_COLLISION.Request()
    thresholds = CollisionThresholds(torque_nm=(20.0,) * 7, wrench=(30.0,) * 3 + (10.0,) * 3)
    convert.fill_collision(request, thresholds)
    assert list(request.upper_torque_thresholds_nominal) == [20.0] * 7
    assert list(request.lower_force_thresholds_nominal) == [30.0] * 3 + [10.0] * 3


@pytest.mark.parametrize(
    ("mode", "errors", "kind"),
    [
        (2, [], None),
        (1, [], None),
        (0, [], None),
        (4, ["cartesian_reflex"], FaultKind.REFLEX),
        (4, [], FaultKind.REFLEX),
        (2, ["communication_constraints_violation"], FaultKind.COMMUNICATION),
        (4, ["joint_position_limits_violation"], FaultKind.JOINT_LIMIT),
        (4, ["cartesian_velocity_violation"], FaultKind.SPEED),
        (5, [], FaultKind.USER_STOP),
        (5, ["cartesian_reflex"], FaultKind.USER_STOP),
        (3, [], FaultKind.OTHER),
    ],
)
def test_a_robot_mode_and_its_errors_are_a_fault_of_their_kind(mode, errors, kind):
    state = fake.FRANKA_ROBOT_STATE(robot_mode=mode)
    for name in errors:
        setattr(state.current_errors, name, True)
    fault = fault_of(state, 7)
    if kind is None:
        assert fault is None
    else:
        assert fault is not None
        assert fault.kind is kind
        assert fault.stamp_mono_ns == 7
        assert "recover" in fault.reason
        assert kind is FaultKind.USER_STOP or all(name in fault.reason for name in errors)
