"""SERL's parameters and our gains are the same law."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot_servers.control import se3
from robot_servers.http_params import PARAMS, defaults, gains_from, merge, params_from
from robot_servers.http_reply import Refused
from robot_servers.types import Gains

INTEGRAL = ("translational_Ki", "rotational_Ki")
HONOURED = [key for key in PARAMS if key not in INTEGRAL]
within = st.fixed_dictionaries(
    {key: st.floats(PARAMS[key].low, PARAMS[key].high) for key in HONOURED}
)


def test_serls_defaults_are_our_defaults():
    assert gains_from(defaults()) == Gains()
    assert params_from(Gains()) == pytest.approx(defaults())


def test_serls_half_angle_numbers_are_ours_by_two():
    gains = gains_from({**defaults(), "rotational_stiffness": 150.0, "rotational_clip_x": 0.05})
    assert gains.rotational_stiffness_nm_per_rad == 75.0
    assert gains.rotational_clip_rad[0] == 0.1


@given(within)
def test_parameters_survive_the_way_there_and_back(asked):
    merged, clamped, refused = merge(defaults(), asked)
    assert not clamped
    assert not refused
    assert params_from(gains_from(merged)) == pytest.approx(merged)


@given(st.sampled_from(HONOURED), st.floats(-1e6, 1e6))
def test_values_beyond_the_range_are_clamped_to_it(key, value):
    merged, clamped, _ = merge(defaults(), {key: value})
    assert PARAMS[key].low <= merged[key] <= PARAMS[key].high
    assert bool(clamped) == (merged[key] != value)
    assert merge(merged, {key: merged[key]})[0] == merged


def serl_force(params, displacement):
    """SERL's spring, written down as its controller has it: -K clip(p - p_d, -neg, +pos) and
    -K clip(-R vec(q^-1 q_d), -neg, +pos), for a TCP at the identity and a reference displaced."""
    quat = se3.quat_from_matrix(se3.matrix_from_rotvec(displacement[3:]))
    error = np.concatenate([-displacement[:3], -quat[:3]])
    low = [
        -params[f"{kind}_clip_neg_{a}"] for kind in ("translational", "rotational") for a in "xyz"
    ]
    high = [params[f"{kind}_clip_{a}"] for kind in ("translational", "rotational") for a in "xyz"]
    stiffness = np.repeat([params["translational_stiffness"], params["rotational_stiffness"]], 3)
    return -stiffness * np.clip(error, low, high)


def our_force(gains, displacement):
    """Ours (types.Gains): stiffness times the displacement, clipped on each side of the TCP."""
    pos = np.array([*gains.translational_clip_m, *gains.rotational_clip_rad])
    neg = np.array(
        [
            *(gains.translational_clip_neg_m or gains.translational_clip_m),
            *(gains.rotational_clip_neg_rad or gains.rotational_clip_rad),
        ]
    )
    stiffness = np.repeat(
        [gains.translational_stiffness_n_per_m, gains.rotational_stiffness_nm_per_rad], 3
    )
    return stiffness * np.clip(displacement, -neg, pos)


@given(
    within,
    st.lists(st.floats(-0.05, 0.05), min_size=3, max_size=3),
    st.sampled_from(range(3)),
    st.floats(-0.12, 0.12),
)
def test_both_laws_push_alike_on_both_sides(params, shift, axis, angle):
    """Asymmetric clips: SERL's positive one bounds a reference on the TCP's negative side."""
    rotation = np.eye(3)[axis] * angle
    displacement = np.concatenate([shift, rotation])
    expected = serl_force(params, displacement)
    found = our_force(gains_from(params), displacement)
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=1e-6)


@pytest.mark.parametrize("key", INTEGRAL)
def test_an_integral_gain_is_refused_by_name_and_the_rest_taken(key):
    """SERL's precision preset asks for Ki 0.1 and never reads the reply: it must not be left with
    the stiffness of the preset before."""
    merged, _, refused = merge(defaults(), {"translational_stiffness": 3000, key: 0.1})
    assert merged["translational_stiffness"] == 3000
    assert merged[key] == 0
    assert key in refused[0]
    assert merge(defaults(), {key: 0})[2] == []


def test_a_gain_the_backend_cannot_honour_is_refused_by_its_serl_name():
    unsupported = {"nullspace_stiffness_nm_per_rad"}
    merged, _, refused = merge(defaults(), {"nullspace_stiffness": 5.0}, unsupported)
    assert merged["nullspace_stiffness"] == PARAMS["nullspace_stiffness"].default
    assert "nullspace_stiffness" in refused[0]


def test_an_unknown_key_is_named_with_the_nearest():
    with pytest.raises(Refused, match=r"translational_stifness.*translational_stiffness") as caught:
        merge(defaults(), {"translational_stifness": 1})
    assert caught.value.status == 422


@pytest.mark.parametrize("value", ["2000", None, True, float("nan"), float("inf"), 10**400, [1]])
def test_a_value_that_is_no_number_is_refused_by_its_key(value):
    with pytest.raises(Refused, match="rotational_damping"):
        merge(defaults(), {"rotational_damping": value})
