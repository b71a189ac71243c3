"""What the tasks call success, and where they put things."""

import dataclasses

import numpy as np
import pytest

from envs.tasks.base import Hold, View
from envs.tasks.dual_pick import BASE_Y_M, DualPickConfig
from envs.tasks.pick_cube import CUBE_M, PickCubeConfig, PickCubeHardConfig
from envs.tasks.reach import ReachConfig
from robot_servers.control import se3
from robot_servers.types import Mode, RobotState


def arm_at(T):
    zero6, zero7 = np.zeros(6), np.zeros(7)
    return RobotState(
        stamp_mono_ns=0,
        q_rad=zero7,
        dq_rad_per_s=zero7,
        tau_nm=zero7,
        T_base_tcp=T,
        twist_base_tcp=zero6,
        wrench_base_ext=zero6,
        T_base_ref=T,
        T_base_target=T,
        gripper_width_m=0.08,
        gripper_target_m=0.08,
        gripper_moving=False,
        mode=Mode.IMPEDANCE,
        clamped=False,
    )


def cube_view(height, *, yaw=0.0, T_tcp=None):
    T = se3.pose_from_rotvec((0.5, 0.05, CUBE_M / 2 + height), (0, 0, yaw))
    T_tcp = se3.pose_from_quat((0.5, 0.0, 0.2), (1, 0, 0, 0)) if T_tcp is None else T_tcp
    return View({"": arm_at(T_tcp)}, {"cube": T}, {"cube": np.zeros(6)})


def test_a_hold_counts_only_unbroken_time():
    hold = Hold(3)
    assert [hold.update(x) for x in (1, 1, 0, 1, 1, 1, 1)] == [0, 0, 0, 0, 0, 1, 1]
    assert hold.fraction == 1.0
    hold.update(False)
    assert hold.fraction == 0.0


def test_a_cube_up_for_half_a_second_is_success_and_a_tenth_less_is_not():
    task = PickCubeConfig().make_task()
    task.begin(cube_view(0.0))
    outcomes = [task.step(cube_view(0.101)) for _ in range(10)]
    assert [o.success for o in outcomes] == [False] * 9 + [True]
    assert [o.fields["hold_fraction"] for o in outcomes] == pytest.approx(np.arange(1, 11) / 10)
    assert outcomes[-1].terms["success"] == 1.0
    assert not any(task.step(cube_view(0.099)).success for _ in range(20))


def test_a_dropped_cube_starts_the_count_again():
    task = PickCubeConfig().make_task()
    task.begin(cube_view(0.0))
    for height in (*[0.12] * 9, 0.05, *[0.12] * 9):
        assert not task.step(cube_view(height)).success
    assert task.step(cube_view(0.12)).success


def test_a_new_episode_forgets_the_count_of_the_last():
    task = PickCubeConfig().make_task()
    task.begin(cube_view(0.0))
    for _ in range(9):
        task.step(cube_view(0.12))
    assert task.begin(cube_view(0.12)).fields["hold_fraction"] == 0.0
    assert not task.step(cube_view(0.12)).success


@pytest.mark.parametrize("yaw", [0.3, -1.2])
def test_a_quarter_turn_of_the_cube_changes_nothing_the_agent_sees(yaw):
    task = PickCubeConfig().make_task()
    seen = [task.begin(cube_view(0, yaw=yaw + k * np.pi / 2)).fields["cube_yaw"] for k in range(4)]
    np.testing.assert_allclose(seen, [seen[0]] * 4, atol=1e-9)
    assert not np.allclose(task.begin(cube_view(0, yaw=yaw + 0.4)).fields["cube_yaw"], seen[0])


def test_the_way_to_the_cube_is_in_the_tools_axes():
    T_tcp = se3.pose_from_quat((0.45, 0.0, 0.3), (0.9397, 0.342, 0.0, 0.0))
    offset = PickCubeConfig().make_task().begin(cube_view(0, T_tcp=T_tcp)).fields["tcp_to_cube"]
    at = T_tcp @ np.append(offset, 1.0)
    np.testing.assert_allclose(at[:3], [0.5, 0.05, CUBE_M / 2], atol=1e-12)


@pytest.mark.parametrize(
    ("config", "size"), [(PickCubeConfig(), (0.2, 0.3)), (PickCubeHardConfig(), (0.3, 0.5))]
)
def test_cubes_start_all_over_their_rectangle_and_nowhere_else(config, size):
    task, rng = config.make_task(), np.random.default_rng(0)
    cubes = [task.place(rng)[0] for _ in range(600)]
    p = np.array([c.T_base_object[:3, 3] for c in cubes]) - [0.5, 0, CUBE_M / 2]
    assert (np.abs(p[:, :2]) <= np.array(size) / 2).all()
    np.testing.assert_allclose(np.ptp(p[:, :2], axis=0), size, rtol=0.03)
    assert np.abs(p[:, 2]).max() < 1e-12
    yaws = [np.arctan2(c.T_base_object[1, 0], c.T_base_object[0, 0]) for c in cubes]
    assert np.ptp(yaws) > 6.0
    assert {round(c.mass_kg, 6) for c in cubes} == {0.1} or np.ptp([c.mass_kg for c in cubes]) > 0


