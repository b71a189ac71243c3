"""What ros2_launch/ says agrees with what the backend asks for. No ROS needed."""

from __future__ import annotations

import shlex
from pathlib import Path
from xml.etree import ElementTree

import pytest

import robot_servers
from robot_servers.backends.ros2.convert import CRISP_UPDATE_HZ, crisp_parameters
from robot_servers.backends.ros2.driver import MAX_ROTATIONAL_STIFFNESS
from robot_servers.backends.ros2.names import Ros2Names
from robot_servers.models.base import MODELS
from robot_servers.types import Gains

yaml = pytest.importorskip("yaml")

FOLDER = Path(robot_servers.__file__).parent / "ros2_launch"
NAMES = Ros2Names()
JOINTS = [f"fr3_{joint}" for joint in MODELS.get("fr3").description.joint_names]


@pytest.fixture(scope="module")
def nodes():
    """Parameters by node."""
    (everything,) = yaml.safe_load((FOLDER / "crisp.yaml").read_text()).values()
    return {name: table["ros__parameters"] for name, table in everything.items()}


@pytest.fixture(scope="module")
def launch():
    return ElementTree.parse(FOLDER / "franka_crisp.launch.xml").getroot()


def test_the_file_has_no_aliases_which_ros_refuses():
    tokens = yaml.scan((FOLDER / "crisp.yaml").read_text())
    assert not [t for t in tokens if isinstance(t, (yaml.AliasToken, yaml.AnchorToken))]


def leaf(table, dotted):
    for key in dotted.split("."):
        table = table[key]
    return table


def test_every_controller_has_a_type_and_parameters_and_the_arms_joints(nodes):
    manager = nodes["controller_manager"]
    assert manager["update_rate"] == CRISP_UPDATE_HZ
    for name in (NAMES.cartesian_controller, NAMES.joint_controller, "pose_broadcaster"):
        assert manager[name]["type"].startswith("crisp_controllers/")
        assert nodes[name]["joints"] == JOINTS
    frames = {
        table["end_effector_frame"] for table in nodes.values() if "end_effector_frame" in table
    }
    assert len(frames) == 1


def test_the_cartesian_controller_speaks_of_base_axes_and_true_angles(nodes):
    table = nodes[NAMES.cartesian_controller]
    assert table["use_local_jacobian"] is False
    assert table["limit_error"] is True
    assert table["variable_max_stiffness"]["rotational"] == MAX_ROTATIONAL_STIFFNESS


def test_every_gain_that_the_backend_sets_is_a_double_in_the_file_or_a_weight(nodes):
    for name in crisp_parameters(Gains(), JOINTS):
        if not name.startswith("nullspace.weights."):
            assert type(leaf(nodes[NAMES.cartesian_controller], name)) is float, name


def test_no_damping_is_left_to_crisps_default(nodes):
    for name in (NAMES.cartesian_controller, NAMES.joint_controller):
        table = nodes[name]
        dampings = [v for k, v in table["task"].items() if k.startswith("d_")]
        assert len(dampings) == 6
        assert min(dampings) > 0
        assert table["nullspace"]["damping"] > 0


def test_the_joint_controller_is_nothing_but_a_joint_impedance(nodes):
    table = nodes[NAMES.joint_controller]
    assert not any(v for k, v in table["task"].items() if k.startswith("k_"))
    nullspace = table["nullspace"]
    assert nullspace["projector_type"] == "none"
    stiffness = [nullspace["stiffness"] * nullspace["weights"][j]["value"] for j in JOINTS]
    assert stiffness == list(MODELS.get("fr3").joint_stiffness_nm_per_rad)


def test_both_controllers_start_inactive_and_the_joint_targets_have_their_own_topic(launch):
    spawned = {}
    for node in launch.iter("node"):
        assert (node.get("pkg"), node.get("exec")) == ("controller_manager", "spawner")
        name, *flags = shlex.split(node.get("args"))
        spawned[name] = flags
    assert "--inactive" in spawned[NAMES.cartesian_controller]
    assert "--inactive" in spawned[NAMES.joint_controller]
    assert spawned[NAMES.joint_controller][-1] == f"--remap target_joint:={NAMES.target_joint}"
    assert "--inactive" not in spawned["pose_broadcaster"]


def test_every_argument_that_is_used_is_declared(launch):
    declared = {arg.get("name") for arg in launch.findall("arg")}
    text = (FOLDER / "franka_crisp.launch.xml").read_text()
    used = {part.partition(")")[0] for part in text.split("$(var ")[1:]}
    assert used == declared
