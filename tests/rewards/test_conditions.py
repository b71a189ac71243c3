"""Conditions on the state, in plain units."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rewards.squares import SquareConfig

from envs.tasks.pick_cube import PickCubeConfig
from serl.errors import UserError
from serl.rewards.conditions import Condition, all_hold, elements, reader
from serl.types import ArraySpec, Spec


@given(st.floats(-0.4, 0.4), st.floats(0.0, 0.08))
def test_a_condition_sees_metres_whatever_the_state_is_scaled_to(place, grip):
    spec = SquareConfig().spec()
    obs = {"state": np.array([place / 0.1, (grip - 0.04) / 0.04], np.float32)}
    assert reader(spec, "place")(obs) == pytest.approx(place, abs=1e-6)
    assert reader(spec, "grip")(obs) == pytest.approx(grip, abs=1e-6)


def test_every_element_of_a_real_task_is_found_with_its_unit():
    found = elements(PickCubeConfig().spec())
    assert found["tcp_pos.z"] == ("state", 2, 0.1, 0.0)
    assert found["gripper_width"][2:] == (0.04, 0.04)
    assert found["hold_fraction"][2:] == (1.0, 0.0)


@pytest.mark.parametrize(
    ("name", "element", "scale", "offset"),
    [
        ("dq1 [rad/s]", "dq1", 1.0, 0.0),
        ("torque.x [N m]", "torque.x", 1.0, 0.0),
        ("force.x [10 N]", "force.x", 10.0, 0.0),
        ("left/w [0.04 m from -0.5]", "left/w", 0.04, -0.5),
        ("share [1]", "share", 1.0, 0.0),
        ("plain", "state[0]", 1.0, 0.0),
    ],
)
def test_a_spec_s_names_tell_scale_and_offset(name, element, scale, offset):
    array = ArraySpec(name="state", shape=(1,), dtype="float32", fields=(name,))
    assert elements(Spec(observation=(array,), action=array)) == {
        element: ("state", 0, scale, offset)
    }


def test_bounds_are_exclusive_and_all_conditions_must_hold():
    spec = SquareConfig().spec()
    holds = all_hold(spec, [Condition(field="grip", above=0.02, below=0.06)])
    at = {g: {"state": np.array([0.0, (g - 0.04) / 0.04])} for g in (0.02, 0.03, 0.06)}
    assert [holds(obs) for obs in at.values()] == [False, True, False]
    both = [Condition(field="grip", above=0.02), Condition(field="place", above=0.1)]
    assert not all_hold(spec, both)(at[0.03])
    assert all_hold(spec, [])(at[0.03])


def test_a_field_the_state_does_not_have_is_refused_with_the_nearest():
    with pytest.raises(UserError, match=r"no state element named 'gripp'.*'grip'"):
        reader(SquareConfig().spec(), "gripp")


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ({"field": "grip"}, "no bound"),
        ({"field": "grip", "over": 1}, "part of a condition named 'over'"),
        ({"field": "grip", "above": 2, "below": 1}, "nothing is above 2 and below 1"),
        ({"field": "grip", "above": "x"}, "finite numbers"),
        ("grip", "must be like"),
    ],
)
def test_a_malformed_condition_is_one_line(raw, said):
    with pytest.raises(UserError, match=said):
        Condition.from_json(raw)


def test_words_and_json_say_the_same():
    said = Condition.parse("tcp_pos.z above -0.05")
    assert Condition.from_json(said.to_json()) == said
    for wrong in ("tcp_pos.z", "tcp_pos.z over 1", "z above x", "z above 1 above"):
        with pytest.raises(UserError, match="condition"):
            Condition.parse(wrong)
