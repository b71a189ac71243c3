"""What things are called on the ROS side, and which versions those names come from.

Written for franka_ros2 2.5.0 (Humble) and 3.4.0 (Jazzy), CRISP controllers 2.3.1, ros2_control 2.x
(Humble) and 4.x (Jazzy). Relative names are resolved in the node's namespace.
"""

from __future__ import annotations

from dataclasses import dataclass

ARM_IDS = {"panda": "fer"}
"""franka_description's name of a robot where it is not ours; it begins every joint's name."""


@dataclass(frozen=True, kw_only=True)
class Ros2Names:
    """Topics, services and controllers. The defaults are those of ros2_launch/."""

    robot_state: str = "franka_robot_state_broadcaster/robot_state"
    """franka_msgs/FrankaRobotState, every update of the controller manager."""

    joint_states: str = "franka/joint_states"
    """sensor_msgs/JointState of joint_state_broadcaster, used where there is no robot_state."""

    current_pose: str = "current_pose"
    """geometry_msgs/PoseStamped of CRISP's PoseBroadcaster: its own idea of the TCP."""

    cartesian_controller: str = "cartesian_impedance_controller"
    """CRISP's CartesianController as a Cartesian impedance."""

    joint_controller: str = "joint_impedance_controller"
    """CRISP's CartesianController with no task stiffness: a joint impedance."""

    target_pose: str = "target_pose"
    """geometry_msgs/PoseStamped to the Cartesian controller."""

    posture: str = "target_joint"
    """sensor_msgs/JointState to the Cartesian controller: its nullspace posture."""

    target_joint: str = "joint_impedance_controller/target_joint"
    """sensor_msgs/JointState to the joint controller; a topic of its own, lest the posture above
    lie in wait there and make the arm jump when the controller starts."""

    controller_manager: str = "controller_manager"
    error_recovery: str = "action_server/error_recovery"
    set_load: str = "service_server/set_load"
    set_collision: str = "service_server/set_force_torque_collision_behavior"
