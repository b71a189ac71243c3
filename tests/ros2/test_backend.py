"""The ros2 backend against a simulated arm behind CRISP's and franka_ros2's topics."""

from __future__ import annotations

import time

import numpy as np
import pytest
from ros2.contract import PATIENT_S
from ros2.fake_rclpy import FAKED, Clock, real_rclpy

from robot_servers.backends.ros2 import Ros2Backend, driver
from robot_servers.backends.ros2.convert import crisp_parameters
from robot_servers.backends.ros2.session import RosSession, poll
from robot_servers.control import se3
from robot_servers.models.base import MODELS
from robot_servers.types import (
    ArmCommand,
    CartesianTarget,
    CollisionThresholds,
    FaultKind,
    Gains,
    JointTarget,
    Mode,
    Payload,
    WrenchTarget,
)
from serl.errors import UserError

on_the_fake = pytest.mark.skipif(real_rclpy(), reason="about the fake, or a Python without ROS")


def state(backend):
    return backend.states()[""]


def move(backend, dx=0.0, dy=0.0, dz=0.0, turn=0.0):
    T = se3.apply_displacement(state(backend).T_base_tcp, np.array([dx, dy, dz, 0, 0, turn]))
    backend.command({"": ArmCommand(target=CartesianTarget(T_base_tcp=T))})
    return T


def wait_for(condition, timeout_s=5.0):
    assert poll(condition, timeout_s)


def faulted(backend):
    wait_for(lambda: state(backend).mode is Mode.FAULT)
    return state(backend).fault


@on_the_fake
def test_without_ros_it_says_how_to_source_it():
    assert not FAKED
    with pytest.raises(UserError, match=r"rclpy is not importable by this Python 3\.\d+ .*setup"):
        Ros2Backend().connect()


def test_it_tracks_a_pose_and_starts_crisps_controller_once(backend, world):
    for _ in range(2):
        T = move(backend, dx=0.05, turn=0.1)
        wait_for(lambda T=T: np.abs(state(backend).T_base_tcp - T).max() < 5e-3)
    assert world.switches == [([world.names.cartesian_controller], [])]
    assert state(backend).mode is Mode.IMPEDANCE


def test_nothing_is_sent_before_the_controller_holds_the_arm(backend, world):
    world.refuse_switch = True
    move(backend, dx=0.05)
    fault = faulted(backend)
    assert fault.kind is FaultKind.OTHER
    assert "refused to start cartesian_impedance_controller" in fault.reason
    assert world.poses_published == 0
    world.refuse_switch = False
    backend.recover([""])
    T = move(backend, dx=0.03)
    wait_for(lambda: np.abs(state(backend).T_base_tcp - T).max() < 5e-3)


def test_a_push_reads_as_what_the_environment_does_to_the_robot(backend, world):
    world.pushed = np.array([10.0, -4.0, 2.0, 0.5, 0.0, -0.3])
    wait_for(lambda: np.allclose(state(backend).wrench_base_ext, world.pushed))


def test_a_push_against_the_spring_moves_the_arm_by_force_over_stiffness(backend, world):
    T = move(backend)
    backend.set_gains({"": Gains(translational_stiffness_n_per_m=1000.0)})
    wait_for(lambda: world.parameters["task.k_pos_x"] == 1000.0)
    world.pushed = np.array([5.0, 0, 0, 0, 0, 0])
    wait_for(lambda: abs(state(backend).T_base_tcp[0, 3] - T[0, 3] - 0.005) < 5e-4)


def test_torque_against_angle_is_the_rotational_stiffness(backend, world):
    backend.set_gains({"": Gains(nullspace_stiffness_nm_per_rad=0.0)})
    T = move(backend)
    wait_for(lambda: world.poses_published > 20)
    world.pushed = np.array([0, 0, 0, 0, 0, 3.0])
    still, deadline = 0, time.monotonic() + 20.0
    while still < 20:  # at rest, not at a turning point
        assert time.monotonic() < deadline
        still = still + 1 if np.abs(backend.advance(0.02)[""].dq_rad_per_s).max() < 1e-3 else 0
    angle = se3.pose_error(state(backend).T_base_tcp, T)[5]
    assert angle == pytest.approx(3.0 / 75.0, rel=0.05)


def test_gains_go_to_crisp_all_at_once_without_leaving_control(backend, world):
    gains = Gains(translational_stiffness_n_per_m=800.0, translational_clip_m=(0.02, 0.01, 0.01))
    move(backend)
    wait_for(lambda: state(backend).mode is Mode.IMPEDANCE and world.active is not None)
    backend.set_gains({"": gains})
    wanted = crisp_parameters(gains, world.joint_names)
    wait_for(lambda: all(world.parameters.get(k) == v for k, v in wanted.items()))
    assert len(world.switches) == 1


def test_gains_that_crisp_refuses_are_a_fault_and_too_stiff_ones_are_refused(backend, world):
    with pytest.raises(UserError, match="rotational_stiffness_nm_per_rad 150; CRISP"):
        backend.set_gains({"": Gains(rotational_stiffness_nm_per_rad=150.0)})
    world.refuse_parameters = True
    move(backend)
    assert "refused its gains (out of bounds)" in faulted(backend).reason


