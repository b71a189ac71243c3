"""ROS messages, services and actions with their real field names and types.

Sources: common_interfaces and rcl_interfaces (Humble), controller_manager_msgs 2.x, franka_msgs of
franka_ros2 2.5. As in rclpy, a field that does not exist or has the wrong type is refused.
"""

from __future__ import annotations

import array
from typing import Any

CHECKS = {"float64": float, "string": str, "bool": bool}
INTEGERS = {"int32", "uint8", "uint32", "int64"}


class Message:
    FIELDS: dict[str, Any] = {}

    def __init__(self, **values: Any) -> None:
        unknown = values.keys() - self.FIELDS.keys()
        assert not unknown, f"{type(self).__name__} has no field {unknown}"
        for name, spec in self.FIELDS.items():
            object.__setattr__(self, name, default(spec))
        for name, value in values.items():
            setattr(self, name, value)

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self.FIELDS:
            raise AttributeError(f"{type(self).__name__} has no field {name}")
        object.__setattr__(self, name, checked(self.FIELDS[name], value, name))

    def __deepcopy__(self, memo: dict) -> Message:
        """As `copy.deepcopy` would, without its bookkeeping: hundreds go by in a second."""
        twin = object.__new__(type(self))
        for name in self.FIELDS:
            object.__setattr__(twin, name, _copy(getattr(self, name)))
        return twin

    @classmethod
    def get_fields_and_field_types(cls) -> dict[str, str]:
        return {name: str(spec) for name, spec in cls.FIELDS.items()}


def _copy(value: Any) -> Any:
    if isinstance(value, Message):
        return value.__deepcopy__({})
    if isinstance(value, list):
        return [_copy(item) for item in value]
    return value[:] if isinstance(value, array.array) else value


def default(spec: Any) -> Any:
    if isinstance(spec, type):
        return spec()
    if spec == "float64[]":
        return array.array("d")
    if isinstance(spec, str) and spec.startswith("float64["):
        return array.array("d", [0.0] * int(spec[8:-1]))
    if isinstance(spec, tuple) or spec == "string[]":
        return []
    return {"string": "", "bool": False, "float64": 0.0}.get(spec, 0)


def checked(spec: Any, value: Any, name: str) -> Any:
    if isinstance(spec, type):
        assert type(value) is spec, f"{name} is a {spec.__name__}, not {type(value).__name__}"
    elif isinstance(spec, tuple):
        assert all(type(item) is spec[0] for item in value), f"{name} holds {spec[0].__name__}"
        value = list(value)
    elif spec == "string[]":
        assert all(isinstance(item, str) for item in value), f"{name} holds strings"
        value = list(value)
    elif spec.startswith("float64["):
        assert all(isinstance(item, float) for item in value), f"{name} holds floats"
        assert spec == "float64[]" or len(value) == int(spec[8:-1]), f"{name} is {spec}"
        value = array.array("d", value)
    elif spec in INTEGERS:
        assert type(value) is int, f"{name} is an integer"
    else:
        assert isinstance(value, CHECKS[spec]), f"{name} is a {spec}, not {type(value).__name__}"
    return value


def message(name: str, constants: dict[str, int] | None = None, /, **fields: Any) -> type[Message]:
    return type(name, (Message,), {"FIELDS": fields, **(constants or {})})


def service(name: str, request: dict[str, Any], response: dict[str, Any]) -> type:
    return type(
        name,
        (),
        {
            "Request": message(f"{name}_Request", **request),
            "Response": message(f"{name}_Response", **response),
        },
    )


def action(name: str, goal: dict[str, Any], result: dict[str, Any]) -> type:
    return type(
        name,
        (),
        {"Goal": message(f"{name}_Goal", **goal), "Result": message(f"{name}_Result", **result)},
    )


TIME = message("Time", sec="int32", nanosec="uint32")
DURATION = message("Duration", sec="int32", nanosec="uint32")
HEADER = message("Header", stamp=TIME, frame_id="string")
VECTOR3 = message("Vector3", x="float64", y="float64", z="float64")
POINT = message("Point", x="float64", y="float64", z="float64")
QUATERNION = message("Quaternion", x="float64", y="float64", z="float64", w="float64")
POSE = message("Pose", position=POINT, orientation=QUATERNION)
POSE_STAMPED = message("PoseStamped", header=HEADER, pose=POSE)
WRENCH = message("Wrench", force=VECTOR3, torque=VECTOR3)
WRENCH_STAMPED = message("WrenchStamped", header=HEADER, wrench=WRENCH)
JOINT_STATE = message(
    "JointState",
    header=HEADER,
    name="string[]",
    position="float64[]",
    velocity="float64[]",
    effort="float64[]",
)
PARAMETER_VALUE = message(
    "ParameterValue",
    type="uint8",
    bool_value="bool",
    integer_value="int64",
    double_value="float64",
    string_value="string",
)
PARAMETER = message("Parameter", name="string", value=PARAMETER_VALUE)
SET_PARAMETERS_RESULT = message("SetParametersResult", successful="bool", reason="string")
LIFECYCLE_STATE = message("State", id="uint8", label="string")
CONTROLLER_STATE = message(
    "ControllerState",
    name="string",
    state="string",
    type="string",
    claimed_interfaces="string[]",
    required_command_interfaces="string[]",
    required_state_interfaces="string[]",
)
HARDWARE_COMPONENT_STATE = message(
    "HardwareComponentState", name="string", type="string", state=LIFECYCLE_STATE
)
GOAL_STATUS = message(
    "GoalStatus", {"STATUS_SUCCEEDED": 4, "STATUS_CANCELED": 5, "STATUS_ABORTED": 6}, status="uint8"
)
ERROR_NAMES = (
    "joint_position_limits_violation",
    "cartesian_position_limits_violation",
    "self_collision_avoidance_violation",
    "joint_velocity_violation",
    "cartesian_velocity_violation",
    "force_control_safety_violation",
    "joint_reflex",
    "cartesian_reflex",
    "communication_constraints_violation",
    "power_limit_violation",
    "tau_j_range_violation",
    "instability_detected",
)
"""Some of the 36 of franka_msgs/Errors."""

