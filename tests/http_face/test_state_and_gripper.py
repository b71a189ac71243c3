"""What a SERL client reads: fields, units, signs, gripper positions of both flavours."""

import numpy as np
import pytest

from robot_servers import http_gripper, http_reply, http_state
from robot_servers.control import se3
from robot_servers.models.base import MODELS
from robot_servers.types import GripperDescription

HAND = GripperDescription(
    name="franka_hand", width_max_m=0.08, force_max_n=70.0, speed_max_m_per_s=0.1
)
ROBOTIQ = GripperDescription(
    name="robotiq_2f85", width_max_m=0.085, force_max_n=235.0, speed_max_m_per_s=0.15
)


def test_the_force_is_the_arms_on_the_environment_on_the_tcps_axes(guard):
    """The environment pushes along +x of base. Looking down, the TCP's x is base's x and its z is
    base's -z: libfranka would say (-10, 0, 0), and for a push upwards (0, 0, +10)."""
    down = se3.pose_from_rotvec((0.5, 0, 0.3), (np.pi, 0, 0))
    for push, expected in (([10, 0, 0], [-10, 0, 0]), ([0, 0, 10], [0, 0, 10])):
        guard.set_state(T_base_tcp=down, wrench_base_ext=np.array([*push, 0, 0, 0], float))
        found = http_state.wrench_on_environment(guard.states()[""])
        np.testing.assert_allclose(found[:3], expected, atol=1e-9)


def test_the_state_has_serls_fields_and_lengths(guard):
    state = guard.states()[""]
    reply = http_state.state_json(state, MODELS.get("panda").jacobian(state.q_rad), 0.08)
    lengths = {key: np.shape(value) for key, value in reply.items()}
    assert lengths == {
        "pose": (7,),
        "vel": (6,),
        "force": (3,),
        "torque": (3,),
        "q": (7,),
        "dq": (7,),
        "jacobian": (6, 7),
        "gripper_pos": (),
    }


def test_euler_angles_give_the_pose_back(guard):
    state = guard.states()[""]
    x_y_z_rpy = http_state.euler_list(state)
    T = se3.pose(se3.matrix_from_rpy(x_y_z_rpy[3:]), x_y_z_rpy[:3])
    np.testing.assert_allclose(T, state.T_base_tcp, atol=1e-9)


@pytest.mark.parametrize(
    ("gripper", "flavour", "closed", "opened"),
    [
        (HAND, "serl", 0.0, 0.08),
        (HAND, "hil-serl", 0.0, 1.0),
        (ROBOTIQ, "serl", 255.0, 0.0),
        (ROBOTIQ, "hil-serl", 0.0, 1.0),
    ],
)
def test_gripper_pos_has_each_flavours_range(gripper, flavour, closed, opened):
    assert http_gripper.position(0.0, gripper, flavour) == closed
    assert http_gripper.position(gripper.width_max_m, gripper, flavour) == opened


@pytest.mark.parametrize("gripper", [HAND, ROBOTIQ])
def test_an_opened_gripper_lets_hil_serls_client_close_again(gripper):
    """HIL-SERL's Robotiq opened to register 175, 0.31: its own env closes only above 0.85."""
    width = http_gripper.opened(gripper).width_m
    assert http_gripper.position(width, gripper, "hil-serl") > 0.95


def test_move_gripper_counts_are_each_drivers_own():
    assert http_gripper.moved(102, HAND).width_m == pytest.approx(0.04)
    assert http_gripper.moved(255, HAND).width_m == 0.08
    assert http_gripper.moved(255, ROBOTIQ).width_m == 0.0
    assert http_gripper.moved(0, ROBOTIQ).width_m == 0.085
    assert http_gripper.moved(9e9, HAND).width_m == 0.08


def test_a_slow_close_is_slower():
    for gripper in (ROBOTIQ,):
        slow = http_gripper.closed(gripper, "hil-serl", slow=True)
        assert slow.speed_m_per_s < http_gripper.closed(gripper, "hil-serl").speed_m_per_s
    assert http_gripper.closed(HAND, "serl").force_n == HAND.force_max_n


def test_a_chord_between_two_orientations_is_read_as_the_turn_half_way():
    """SERL's resets interpolate quaternions component by component and send what comes out."""
    a = se3.quat_from_matrix(se3.matrix_from_rotvec([np.pi, 0, 0]))
    b = se3.quat_from_matrix(se3.matrix_from_rotvec([0, 0, 1.0]) @ se3.matrix_from_quat(a))
    b = b if a @ b > 0 else -b
    T = http_reply.pose({"arr": [0.5, 0, 0.3, *((a + b) / 2)]})
    half = se3.matrix_from_rotvec([0, 0, 0.5]) @ se3.matrix_from_quat(a)
    np.testing.assert_allclose(T[:3, :3], half, atol=1e-9)


@pytest.mark.parametrize(
    "arr",
    [
        [0.5, 0, 0.3, 0, 0, 0, 0],
        [0.5, 0, 0.3, 1.01, 0, 0, 0],
        [0.5, 0, 0.3, 0.5, 0, 0, 0],
        [0.5, 0, 0.3, 1, 0, 0],
        [0.5, 0, float("nan"), 1, 0, 0, 0],
        [0.5, 0, "0.3", 1, 0, 0, 0],
        [0.5, 0, None, 1, 0, 0, 0],
        {"x": 1},
        "0.5",
        None,
    ],
)
def test_what_is_no_pose_is_refused_in_one_line(arr):
    with pytest.raises(http_reply.Refused) as caught:
        http_reply.pose({"arr": arr})
    assert caught.value.status == 400
    assert "\n" not in str(caught.value)