def test_a_joint_move_does_not_jump_to_a_posture_that_was_meant_for_the_nullspace(backend, world):
    home = np.array(backend.arms[""].q_home_rad)
    away = home + np.array([0.4, 0.2, 0.4, 0.2, 0.4, 0.2, 0.4])
    backend.command({"": ArmCommand(target=JointTarget(q_rad=away))})
    wait_for(lambda: np.abs(state(backend).q_rad - away).max() < 5e-3, 10.0)
    move(backend)
    wait_for(lambda: np.allclose(world.posture, home))  # told to the Cartesian controller
    wait_for(lambda: np.abs(state(backend).dq_rad_per_s).max() < 0.05)
    here, fastest = state(backend).q_rad, 0.0
    backend.command({"": ArmCommand(target=JointTarget(q_rad=here))})
    for _ in range(50):
        fastest = max(fastest, np.abs(backend.advance(0.02)[""].dq_rad_per_s).max())
    assert world.active == world.names.joint_controller
    assert fastest < 0.3
    np.testing.assert_allclose(state(backend).q_rad, here, atol=0.02)


def test_the_nullspace_posture_is_home(backend, world):
    backend.command({"": ArmCommand(target=JointTarget(q_rad=world.q + 0.05))})
    wait_for(lambda: world.active == world.names.joint_controller)
    move(backend)
    home = np.array(backend.arms[""].q_home_rad)
    wait_for(lambda: np.allclose(world.posture, home))


def test_a_reflex_latches_with_its_reason_until_recovered(backend, world):
    T = move(backend)
    wait_for(lambda: world.active is not None)
    world.reflex("cartesian_reflex")
    fault = faulted(backend)
    assert fault.kind is FaultKind.REFLEX
    assert "cartesian_reflex" in fault.reason
    with pytest.raises(UserError, match="recover it first"):
        move(backend, dx=0.02)
    backend.recover([""])
    assert world.hardware == 3  # franka_hardware's component was woken
    assert state(backend).mode is Mode.HOLD
    T = move(backend, dx=0.02)
    wait_for(lambda: np.abs(state(backend).T_base_tcp - T).max() < 5e-3)


def test_a_pressed_user_stop_stands_in_the_way_of_recovery(backend, world):
    world.press_user_stop(True)
    assert faulted(backend).kind is FaultKind.USER_STOP
    with pytest.raises(UserError, match="user-stopped"):
        backend.recover([""])
    world.press_user_stop(False)
    wait_for(lambda: backend._sample.fault is None)
    backend.recover([""])
    assert state(backend).mode is Mode.HOLD


def test_a_refused_recovery_says_so(backend, world):
    world.reflex("joint_reflex")
    faulted(backend)
    world.refuse_recovery = True
    with pytest.raises(UserError, match="refused its error recovery"):
        backend.recover([""])
    assert state(backend).mode is Mode.FAULT


def test_silent_topics_are_a_communication_fault_that_names_them(backend, world):
    move(backend)
    world.silent = True
    began = time.monotonic_ns()
    fault = faulted(backend)
    assert fault.kind is FaultKind.COMMUNICATION
    assert "franka_robot_state_broadcaster/robot_state: silent for" in fault.reason
    assert fault.stamp_mono_ns - began < 1e9 * (PATIENT_S + 0.5)
    world.silent = False
    wait_for(lambda: not _refused(backend.recover, [""]))


def _refused(function, *arguments):
    try:
        function(*arguments)
    except (UserError, TimeoutError):
        return True
    return False


def test_halt_takes_the_arm_from_every_controller(backend, world):
    move(backend, dx=0.1)
    wait_for(lambda: world.active is not None)
    world.others = {"somebody_elses_controller"}
    backend.halt([""])
    wait_for(lambda: world.active is None)
    assert state(backend).mode is Mode.IDLE
    where = world.q.copy()
    time.sleep(0.1)
    np.testing.assert_array_equal(world.q, where)
    backend.recover([""])
    move(backend)
    wait_for(lambda: world.active == world.names.cartesian_controller and not world.others)


def test_a_server_that_dies_leaves_the_arm_holding_its_last_target(world):
    backend = Ros2Backend(stale_after_s=PATIENT_S)
    backend.connect()
    T = move(backend, dx=0.03)
    wait_for(lambda: np.abs(state(backend).T_base_tcp - T).max() < 5e-3)
    backend.close()
    wait_for(lambda: np.abs(world.T_base_tcp - T).max() < 1e-3)
    world.pushed = np.array([5.0, 0, 0, 0, 0, 0])
    wait_for(lambda: world.T_base_tcp[0, 3] > T[0, 3] + 2e-3)
    world.pushed = np.zeros(6)
    wait_for(lambda: np.abs(world.T_base_tcp - T).max() < 1e-3)
    assert world.active == world.names.cartesian_controller


