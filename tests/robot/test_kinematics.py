"""Every model's own kinematics against MuJoCo's of its body, and against finite differences."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robot_servers.control import se3
from robot_servers.models.base import MODELS
from robot_servers.simulation.cell import build_cell, compile_cell

rng_seeds = st.integers(0, 2**32 - 1)
CELLS = {name: compile_cell(build_cell({"": name}, {}, 0.002)) for name in MODELS.names()}
TOOL = se3.pose_from_rotvec([0.05, -0.02, 0.2], [0.3, -0.4, 0.8])


def posture(name, seed):
    """Anywhere within the joint limits."""
    d = MODELS.get(name).description
    return np.random.default_rng(seed).uniform(d.q_min_rad, d.q_max_rad)


def simulated(name, q):
    """T_base_tcp and its Jacobian, by MuJoCo."""
    model, data = CELLS[name], mujoco.MjData(CELLS[name])
    data.qpos[: len(q)] = q
    mujoco.mj_kinematics(model, data)
    mujoco.mj_comPos(model, data)
    site = model.site(MODELS.get(name).names.tcp_site).id
    J = np.zeros((6, model.nv))
    mujoco.mj_jacSite(model, data, J[:3], J[3:], site)
    T = se3.pose(data.site_xmat[site].reshape(3, 3), data.site_xpos[site])
    return T, J[:, : len(q)]


@pytest.mark.parametrize("name", MODELS.names())
@given(rng_seeds)
@settings(max_examples=25)
def test_pose_and_jacobian_are_those_of_the_simulated_body(name, seed):
    q, model = posture(name, seed), MODELS.get(name)
    T, J = simulated(name, q)
    np.testing.assert_allclose(model.T_base_tcp(q), T, atol=1e-9)
    np.testing.assert_allclose(model.jacobian(q), J, atol=1e-9)


@pytest.mark.parametrize("name", MODELS.names())
@pytest.mark.parametrize("tool", [None, TOOL], ids=["own", "given"])
@given(rng_seeds)
@settings(max_examples=25)
def test_the_jacobian_is_the_poses_derivative(name, tool, seed):
    q, model, step = posture(name, seed), MODELS.get(name), 1e-6
    columns = []
    for i in range(len(q)):
        dq = np.zeros(len(q))
        dq[i] = step
        after, before = model.T_base_tcp(q + dq, tool), model.T_base_tcp(q - dq, tool)
        columns.append(se3.pose_error(after, before) / (2 * step))
    np.testing.assert_allclose(model.jacobian(q, tool), np.array(columns).T, atol=1e-7)


@pytest.mark.parametrize("name", MODELS.names())
def test_a_tool_stands_where_it_is_mounted_on_the_flange(name):
    q, model = posture(name, 1), MODELS.get(name)
    np.testing.assert_allclose(model.T_base_tcp(q, TOOL), model.T_base_flange(q) @ TOOL, atol=1e-12)
    np.testing.assert_array_equal(model.T_base_tcp(q, np.eye(4)), model.T_base_flange(q))


@pytest.mark.parametrize("name", MODELS.names())
def test_many_postures_at_once_are_the_same_as_one_by_one(name):
    model = MODELS.get(name)
    path = np.array([posture(name, seed) for seed in range(5)])
    poses = model.T_base_tcp(path)
    for q, T in zip(path, poses, strict=True):
        np.testing.assert_allclose(model.T_base_tcp(q), T, atol=1e-12)


def test_a_wrong_number_of_joints_is_refused():
    with pytest.raises(ValueError, match="7 joints"):
        MODELS.get("panda").T_base_tcp(np.zeros(6))


def test_the_fr3_is_a_panda_with_its_own_limits():
    """Franka's table of the FR3, in degrees."""
    fr3, panda = MODELS.get("fr3"), MODELS.get("panda")
    low = [-157.2, -102.2, -166.2, -174.3, -160.8, 31.2, -172.8]
    high = [157.2, 102.2, 166.2, -8.7, 160.8, 258.8, 172.8]
    np.testing.assert_allclose(fr3.description.q_min_rad, np.radians(low), atol=2e-3)
    np.testing.assert_allclose(fr3.description.q_max_rad, np.radians(high), atol=2e-3)
    joint = CELLS["fr3"].joint("joint6")
    np.testing.assert_allclose(joint.range, [0.5445, 4.5169])
    q = fr3.description.q_home_rad
    np.testing.assert_array_equal(fr3.T_base_tcp(q), panda.T_base_tcp(q))
