"""The compiled UR5e against its published numbers, and the law on six joints."""

from __future__ import annotations

import math

import mujoco
import numpy as np
import pytest

from robot_servers.backends.mujoco import MujocoBackend
from robot_servers.control import impedance, se3
from robot_servers.models.base import MODELS, describe
from robot_servers.models.ur5e import constants as c
from robot_servers.models.ur5e.mjcf import in_craigs_frame
from robot_servers.simulation.cell import build_cell, compile_cell
from robot_servers.types import ArmCommand, CartesianTarget, Gains

MODEL = compile_cell(build_cell({"": "ur5e"}, {}, 0.002))
D = describe("ur5e")


def classic_frames(q):
    """T_base_i of the published table, by the classic rule: Rot_z Trans_z Trans_x Rot_x."""
    T, frames = np.eye(4), []
    for (a, d, alpha), theta in zip(c.DH, q, strict=True):
        T = T @ se3.pose_from_rotvec([0, 0, d], [0, 0, theta])
        T = T @ se3.pose_from_rotvec([a, 0, 0], [alpha, 0, 0])
        frames.append(T)
    return frames


@pytest.mark.parametrize("seed", range(5))
def test_kinematics_and_centres_of_mass_are_those_of_the_published_table(seed):
    q = np.random.default_rng(seed).uniform(-3, 3, 6)
    frames = classic_frames(q)
    np.testing.assert_allclose(MODELS.get("ur5e").T_base_flange(q), frames[-1], atol=1e-12)
    data = mujoco.MjData(MODEL)
    data.qpos[:6] = q
    mujoco.mj_kinematics(MODEL, data)
    for i, T in enumerate(frames):
        at = (T @ np.append(c.LINKS[i].com_m, 1.0))[:3]
        np.testing.assert_allclose(data.xipos[MODEL.body(f"link{i + 1}").id], at, atol=1e-9)


def test_the_numbers_are_urs():
    """Reach 850 mm, 20.6 kg with the base (datasheet); torques 150 and 28 N m; 180 deg/s."""
    reach = math.hypot(0.425 + 0.3922, c.DH[3][1])
    assert 0.81 < reach < 0.85
    assert sum(link.mass_kg for link in c.LINKS) == pytest.approx(17.7, abs=0.1)
    assert D.joint_count == 6
    assert D.tau_max_nm == (150, 150, 150, 28, 28, 28)
    np.testing.assert_allclose(np.degrees(D.dq_max_rad_per_s), 180)


@pytest.mark.parametrize("i", range(6))
def test_compiled_inertia_is_the_declared_one(i):
    body, declared = MODEL.body(f"link{i + 1}"), in_craigs_frame(i)
    assert body.mass[0] == pytest.approx(declared.mass_kg)
    R = se3.matrix_from_quat(np.roll(body.iquat, -1))
    xx, yy, zz, xy, xz, yz = declared.inertia_kg_m2
    expected = [[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]
    np.testing.assert_allclose(R @ np.diag(body.inertia) @ R.T, expected, rtol=1e-4, atol=1e-7)
    assert sum(declared.inertia_kg_m2[:3]) == pytest.approx(sum(c.LINKS[i].inertia_kg_m2[:3]))


def test_at_home_the_stylus_points_down_in_front_of_the_base():
    T = MODELS.get("ur5e").T_base_tcp(D.q_home_rad)
    np.testing.assert_allclose(T, se3.pose(np.diag([1, -1, -1]), [0.5, 0, 0.35]), atol=1e-3)


def test_six_joints_have_no_nullspace_torque():
    """The damped projection would leak 40 % of it into the wrench where the arm is weakest."""
    rng = np.random.default_rng(0)
    J, q, q_rest = rng.normal(size=(6, 6)), *rng.normal(size=(2, 6))
    T, gains = np.eye(4), impedance.pack_gains(Gains())
    tau = impedance.impedance_torque(J, q, np.zeros(6), T, T, q_rest, np.zeros(6), gains)
    np.testing.assert_array_equal(tau, 0)


def test_two_kinds_of_arms_share_a_cell():
    """Joint arrays are padded to the longest arm; each arm keeps to its own."""
    poses = {"ur": se3.pose_from_rotvec([0, 0.8, 0], [0, 0, 0])}
    with MujocoBackend(arms={"panda": "panda", "ur": "ur5e"}, base_poses=poses) as backend:
        for name in backend.arms:
            T = backend.states()[name].T_base_tcp.copy()
            T[:3, 3] += [0.05, -0.03, -0.05]
            backend.command({name: ArmCommand(target=CartesianTarget(T_base_tcp=T))})
            state = backend.advance(2.0)[name]
            np.testing.assert_allclose(state.T_base_tcp, T, atol=3e-3)
            assert len(state.q_rad) == backend.arms[name].joint_count


def test_reach_is_solved_with_six_joints():
    from dataclasses import replace

    from envs.tasks.reach import ReachConfig

    config = ReachConfig()
    config = replace(config, arms=(replace(config.arms[0], robot="ur5e"),))
    env = config.make()
    expert = config.expert(env)
    for seed in range(6):
        env.reset(seed=seed)
        expert.reset()
        over = False
        while not over:
            _, _, terminated, truncated, info = env.step(expert.act())
            over = terminated or truncated
        assert info["success"], seed
    env.close()