ERRORS = message("Errors", **dict.fromkeys(ERROR_NAMES, "bool"))
FRANKA_ROBOT_STATE = message(
    "FrankaRobotState",
    header=HEADER,
    measured_joint_state=JOINT_STATE,
    desired_joint_state=JOINT_STATE,
    tau_ext_hat_filtered=JOINT_STATE,
    k_f_ext_hat_k=WRENCH_STAMPED,
    o_f_ext_hat_k=WRENCH_STAMPED,
    o_t_ee=POSE_STAMPED,
    f_t_ee=POSE_STAMPED,
    ee_t_k=POSE_STAMPED,
    time="float64",
    control_command_success_rate="float64",
    robot_mode="uint8",
    current_errors=ERRORS,
    last_motion_errors=ERRORS,
)
GRASP_EPSILON = message("GraspEpsilon", inner="float64", outer="float64")
DONE = {"success": "bool", "error": "string"}

PACKAGES: dict[str, dict[str, Any]] = {
    "builtin_interfaces.msg": {"Time": TIME, "Duration": DURATION},
    "geometry_msgs.msg": {"PoseStamped": POSE_STAMPED, "WrenchStamped": WRENCH_STAMPED},
    "sensor_msgs.msg": {"JointState": JOINT_STATE},
    "lifecycle_msgs.msg": {"State": LIFECYCLE_STATE},
    "action_msgs.msg": {"GoalStatus": GOAL_STATUS},
    "std_srvs.srv": {"Trigger": service("Trigger", {}, {"success": "bool", "message": "string"})},
    "rcl_interfaces.msg": {
        "Parameter": PARAMETER,
        "ParameterValue": PARAMETER_VALUE,
        "SetParametersResult": SET_PARAMETERS_RESULT,
    },
    "rcl_interfaces.srv": {
        "SetParametersAtomically": service(
            "SetParametersAtomically",
            {"parameters": (PARAMETER,)},
            {"result": SET_PARAMETERS_RESULT},
        )
    },
    "controller_manager_msgs.msg": {
        "ControllerState": CONTROLLER_STATE,
        "HardwareComponentState": HARDWARE_COMPONENT_STATE,
    },
    "controller_manager_msgs.srv": {
        "SwitchController": service(
            "SwitchController",
            {
                "activate_controllers": "string[]",
                "deactivate_controllers": "string[]",
                "start_controllers": "string[]",
                "stop_controllers": "string[]",
                "strictness": "int32",
                "start_asap": "bool",
                "activate_asap": "bool",
                "timeout": DURATION,
            },
            {"ok": "bool"},
        ),
        "ListControllers": service("ListControllers", {}, {"controller": (CONTROLLER_STATE,)}),
        "ListHardwareComponents": service(
            "ListHardwareComponents", {}, {"component": (HARDWARE_COMPONENT_STATE,)}
        ),
        "SetHardwareComponentState": service(
            "SetHardwareComponentState",
            {"name": "string", "target_state": LIFECYCLE_STATE},
            {"ok": "bool", "state": LIFECYCLE_STATE},
        ),
    },
    "franka_msgs.msg": {"FrankaRobotState": FRANKA_ROBOT_STATE, "Errors": ERRORS},
    "franka_msgs.srv": {
        "SetLoad": service(
            "SetLoad",
            {"mass": "float64", "center_of_mass": "float64[3]", "load_inertia": "float64[9]"},
            DONE,
        ),
        "SetForceTorqueCollisionBehavior": service(
            "SetForceTorqueCollisionBehavior",
            {
                "lower_torque_thresholds_nominal": "float64[7]",
                "upper_torque_thresholds_nominal": "float64[7]",
                "lower_force_thresholds_nominal": "float64[6]",
                "upper_force_thresholds_nominal": "float64[6]",
            },
            DONE,
        ),
    },
    "franka_msgs.action": {
        "ErrorRecovery": action("ErrorRecovery", {}, {}),
        "Move": action("Move", {"width": "float64", "speed": "float64"}, DONE),
        "Grasp": action(
            "Grasp",
            {"width": "float64", "epsilon": GRASP_EPSILON, "speed": "float64", "force": "float64"},
            DONE,
        ),
    },
}
