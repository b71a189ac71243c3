"""The gripper, and what friction holds."""

from __future__ import annotations

import numpy as np
import pytest

from robot_servers.types import ArmCommand, GripperTarget, MotionLimits


@pytest.mark.parametrize("mass", [0.1, 0.3])
def test_a_friction_grasp_holds_the_cube_when_lifted_and_weighs_it(cell, mass):
    cell.reset(mass_kg=mass)
    state = cell.grasp()
    assert state.gripper_width_m == pytest.approx(0.04, abs=1e-3)
    assert not state.gripper_moving
    state = cell.go(cell.down(0.5, 0, 0.25), seconds=2.0)
    lifted = cell.cube()[2, 3]
    assert lifted == pytest.approx(0.25, abs=0.01)
    assert state.wrench_base_ext[2] == pytest.approx(-9.81 * mass, rel=0.05)
    cell.wait(3.0)
    assert cell.cube()[2, 3] == pytest.approx(lifted, abs=2e-3)


def test_a_slippery_cube_stays_on_the_table(cell):
    """Pads are smooth: the coefficient of the object decides, so a task can vary it."""
    cell.reset(friction=0.01, mass_kg=0.3)
    cell.grasp()
    cell.go(cell.down(0.5, 0, 0.25), seconds=2.0)
    assert cell.cube()[2, 3] < 0.05


def test_mass_and_friction_are_the_models_own_again_after_the_next_reset(cell):
    cell.reset()
    model = cell.backend.world.model
    before = model.body_mass.copy(), model.body_inertia.copy(), model.geom_friction.copy()
    cell.reset(mass_kg=0.7, friction=0.3)
    body = model.body("cube").id
    assert model.body_mass[body] == 0.7
    np.testing.assert_allclose(model.body_inertia[body], 7 * before[1][body])
    cell.reset()
    for now, then in zip(
        (model.body_mass, model.body_inertia, model.geom_friction), before, strict=True
    ):
        np.testing.assert_array_equal(now, then)


def test_the_hand_keeps_its_speed_and_says_when_it_moves(cell):
    cell.reset(x=0.8)
    limit = cell.backend.arms[""].gripper.speed_max_m_per_s
    cell.backend.command({"": ArmCommand(gripper=GripperTarget(width_m=0.02))})
    widths, moving = [0.08], []
    for _ in range(60):
        state = cell.backend.advance(0.02)[""]
        widths.append(state.gripper_width_m)
        moving.append(state.gripper_moving)
    assert np.abs(np.diff(widths)).max() / 0.02 < 1.15 * limit
    assert moving[0]
    assert not moving[-1]
    assert widths[-1] == pytest.approx(0.02, abs=5e-4)
    assert state.gripper_target_m == 0.02


def test_a_grasp_squeezes_with_the_force_asked_for_and_opens_without_delay(cell):
    cell.reset()
    cell.grasp()
    cell.backend.command({"": ArmCommand(gripper=GripperTarget(width_m=0.0, force_n=15.0))})
    cell.wait(0.5)
    forces = cell.backend.world.data.ctrl[-2:]
    np.testing.assert_allclose(forces, -15.0, atol=0.1)
    cell.backend.command({"": ArmCommand(gripper=GripperTarget(width_m=0.08))})
    assert cell.wait(0.3).gripper_width_m > 0.05


def test_a_slower_limit_makes_a_slower_arm(cell):
    went = {}
    for speed in (0.05, 0.1):
        cell.backend.set_limits({"": MotionLimits(linear_speed_m_per_s=speed)})
        start = cell.reset(x=0.8).T_base_tcp
        T = start.copy()
        T[0, 3] += 0.2
        went[speed] = cell.go(T, seconds=1.0).T_base_ref[0, 3] - start[0, 3]
    cell.backend.set_limits({"": MotionLimits()})
    assert went[0.1] == pytest.approx(2 * went[0.05], rel=0.05)
