"""Loads, told and untold, and dry friction."""

from __future__ import annotations

import numpy as np
import pytest

from robot_servers.control import se3
from robot_servers.models.base import MODELS
from robot_servers.types import ArmCommand, JointTarget, Payload
from serl.errors import UserError

AT_TCP = tuple(MODELS.get("panda").T_flange_tcp[:3, 3])


def settled(cell):
    cell.reset(x=0.9)
    return cell.wait(2.5)


def test_an_untold_load_shows_as_its_weight_and_the_spring_gives_way_under_it(make_cell):
    state = settled(make_cell(payload_kg=0.5))
    np.testing.assert_allclose(state.wrench_base_ext, [0, 0, -0.5 * 9.81, 0, 0, 0], atol=1e-3)
    sag = state.T_base_ref[2, 3] - state.T_base_tcp[2, 3]
    assert sag == pytest.approx(0.5 * 9.81 / 2000, rel=0.1)


def test_a_load_that_gravity_compensation_is_told_of_shows_no_more(make_cell):
    cell = make_cell(payload_kg=0.5)
    settled(cell)
    cell.backend.set_payload({"": Payload(mass_kg=0.5, com_flange_m=AT_TCP)})
    state = settled(cell)
    np.testing.assert_allclose(state.wrench_base_ext, 0, atol=1e-3)
    np.testing.assert_allclose(state.T_base_tcp, state.T_base_ref, atol=1e-4)
    np.testing.assert_allclose(state.tau_nm, 0, atol=0.05)  # gravity is not in tau


@pytest.mark.parametrize("q", [None, [0.5, 0.3, -0.4, -1.8, 0.3, 2.0, 1.0]])
def test_a_load_told_of_that_is_not_there_pushes_the_arm_up(make_cell, q):
    cell = make_cell()
    cell.backend.set_payload({"": Payload(mass_kg=0.4, com_flange_m=(0.02, 0.0, 0.08))})
    start = cell.backend.scene.reset([], None if q is None else {"": np.array(q)})[""]
    state = cell.wait(2.5)
    assert state.wrench_base_ext[2] == pytest.approx(0.4 * 9.81, abs=1e-6)
    risen = state.T_base_tcp[2, 3] - start.T_base_tcp[2, 3]
    assert risen == pytest.approx(0.4 * 9.81 / 2000, rel=0.15)


def test_the_told_weight_acts_at_its_centre(make_cell):
    """Compensation with the wrong centre leaves a torque, as the reported wrench says."""
    cell = make_cell(payload_kg=0.5)
    settled(cell)
    x, y, z = AT_TCP
    cell.backend.set_payload({"": Payload(mass_kg=0.5, com_flange_m=(x + 0.1, y, z))})
    state = settled(cell)
    np.testing.assert_allclose(state.wrench_base_ext[:3], 0, atol=1e-3)
    assert np.linalg.norm(state.wrench_base_ext[3:]) == pytest.approx(0.5 * 9.81 * 0.1, rel=0.02)
    turned = se3.pose_error(state.T_base_tcp, state.T_base_ref)[3:]
    np.testing.assert_allclose(turned, state.wrench_base_ext[3:] / 75, atol=1.5e-3)


def test_a_payload_is_set_at_rest_only(cell):
    cell.reset(x=0.9)
    goal = np.add(cell.backend.arms[""].q_home_rad, 0.4)
    cell.backend.command({"": ArmCommand(target=JointTarget(q_rad=goal))})
    cell.wait(0.3)
    with pytest.raises(UserError, match=r"moves at .* at rest"):
        cell.backend.set_payload({"": Payload(mass_kg=0.5)})


@pytest.mark.parametrize("mass", [-1.0, float("nan"), 50.0])
def test_a_load_that_makes_no_sense_is_refused(cell, mass):
    cell.reset(x=0.9)
    with pytest.raises(UserError, match="payload of"):
        cell.backend.set_payload({"": Payload(mass_kg=mass)})


def test_dry_friction_leaves_the_arm_where_a_small_push_put_it(make_cell):
    """Without friction it comes back to within 0.1 mm."""
    free, dry = make_cell(), make_cell(joint_friction_nm=(2.0,) * 4 + (0.5,) * 3)
    left = []
    for cell in (free, dry):
        start = cell.reset(x=0.9).T_base_tcp
        cell.backend.scene.push(np.array([0.0, 0.0, 15.0, 0, 0, 0]))
        cell.wait(2.0)
        cell.backend.scene.push(np.zeros(6))
        left.append(np.linalg.norm((cell.wait(2.0).T_base_tcp - start)[:3, 3]))
    assert left[0] < 1e-4
    assert 3e-4 < left[1] < 5e-3


def test_one_friction_for_all_joints_or_one_each(make_cell):
    model = make_cell(joint_friction_nm=0.7).backend.world.model
    np.testing.assert_array_equal(model.dof_frictionloss[:7], 0.7)
    with pytest.raises(UserError, match=r"2 numbers; panda has 7 joints"):
        make_cell(joint_friction_nm=(0.7, 0.7))
    with pytest.raises(UserError, match="payload_kg is -1"):
        make_cell(payload_kg=-1.0)