def test_the_hard_cube_changes_its_mass_and_friction_in_the_simulator():
    env = PickCubeHardConfig().make()
    model = env.unwrapped.backend.world.model
    masses = []
    for seed in range(3):
        env.reset(seed=seed)
        masses.append(float(model.body("cube").mass[0]))
    assert len(set(masses)) == 3
    assert all(0.07 <= m <= 0.15 for m in masses)


def test_goals_fill_the_box_and_turn_up_to_thirty_degrees():
    config = ReachConfig()
    task, rng = config.make_task(), np.random.default_rng(0)
    T_start = se3.pose_from_quat(config.centre_m, config.arms[0].start_quat_xyzw)
    goals = [task.place(rng)[0].T_base_object for _ in range(600)]
    p = np.array([T[:3, 3] for T in goals]) - config.centre_m
    np.testing.assert_allclose(np.ptp(p, axis=0), [0.3, 0.4, 0.3], rtol=0.03)
    turns = [se3.rotvec_from_matrix(T_start[:3, :3].T @ T[:3, :3]) for T in goals]
    assert np.abs(turns).max() <= np.radians(30) + 1e-9
    np.testing.assert_allclose(np.ptp(turns, axis=0), np.radians(60), rtol=0.03)


@pytest.mark.parametrize(
    ("off_m", "off_deg", "there"),
    [(0.0, 0, True), (0.019, 9, True), (0.021, 0, False), (0, 11, False)],
)
def test_reach_succeeds_within_2_cm_and_10_degrees(off_m, off_deg, there):
    config = ReachConfig()
    task = config.make_task()
    task.place(np.random.default_rng(1))
    offset = se3.pose_from_rotvec((0, off_m, 0), (np.radians(off_deg), 0, 0))
    view = View({"": arm_at(task.T_base_goal @ offset)}, {}, {})
    task.begin(view)
    assert [task.step(view).success for _ in range(10)] == [False] * 9 + [there]


def test_dense_reward_grows_towards_the_goal_and_success_is_apart():
    config = dataclasses.replace(PickCubeConfig(), reward="dense")
    task, weights = config.make_task(), config.reward_weights()["dense"]
    far = task.begin(cube_view(0.0)).terms
    T_near = se3.pose_from_quat((0.5, 0.04, 0.03), (1, 0, 0, 0))
    near = task.begin(cube_view(0.0, T_tcp=T_near)).terms
    up = task.begin(cube_view(0.08, T_tcp=T_near)).terms
    rewards = [sum(w * t[k] for k, w in weights.items()) for t in (far, near)]
    assert rewards[0] < rewards[1] < 0.05
    assert up["lift"] == pytest.approx(0.8)
    assert up["success"] == 0.0


def two_cubes(left_height, right_height, T_left=None, T_right=None):
    """Both tools looking down at (0.5, 0, 0.2) in their own bases; cubes below them."""
    T_tcp = se3.pose_from_quat((0.5, 0.0, 0.2), (1, 0, 0, 0))
    z = CUBE_M / 2
    poses = {
        "left_cube": se3.pose(np.eye(3), (0.5, 0.0, z + left_height)),
        "right_cube": se3.pose(np.eye(3), (0.52, -2 * BASE_Y_M + 0.01, z + right_height)),
    }
    arms = {
        "left": arm_at(T_tcp if T_left is None else T_left),
        "right": arm_at(T_tcp if T_right is None else T_right),
    }
    return View(arms, poses, {name: np.zeros(6) for name in poses})


def test_two_cubes_are_success_only_while_both_are_up():
    task = DualPickConfig().make_task()
    task.begin(two_cubes(0, 0))
    for heights in ((0.101, 0.05), (0.05, 0.101), (0.099, 0.2)):
        assert not any(task.step(two_cubes(*heights)).success for _ in range(20))
    outcomes = [task.step(two_cubes(0.101, 0.15)) for _ in range(10)]
    assert [o.success for o in outcomes] == [False] * 9 + [True]


def test_each_arm_sees_its_own_cube_from_its_own_base():
    fields = DualPickConfig().make_task().begin(two_cubes(0.0, 0.03)).fields
    np.testing.assert_allclose(fields["left/tcp_to_cube"], [0, 0, 0.18], atol=1e-9)
    np.testing.assert_allclose(fields["right/tcp_to_cube"], [0.02, -0.01, 0.15], atol=1e-9)
    assert (fields["left/cube_height"], fields["right/cube_height"]) == pytest.approx((0.0, 0.03))


def test_two_cubes_start_before_their_arms_and_the_arms_boxes_stay_a_hand_apart():
    config = DualPickConfig()
    task, rng = config.make_task(), np.random.default_rng(0)
    for _ in range(200):
        left, right = (item.T_base_object[:3, 3] for item in task.place(rng))
        assert np.abs(left[:2] - [0.5, 0.0]).max() <= 0.1
        assert np.abs(right[:2] - [0.5, -2 * BASE_Y_M]).max() <= 0.1
    low, high = config.arms[0].box.low_m[1], config.arms[1].box.high_m[1]
    assert (low + BASE_Y_M) - (high - BASE_Y_M) >= 0.3 - 1e-9


def test_the_action_of_two_arms_is_one_after_the_other():
    names = DualPickConfig().spec().action.fields
    assert names == (
        *(f"left/{axis}" for axis in ("x", "y", "z", "gripper")),
        *(f"right/{axis}" for axis in ("x", "y", "z", "gripper")),
    )
