"""The compiled Panda against its published numbers."""

from __future__ import annotations

import math
import subprocess
import sys

import mujoco
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robot_servers.control import se3
from robot_servers.models.base import MODELS, describe
from robot_servers.models.panda import constants as c
from robot_servers.simulation.cell import build_cell, compile_cell
from serl.errors import UserError

MODEL = compile_cell(build_cell({"": "panda"}, {}, 0.002))
DATA = mujoco.MjData(MODEL)
D = describe("panda")


def dh_chain(q):
    """T_base_tcp by Craig's rule: Rot_x(alpha) Trans_x(a) Rot_z(theta) Trans_z(d) per joint."""
    T = np.eye(4)
    for (a, d, alpha), theta in zip(c.DH_CRAIG, q, strict=True):
        T = T @ se3.pose_from_rotvec([a, 0, 0], [alpha, 0, 0])
        T = T @ se3.pose_from_rotvec([0, 0, d], [0, 0, theta])
    T = T @ se3.pose_from_rotvec([0, 0, c.FLANGE_M], [0, 0, c.HAND_YAW_RAD])
    return T @ se3.pose_from_rotvec([0, 0, c.TCP_M], [0, 0, 0])


def compiled_tcp(q):
    DATA.qpos[: D.joint_count] = q
    mujoco.mj_kinematics(MODEL, DATA)
    site = MODEL.site("tcp").id
    return se3.pose(DATA.site_xmat[site].reshape(3, 3), DATA.site_xpos[site])


def test_the_model_has_the_numbers_that_franka_publishes():
    """The chain written out once more from the datasheet: d and a in millimetres, alpha in
    quarter turns; limits in degrees. Guards the constants themselves."""
    table = [(0, 333, 0), (0, 0, -1), (0, 316, 1), (82.5, 0, 1), (-82.5, 384, -1), (0, 0, 1)]
    table.append((88, 0, 1))
    expected = [(a / 1000, d / 1000, turns * math.pi / 2) for a, d, turns in table]
    np.testing.assert_allclose(c.DH_CRAIG, expected, atol=1e-12)
    limits_deg = [166, 101, 166, 176, 166, 215, 166]
    np.testing.assert_allclose(
        np.maximum(np.abs(D.q_min_rad), np.abs(D.q_max_rad)), np.radians(limits_deg), atol=0.01
    )
    assert D.tau_max_nm == (87, 87, 87, 87, 12, 12, 12)
    assert sum(link.mass_kg for link in c.LINKS) == pytest.approx(16.06, abs=0.01)


@given(st.lists(st.floats(0, 1), min_size=7, max_size=7))
@settings(max_examples=100)
def test_forward_kinematics_is_the_dh_chain(fractions):
    low, high = np.array(D.q_min_rad), np.array(D.q_max_rad)
    q = low + np.array(fractions) * (high - low)
    np.testing.assert_allclose(compiled_tcp(q), dh_chain(q), atol=1e-9)


def test_at_home_the_gripper_points_down_in_front_of_the_base():
    T = compiled_tcp(D.q_home_rad)
    np.testing.assert_allclose(T[:3, 2], [0, 0, -1], atol=0.01)
    np.testing.assert_allclose(T[:3, 0], [1, 0, 0], atol=0.01)
    assert 0.25 < T[0, 3] < 0.4
    assert T[1, 3] == pytest.approx(0, abs=1e-9)
    assert 0.4 < T[2, 3] < 0.6


BODIES = {
    "base": c.LINK0,
    **{f"link{i + 1}": link for i, link in enumerate(c.LINKS)},
    "hand": c.HAND,
    "left_finger": c.FINGER,
    "right_finger": c.FINGER,
}


@pytest.mark.parametrize("name", BODIES)
def test_compiled_mass_centre_and_inertia_are_the_declared_ones(name):
    body, declared = MODEL.body(name), BODIES[name]
    assert body.mass[0] == pytest.approx(declared.mass_kg)
    np.testing.assert_allclose(body.ipos, declared.com_m, atol=1e-9)
    R = se3.matrix_from_quat(np.roll(body.iquat, -1))
    xx, yy, zz, xy, xz, yz = declared.inertia_kg_m2
    expected = [[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]
    np.testing.assert_allclose(R @ np.diag(body.inertia) @ R.T, expected, rtol=1e-5, atol=1e-8)


def test_compiled_limits_damping_and_torques_are_the_declared_ones():
    for i, name in enumerate(D.joint_names):
        joint = MODEL.joint(name)
        np.testing.assert_allclose(joint.range, [D.q_min_rad[i], D.q_max_rad[i]])
        assert joint.limited[0]
        np.testing.assert_allclose(
            MODEL.jnt_actfrcrange[joint.id], [-D.tau_max_nm[i], D.tau_max_nm[i]]
        )
        assert MODEL.jnt_actfrclimited[joint.id]
        assert joint.damping[0] == pytest.approx(c.DAMPING_NM_S_PER_RAD[i])
        assert joint.armature[0] == c.ARMATURE_KG_M2
    gripper = D.gripper
    assert gripper is not None
    for name in ("finger_joint1", "finger_joint2"):
        np.testing.assert_allclose(MODEL.joint(name).range, [0, gripper.width_max_m / 2])
        force = MODEL.actuator(name).forcerange
        np.testing.assert_allclose(force, [-gripper.force_max_n, gripper.force_max_n])


def test_gravity_is_carried_by_the_motors_and_counts_against_their_limit():
    assert (MODEL.body_gravcomp[1:] == 1).all()
    arm = [MODEL.joint(name).id for name in D.joint_names]
    assert MODEL.jnt_actgravcomp[arm].all()


def test_only_what_can_touch_has_collision_geometry():
    felt = (MODEL.geom_contype | MODEL.geom_conaffinity) > 0
    bodies = {MODEL.body(MODEL.geom_bodyid[g]).name for g in np.flatnonzero(felt)}
    assert {"hand", "left_finger", "right_finger", "world"} <= bodies
    assert felt.sum() <= 8


def test_home_lies_within_the_limits():
    assert all(
        lo < q < hi for lo, q, hi in zip(D.q_min_rad, D.q_home_rad, D.q_max_rad, strict=True)
    )


def test_a_description_needs_no_simulator():
    code = (
        "import sys; sys.modules['mujoco'] = None; sys.modules['numba'] = None;"
        "from robot_servers.models.base import describe; print(describe('panda').joint_count)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "7"


def test_an_unknown_robot_names_the_nearest():
    with pytest.raises(UserError, match="Did you mean 'panda'"):
        describe("pandas")
    assert MODELS.names() == ["fr3", "panda", "ur5e"]
