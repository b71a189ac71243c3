"""With the real controller manager and CRISP's real controllers over ros2_control's mock component.

Run by `make test-ros2` alone, beside the launch file. The mock component mirrors commands: it takes
torques and has no dynamics, so nothing moves here. What moves is proved against the simulated arm.
"""

from __future__ import annotations

import os
import time

import numpy as np
import pytest

from robot_servers.backends.ros2 import Ros2Backend, driver
from robot_servers.backends.ros2.convert import crisp_parameters
from robot_servers.backends.ros2.session import RosSession, load, poll
from robot_servers.control import se3
from robot_servers.models.base import MODELS
from robot_servers.types import ArmCommand, CartesianTarget, Gains, JointTarget, Mode
from serl.errors import UserError

pytestmark = pytest.mark.skipif("SERL_ROS2_MOCK" not in os.environ, reason="make test-ros2 only")

START_S = 60.0


@pytest.fixture(scope="module")
def backend():
    """Connected, once the launch file has loaded everything."""
    deadline = time.monotonic() + START_S
    while True:
        backend = Ros2Backend(state="joint_states", gripper="none")
        try:
            backend.connect()
            break
        except UserError:
            if time.monotonic() > deadline:
                raise
    yield backend
    backend.close()


def test_crisps_pose_is_ours(backend):
    state = backend.advance(0.1)[""]
    model = MODELS.get("fr3")
    error = se3.pose_error(state.T_base_tcp, model.T_base_tcp(state.q_rad))
    assert np.linalg.norm(error[:3]) < driver.TCP_AGREES_M
    assert np.linalg.norm(error[3:]) < driver.TCP_AGREES_RAD


def test_controllers_change_and_take_targets_without_a_fault(backend):
    for _ in range(3):
        state = backend.states()[""]
        backend.command({"": ArmCommand(target=CartesianTarget(T_base_tcp=state.T_base_tcp))})
        assert backend.advance(1.0)[""].mode is Mode.IMPEDANCE
        backend.command({"": ArmCommand(target=JointTarget(q_rad=state.q_rad))})
        assert backend.advance(1.0)[""].mode is Mode.JOINT


def test_crisp_takes_every_parameter_of_our_gains(backend):
    state = backend.states()[""]
    gains = Gains(translational_stiffness_n_per_m=1234.0)
    backend.set_gains({"": gains})
    backend.command({"": ArmCommand(target=CartesianTarget(T_base_tcp=state.T_base_tcp))})
    assert backend.advance(1.0)[""].fault is None
    session = RosSession("reader")
    session.open()
    wanted = crisp_parameters(gains, [f"fr3_joint{i}" for i in range(1, 8)])
    client = session.client(
        ("rcl_interfaces.srv", "GetParameters"), "cartesian_impedance_controller/get_parameters"
    )
    request = load("rcl_interfaces.srv", "GetParameters").Request()
    request.names = list(wanted)

    def taken() -> bool:
        values = session.call(client, request).values
        return [v.double_value for v in values] == pytest.approx(list(wanted.values()))

    assert poll(taken, 5.0)
    session.close()


def test_halt_releases_and_recover_takes_the_arm_back(backend):
    backend.halt([""])
    assert backend.advance(1.0)[""].mode is Mode.IDLE
    backend.recover([""])
    assert backend.advance(0.5)[""].mode is Mode.HOLD
