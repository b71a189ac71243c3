"""docs/franka.md warns before whatever moves an arm, and its names are the code's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from robot_servers.backends.ros2.names import Ros2Names
from robot_servers.config import load_config
from robot_servers.types import Mode

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "franka.md").read_text()
MOVES = re.compile(
    r"^serl (?:robot (?:move-to|home|joint-reset|gripper|playback|recover|unlock)|record|actor)"
)


def blocks():
    """(what stands right before, lines) of each fenced block."""
    for part in re.finditer(r"((?:[^\n]+\n)*)\n?```\w*\n(.*?)```", TEXT, re.DOTALL):
        yield part[1], part[2].splitlines()


def test_a_warning_stands_right_before_every_block_that_moves_an_arm():
    moving = [(before, lines) for before, lines in blocks() if any(map(MOVES.match, lines))]
    assert len(moving) >= 3
    for before, lines in moving:
        assert before.startswith("> **Warning.**"), lines


@pytest.mark.parametrize("mode", Mode, ids=lambda mode: mode.name)
def test_every_mode_is_explained(mode):
    assert f"| {mode.name} |" in TEXT


@pytest.mark.parametrize("name", vars(Ros2Names()).values())
def test_every_ros_name_is_told(name):
    if name not in ("target_joint", "controller_manager", "franka/joint_states"):
        assert name.rpartition("/")[2] in TEXT


def test_it_says_that_nothing_was_tried_on_metal_and_ros_is_unproven():
    assert "**Nobody has yet run this on metal.**" in TEXT
    assert "**unproven on real rclpy**" in TEXT


def test_the_robot_toml_of_a_first_day_loads(tmp_path):
    (lines,) = [lines for _, lines in blocks() if lines[0] == "[arm]"]
    file = tmp_path / "robot.toml"
    file.write_text("\n".join(lines))
    arm = load_config(file).settings("")
    assert arm.robot == "fr3"
    assert arm.limits.linear_speed_m_per_s == 0.1