def test_another_controller_is_told_to_let_go(world):
    world.others = {"joint_trajectory_controller"}
    with Ros2Backend() as backend:
        move(backend)
        wait_for(lambda: world.active == world.names.cartesian_controller)
    assert world.switches[0][1] == ["joint_trajectory_controller"]


def test_an_arm_that_someone_else_took_is_a_fault_and_recovered_is_taken_back(backend, world):
    move(backend)
    wait_for(lambda: world.active is not None)
    time.sleep(0.2)
    world.active = None  # as `ros2 control switch_controllers` would
    assert "another program has changed controllers" in faulted(backend).reason
    backend.recover([""])
    move(backend)
    wait_for(lambda: world.active == world.names.cartesian_controller)


def test_a_payload_is_set_while_nothing_controls_the_arm(backend, world):
    move(backend)
    wait_for(lambda: world.active is not None)
    backend.hold([""])
    wait_for(lambda: np.abs(state(backend).dq_rad_per_s).max() < 1e-2)
    backend.set_payload({"": Payload(mass_kg=0.7, com_flange_m=(0.0, 0.0, 0.04))})
    assert world.load.mass == 0.7
    T = move(backend, dx=0.02)
    wait_for(lambda: np.abs(state(backend).T_base_tcp - T).max() < 5e-3)


def test_collision_thresholds_trip_the_arms_reflex(backend, world):
    backend.set_collision(
        {"": CollisionThresholds(torque_nm=(20.0,) * 7, wrench=(15.0,) * 3 + (5.0,) * 3)}
    )
    move(backend)
    world.pushed = np.array([20.0, 0, 0, 0, 0, 0])
    assert faulted(backend).kind is FaultKind.REFLEX


def test_wrench_mode_is_refused_by_name(backend):
    assert "wrench" in backend.unsupported
    with pytest.raises(UserError, match="no 'wrench'"):
        backend.command({"": ArmCommand(target=WrenchTarget(wrench=np.zeros(6)))})


def test_any_ros2_control_arm_can_be_read_from_joint_states_and_crisps_pose(world):
    with Ros2Backend(state="joint_states", gripper="none") as backend:
        T = move(backend, dy=0.03)
        wait_for(lambda: np.abs(state(backend).T_base_tcp - T).max() < 5e-3)
        missing = {"wrench", "payload", "collision", "gripper", "wrench_measured"}
        assert backend.unsupported >= missing


def test_stamps_are_this_hosts_monotonic_clock(backend):
    for _ in range(5):
        now = time.monotonic_ns()
        stamp = backend.advance(0.02)[""].stamp_mono_ns
        assert abs(stamp - now) < 0.5e9


def test_a_sample_is_told_once_and_stamps_grow_also_when_the_system_clock_jumps(backend):
    stamps = []
    backend.subscribe(lambda states: stamps.append(states[""].stamp_mono_ns))
    time.sleep(0.3)
    try:
        for Clock.shift_ns in (-5_000_000_000, 50_000_000, 0):
            time.sleep(0.1)
    finally:
        Clock.shift_ns = 0
    assert len(stamps) > 20
    gaps = np.diff(stamps)
    assert (gaps > 0).all()
    assert np.median(gaps) > 1e6  # the same message again would be nanoseconds later


@pytest.fixture
def hasty(monkeypatch):
    monkeypatch.setattr(driver, "FIRST_STATE_S", 0.3)
    monkeypatch.setattr(driver, "FIRST_READER_S", 0.3)


def test_silence_at_the_start_names_the_topic_and_the_launch_file(world, hasty):
    world.silent = True
    with pytest.raises(UserError, match=r"nothing on topic .*robot_state .*franka_crisp"):
        Ros2Backend().connect()


def test_another_arm_than_the_launch_files_is_refused(world):
    with pytest.raises(UserError, match=r"fer_joint1.* not among fr3_joint1.*--robot"):
        Ros2Backend(arms={"": "panda"}).connect()


def test_a_controller_that_is_not_loaded_is_named(world):
    world.controllers.remove(world.names.joint_controller)
    with pytest.raises(UserError, match="joint_impedance_controller is not loaded"):
        Ros2Backend().connect()


def test_a_second_commander_on_crisps_topic_is_refused(world):
    session = RosSession("intruder")
    session.open()
    session.publisher(("geometry_msgs.msg", "PoseStamped"), world.names.target_pose)
    with pytest.raises(UserError, match=r"1 other node\(s\) publish on target_pose"):
        Ros2Backend().connect()
    session.close()


def test_robot_tomls_tcp_must_be_the_arms(backend):
    pos, quat = se3.pose_to_quat(MODELS.get("fr3").T_flange_tcp)
    backend.set_tcp("", pos, quat)
    with pytest.raises(UserError, match=r"100 mm .* The arm has tcp_pos_m = .*0\.1034"):
        backend.set_tcp("", pos + np.array([0, 0, 0.1]), quat)


def test_a_tcp_that_desk_and_crisp_disagree_on_is_refused(world):
    world.crisp_tcp_offset_m = 0.034
    time.sleep(0.05)
    with pytest.raises(UserError, match="34 mm"):
        Ros2Backend().connect()
