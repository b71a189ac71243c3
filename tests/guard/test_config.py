"""robot.toml: read strictly, and narrowed but never widened."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import robot_servers
from robot_servers.config import (
    ArmSettings,
    KeepOut,
    RobotConfig,
    SafetyLimits,
    Workspace,
    load_config,
    narrowed,
)
from robot_servers.control import se3
from robot_servers.safety import outside_m, workspace_rotvec
from serl.errors import UserError

EXAMPLE = Path(robot_servers.__file__).parent / "robot.example.toml"


def write(tmp_path, text):
    path = tmp_path / "robot.toml"
    path.write_text(text)
    return path


def test_without_a_file_the_defaults_hold():
    assert load_config(None) == RobotConfig()


def test_the_example_names_every_limit_and_equals_the_defaults():
    assert load_config(EXAMPLE) == RobotConfig()
    text = EXAMPLE.read_text()
    for kind in (RobotConfig, ArmSettings, SafetyLimits, Workspace, KeepOut):
        for field in fields(kind):
            assert re.search(rf"\b{field.name}\b", text), f"{field.name} is not in the example"


def test_the_examples_commented_lines_are_valid_too(tmp_path):
    """A person uncomments them; they must not be refused then."""
    lines = EXAMPLE.read_text().splitlines()
    key = re.compile(r"^# (?=\[|[a-z_]+ = )")
    config = load_config(write(tmp_path, "\n".join(key.sub("", line) for line in lines)))
    assert config.arm.tcp_pos_m == (0.0, 0.0, 0.1034)
    assert config.arm.limits.workspace.keep_out[0].low_m == (0.40, 0.20, -0.02)
    assert config.arm.collision is not None
    assert config.arm.gripper.options == {"address": "192.168.1.11:502"}
    assert config.arms["left"].limits.workspace.low_m == (0.2, -0.1, 0.0)


def test_an_arms_own_table_overrides_the_common_one_key_by_key(tmp_path):
    path = write(
        tmp_path,
        """
        [arm]
        robot = "fr3"
        [arm.limits]
        force_n = 40
        [arms.left.limits]
        step_m = 0.05
        """,
    )
    config = load_config(path)
    assert config.settings("left").robot == "fr3"
    assert config.settings("left").limits.force_n == 40.0
    assert config.settings("left").limits.step_m == 0.05
    assert config.settings("right").limits.step_m == 0.1


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[arm.limit]\nforce_n = 1", "arm: no key named 'limit'. Did you mean 'limits'"),
        ("recording = 'x'", "no key named 'recording'. Did you mean 'recordings'"),
        ("[arm.limits]\nforce = 1", "arm.limits: no key named 'force'. Did you mean 'force_n'"),
        ("[arm.limits]\nforce_n = '80'", "arm.limits.force_n: is '80'; it must be a number"),
        ("[arm.limits]\nforce_n = true", "arm.limits.force_n: is True; it must be a number"),
        ("[arm.limits]\nforce_n = nan", "arm.limits.force_n: is nan; it must be a finite number"),
        ("[arm.limits]\nforce_n = -1", "is -1; it must be above 0 and at most 500"),
        ("[arm.limits]\nstep_m = 10", "arm.limits.step_m: is 10; it must be above 0 and at most 1"),
        ("[arm]\nlimits = 3", "arm.limits: is 3; it must be a table, [arm.limits]"),
        ("[arm]\nrobot = 3", "arm.robot: is 3; it must be a text"),
        ("[arm]\npayload_verified = 1", "arm.payload_verified: is 1; it must be true or false"),
        ("[arm.payload]\nmass_kg = 90", "arm.payload.mass_kg: is 90; it must be 0 to 20 kg"),
        ("[arm.limits.workspace]\nlow_m = [0, 0]", "low_m: has 2 values; it must have 3"),
        ("[arm.limits.workspace]\nlow_m = 0.1", "low_m: is 0.1; it must be a list"),
        ("[arm.limits.workspace]\nlow_m = [0.9, 0, 0]", "is 0.9 in x; it must be below high_m"),
        ("[arm.limits.workspace]\nquat_xyzw = [1, 1, 0, 0]", "has length 1.4142"),
        ("[arm.limits.workspace]\nrotation_rad = [4, 1, 1]", "each must be 0 to pi"),
        ("[[arm.limits.workspace.keep_out]]\nlow_m = [0, 0, 0]", "keep_out[0]: high_m is missing"),
        (
            "[[arm.limits.workspace.keep_out]]\nlow_m = [0, 0, 1]\nhigh_m = [1, 1, 1]",
            "keep_out[0].low_m: is 1 in z",
        ),
        ("[arm]\ntcp_quat_xyzw = [0, 0, 0, 1]", "tcp_pos_m: is missing"),
        ("[arm.collision]\ntorque_nm = [0.0]\nwrench = [1,1,1,1,1,1]", "each must be above 0"),
        ("[arm.collision]\ntorque_nm = [1.0]", "arm.collision: wrench is missing"),
        ("[arms.left.limits]\nforce_n = -1", "arms.left.limits.force_n: is -1"),
        ("arm = [", "is no TOML"),
    ],
)
def test_what_is_wrong_is_one_line_with_file_table_key_and_what_is_allowed(tmp_path, text, says):
    path = write(tmp_path, text)
    with pytest.raises(UserError, match=re.escape(says)) as refused:
        load_config(path)
    assert str(refused.value).startswith(str(path))
    assert "\n" not in str(refused.value).rstrip()


def test_a_file_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"cannot read .*robot\.toml"):
        load_config(tmp_path / "robot.toml")


# --- narrowing

numbers = st.floats(0.01, 2.0)
boxes = st.builds(
    lambda low, size, turn, keep_out: Workspace(
        low_m=tuple(low),
        high_m=tuple(a + b for a, b in zip(low, size, strict=True)),
        rotation_rad=tuple(turn),
        keep_out=keep_out,
    ),
    st.lists(st.floats(0.0, 0.4), min_size=3, max_size=3),
    st.lists(st.floats(0.5, 1.0), min_size=3, max_size=3),
    st.lists(st.floats(0.1, 3.0), min_size=3, max_size=3),
    st.sampled_from([(), (KeepOut(low_m=(0.0, 0.0, 0.0), high_m=(0.1, 0.1, 0.1)),)]),
)
some_limits = st.builds(
    SafetyLimits,
    workspace=boxes,
    **{f.name: numbers for f in fields(SafetyLimits) if f.name != "workspace"},
)


@settings(max_examples=100, deadline=None)
@given(some_limits, some_limits)
def test_narrowing_never_allows_what_either_side_forbids(absolute, asked):
    both = narrowed(absolute, asked)
    for field in fields(SafetyLimits):
        if field.name not in ("workspace", "joint_margin_rad"):
            value = getattr(both, field.name)
            assert value <= min(getattr(absolute, field.name), getattr(asked, field.name))
    assert both.joint_margin_rad >= max(absolute.joint_margin_rad, asked.joint_margin_rad)
    for corner in (both.workspace.low_m, both.workspace.high_m):
        assert outside_m(np.array(corner), absolute.workspace) == 0.0
        assert outside_m(np.array(corner), asked.workspace) == 0.0
    for box in absolute.workspace.keep_out + asked.workspace.keep_out:
        assert box in both.workspace.keep_out


@settings(max_examples=50, deadline=None)
@given(some_limits)
def test_narrowing_by_itself_changes_nothing(limits):
    assert narrowed(limits, limits) == limits


def test_boxes_without_anything_in_common_are_refused():
    far = Workspace(low_m=(0.9, 0, 0), high_m=(1.0, 0.1, 0.1))
    with pytest.raises(UserError, match="nothing in common"):
        narrowed(SafetyLimits(), SafetyLimits(workspace=far))


def test_a_number_that_is_none_does_not_narrow():
    with pytest.raises(UserError, match="force_n is nan"):
        narrowed(SafetyLimits(), SafetyLimits(force_n=float("nan")))


def test_a_rotation_box_about_another_orientation_is_taken_only_when_it_surely_fits():
    absolute = SafetyLimits()
    R = se3.matrix_from_quat(absolute.workspace.quat_xyzw)
    tilted = R @ se3.matrix_from_rotvec(np.array([0.0, 0.4, 0.0]))
    quat = tuple(float(x) for x in se3.quat_from_matrix(tilted))
    asked = replace(absolute.workspace, quat_xyzw=quat, rotation_rad=(0.6, 0.6, 0.6))
    both = narrowed(absolute, SafetyLimits(workspace=asked)).workspace
    assert (both.quat_xyzw, both.rotation_rad) == (asked.quat_xyzw, asked.rotation_rad)
    for corner in np.array(np.meshgrid(*[[-0.6, 0.6]] * 3)).T.reshape(-1, 3):
        r = workspace_rotvec(tilted @ se3.matrix_from_rotvec(corner), absolute.workspace)
        assert (np.abs(r) <= absolute.workspace.rotation_rad).all()
    with pytest.raises(UserError, match=r"0\.400 rad from the robot's"):
        narrowed(absolute, SafetyLimits(workspace=replace(asked, rotation_rad=(1.0, 1.0, 1.0))))
