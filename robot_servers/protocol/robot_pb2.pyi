from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RobotState(_message.Message):
    __slots__ = ("arm", "stamp_mono_ns", "q_rad", "dq_rad_per_s", "tau_nm", "T_base_tcp", "twist_base_tcp", "wrench_base_ext", "T_base_ref", "T_base_target", "gripper_width_m", "gripper_target_m", "gripper_moving", "mode", "clamped", "fault")
    class Mode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        IDLE: _ClassVar[RobotState.Mode]
        IMPEDANCE: _ClassVar[RobotState.Mode]
        JOINT: _ClassVar[RobotState.Mode]
        HOLD: _ClassVar[RobotState.Mode]
        FAULT: _ClassVar[RobotState.Mode]
        WRENCH: _ClassVar[RobotState.Mode]
    IDLE: RobotState.Mode
    IMPEDANCE: RobotState.Mode
    JOINT: RobotState.Mode
    HOLD: RobotState.Mode
    FAULT: RobotState.Mode
    WRENCH: RobotState.Mode
    ARM_FIELD_NUMBER: _ClassVar[int]
    STAMP_MONO_NS_FIELD_NUMBER: _ClassVar[int]
    Q_RAD_FIELD_NUMBER: _ClassVar[int]
    DQ_RAD_PER_S_FIELD_NUMBER: _ClassVar[int]
    TAU_NM_FIELD_NUMBER: _ClassVar[int]
    T_BASE_TCP_FIELD_NUMBER: _ClassVar[int]
    TWIST_BASE_TCP_FIELD_NUMBER: _ClassVar[int]
    WRENCH_BASE_EXT_FIELD_NUMBER: _ClassVar[int]
    T_BASE_REF_FIELD_NUMBER: _ClassVar[int]
    T_BASE_TARGET_FIELD_NUMBER: _ClassVar[int]
    GRIPPER_WIDTH_M_FIELD_NUMBER: _ClassVar[int]
    GRIPPER_TARGET_M_FIELD_NUMBER: _ClassVar[int]
    GRIPPER_MOVING_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    CLAMPED_FIELD_NUMBER: _ClassVar[int]
    FAULT_FIELD_NUMBER: _ClassVar[int]
    arm: str
    stamp_mono_ns: int
    q_rad: _containers.RepeatedScalarFieldContainer[float]
    dq_rad_per_s: _containers.RepeatedScalarFieldContainer[float]
    tau_nm: _containers.RepeatedScalarFieldContainer[float]
    T_base_tcp: _containers.RepeatedScalarFieldContainer[float]
    twist_base_tcp: _containers.RepeatedScalarFieldContainer[float]
    wrench_base_ext: _containers.RepeatedScalarFieldContainer[float]
    T_base_ref: _containers.RepeatedScalarFieldContainer[float]
    T_base_target: _containers.RepeatedScalarFieldContainer[float]
    gripper_width_m: float
    gripper_target_m: float
    gripper_moving: bool
    mode: RobotState.Mode
    clamped: bool
    fault: Fault
    def __init__(self, arm: _Optional[str] = ..., stamp_mono_ns: _Optional[int] = ..., q_rad: _Optional[_Iterable[float]] = ..., dq_rad_per_s: _Optional[_Iterable[float]] = ..., tau_nm: _Optional[_Iterable[float]] = ..., T_base_tcp: _Optional[_Iterable[float]] = ..., twist_base_tcp: _Optional[_Iterable[float]] = ..., wrench_base_ext: _Optional[_Iterable[float]] = ..., T_base_ref: _Optional[_Iterable[float]] = ..., T_base_target: _Optional[_Iterable[float]] = ..., gripper_width_m: _Optional[float] = ..., gripper_target_m: _Optional[float] = ..., gripper_moving: bool = ..., mode: _Optional[_Union[RobotState.Mode, str]] = ..., clamped: bool = ..., fault: _Optional[_Union[Fault, _Mapping]] = ...) -> None: ...

class States(_message.Message):
    __slots__ = ("stamp_mono_ns", "arms")
    STAMP_MONO_NS_FIELD_NUMBER: _ClassVar[int]
    ARMS_FIELD_NUMBER: _ClassVar[int]
    stamp_mono_ns: int
    arms: _containers.RepeatedCompositeFieldContainer[RobotState]
    def __init__(self, stamp_mono_ns: _Optional[int] = ..., arms: _Optional[_Iterable[_Union[RobotState, _Mapping]]] = ...) -> None: ...

class Fault(_message.Message):
    __slots__ = ("kind", "reason", "stamp_mono_ns", "recording")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        UNKNOWN: _ClassVar[Fault.Kind]
        STOP: _ClassVar[Fault.Kind]
        ESTOP: _ClassVar[Fault.Kind]
        REFLEX: _ClassVar[Fault.Kind]
        USER_STOP: _ClassVar[Fault.Kind]
        FORCE: _ClassVar[Fault.Kind]
        SPEED: _ClassVar[Fault.Kind]
        JOINT_LIMIT: _ClassVar[Fault.Kind]
        COMMUNICATION: _ClassVar[Fault.Kind]
        TORQUE_TIMEOUT: _ClassVar[Fault.Kind]
        WORKSPACE: _ClassVar[Fault.Kind]
        OTHER: _ClassVar[Fault.Kind]
    UNKNOWN: Fault.Kind
    STOP: Fault.Kind
    ESTOP: Fault.Kind
    REFLEX: Fault.Kind
    USER_STOP: Fault.Kind
    FORCE: Fault.Kind
    SPEED: Fault.Kind
    JOINT_LIMIT: Fault.Kind
    COMMUNICATION: Fault.Kind
    TORQUE_TIMEOUT: Fault.Kind
    WORKSPACE: Fault.Kind
    OTHER: Fault.Kind
    KIND_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    STAMP_MONO_NS_FIELD_NUMBER: _ClassVar[int]
    RECORDING_FIELD_NUMBER: _ClassVar[int]
    kind: Fault.Kind
    reason: str
    stamp_mono_ns: int
    recording: str
    def __init__(self, kind: _Optional[_Union[Fault.Kind, str]] = ..., reason: _Optional[str] = ..., stamp_mono_ns: _Optional[int] = ..., recording: _Optional[str] = ...) -> None: ...

class GripperDescription(_message.Message):
    __slots__ = ("name", "width_max_m", "force_max_n", "speed_max_m_per_s")
    NAME_FIELD_NUMBER: _ClassVar[int]
    WIDTH_MAX_M_FIELD_NUMBER: _ClassVar[int]
    FORCE_MAX_N_FIELD_NUMBER: _ClassVar[int]
    SPEED_MAX_M_PER_S_FIELD_NUMBER: _ClassVar[int]
    name: str
    width_max_m: float
    force_max_n: float
    speed_max_m_per_s: float
    def __init__(self, name: _Optional[str] = ..., width_max_m: _Optional[float] = ..., force_max_n: _Optional[float] = ..., speed_max_m_per_s: _Optional[float] = ...) -> None: ...

class RobotDescription(_message.Message):
    __slots__ = ("name", "joint_names", "q_min_rad", "q_max_rad", "dq_max_rad_per_s", "tau_max_nm", "q_home_rad", "gripper")
    NAME_FIELD_NUMBER: _ClassVar[int]
    JOINT_NAMES_FIELD_NUMBER: _ClassVar[int]
    Q_MIN_RAD_FIELD_NUMBER: _ClassVar[int]
    Q_MAX_RAD_FIELD_NUMBER: _ClassVar[int]
    DQ_MAX_RAD_PER_S_FIELD_NUMBER: _ClassVar[int]
    TAU_MAX_NM_FIELD_NUMBER: _ClassVar[int]
    Q_HOME_RAD_FIELD_NUMBER: _ClassVar[int]
    GRIPPER_FIELD_NUMBER: _ClassVar[int]
    name: str
    joint_names: _containers.RepeatedScalarFieldContainer[str]
    q_min_rad: _containers.RepeatedScalarFieldContainer[float]
    q_max_rad: _containers.RepeatedScalarFieldContainer[float]
    dq_max_rad_per_s: _containers.RepeatedScalarFieldContainer[float]
    tau_max_nm: _containers.RepeatedScalarFieldContainer[float]
    q_home_rad: _containers.RepeatedScalarFieldContainer[float]
    gripper: GripperDescription
    def __init__(self, name: _Optional[str] = ..., joint_names: _Optional[_Iterable[str]] = ..., q_min_rad: _Optional[_Iterable[float]] = ..., q_max_rad: _Optional[_Iterable[float]] = ..., dq_max_rad_per_s: _Optional[_Iterable[float]] = ..., tau_max_nm: _Optional[_Iterable[float]] = ..., q_home_rad: _Optional[_Iterable[float]] = ..., gripper: _Optional[_Union[GripperDescription, _Mapping]] = ...) -> None: ...

class KeepOut(_message.Message):
    __slots__ = ("low_m", "high_m")
    LOW_M_FIELD_NUMBER: _ClassVar[int]
    HIGH_M_FIELD_NUMBER: _ClassVar[int]
    low_m: _containers.RepeatedScalarFieldContainer[float]
    high_m: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, low_m: _Optional[_Iterable[float]] = ..., high_m: _Optional[_Iterable[float]] = ...) -> None: ...

class Workspace(_message.Message):
    __slots__ = ("low_m", "high_m", "quat_xyzw", "rotation_rad", "keep_out")
    LOW_M_FIELD_NUMBER: _ClassVar[int]
    HIGH_M_FIELD_NUMBER: _ClassVar[int]
    QUAT_XYZW_FIELD_NUMBER: _ClassVar[int]
    ROTATION_RAD_FIELD_NUMBER: _ClassVar[int]
    KEEP_OUT_FIELD_NUMBER: _ClassVar[int]
    low_m: _containers.RepeatedScalarFieldContainer[float]
    high_m: _containers.RepeatedScalarFieldContainer[float]
    quat_xyzw: _containers.RepeatedScalarFieldContainer[float]
    rotation_rad: _containers.RepeatedScalarFieldContainer[float]
    keep_out: _containers.RepeatedCompositeFieldContainer[KeepOut]
    def __init__(self, low_m: _Optional[_Iterable[float]] = ..., high_m: _Optional[_Iterable[float]] = ..., quat_xyzw: _Optional[_Iterable[float]] = ..., rotation_rad: _Optional[_Iterable[float]] = ..., keep_out: _Optional[_Iterable[_Union[KeepOut, _Mapping]]] = ...) -> None: ...

class SafetyLimits(_message.Message):
    __slots__ = ("workspace", "step_m", "step_rad", "linear_speed_m_per_s", "angular_speed_rad_per_s", "linear_acceleration_m_per_s2", "angular_acceleration_rad_per_s2", "force_n", "torque_nm", "joint_margin_rad", "push_n", "translational_stiffness_n_per_m", "rotational_stiffness_nm_per_rad", "wrench_n", "wrench_nm", "command_hz", "push_nm", "translational_damping_n_s_per_m", "rotational_damping_nm_s_per_rad", "nullspace_stiffness_nm_per_rad", "joint1_nullspace_factor", "torque_rate_nm_per_s")
    WORKSPACE_FIELD_NUMBER: _ClassVar[int]
    STEP_M_FIELD_NUMBER: _ClassVar[int]
    STEP_RAD_FIELD_NUMBER: _ClassVar[int]
    LINEAR_SPEED_M_PER_S_FIELD_NUMBER: _ClassVar[int]
    ANGULAR_SPEED_RAD_PER_S_FIELD_NUMBER: _ClassVar[int]
    LINEAR_ACCELERATION_M_PER_S2_FIELD_NUMBER: _ClassVar[int]
    ANGULAR_ACCELERATION_RAD_PER_S2_FIELD_NUMBER: _ClassVar[int]
    FORCE_N_FIELD_NUMBER: _ClassVar[int]
    TORQUE_NM_FIELD_NUMBER: _ClassVar[int]
    JOINT_MARGIN_RAD_FIELD_NUMBER: _ClassVar[int]
    PUSH_N_FIELD_NUMBER: _ClassVar[int]
    TRANSLATIONAL_STIFFNESS_N_PER_M_FIELD_NUMBER: _ClassVar[int]
    ROTATIONAL_STIFFNESS_NM_PER_RAD_FIELD_NUMBER: _ClassVar[int]
    WRENCH_N_FIELD_NUMBER: _ClassVar[int]
    WRENCH_NM_FIELD_NUMBER: _ClassVar[int]
    COMMAND_HZ_FIELD_NUMBER: _ClassVar[int]
    PUSH_NM_FIELD_NUMBER: _ClassVar[int]
    TRANSLATIONAL_DAMPING_N_S_PER_M_FIELD_NUMBER: _ClassVar[int]
    ROTATIONAL_DAMPING_NM_S_PER_RAD_FIELD_NUMBER: _ClassVar[int]
    NULLSPACE_STIFFNESS_NM_PER_RAD_FIELD_NUMBER: _ClassVar[int]
    JOINT1_NULLSPACE_FACTOR_FIELD_NUMBER: _ClassVar[int]
    TORQUE_RATE_NM_PER_S_FIELD_NUMBER: _ClassVar[int]
    workspace: Workspace
    step_m: float
    step_rad: float
    linear_speed_m_per_s: float
    angular_speed_rad_per_s: float
    linear_acceleration_m_per_s2: float
    angular_acceleration_rad_per_s2: float
    force_n: float
    torque_nm: float
    joint_margin_rad: float
    push_n: float
    translational_stiffness_n_per_m: float
    rotational_stiffness_nm_per_rad: float
    wrench_n: float
    wrench_nm: float
    command_hz: float
    push_nm: float
    translational_damping_n_s_per_m: float
    rotational_damping_nm_s_per_rad: float
    nullspace_stiffness_nm_per_rad: float
    joint1_nullspace_factor: float
    torque_rate_nm_per_s: float
    def __init__(self, workspace: _Optional[_Union[Workspace, _Mapping]] = ..., step_m: _Optional[float] = ..., step_rad: _Optional[float] = ..., linear_speed_m_per_s: _Optional[float] = ..., angular_speed_rad_per_s: _Optional[float] = ..., linear_acceleration_m_per_s2: _Optional[float] = ..., angular_acceleration_rad_per_s2: _Optional[float] = ..., force_n: _Optional[float] = ..., torque_nm: _Optional[float] = ..., joint_margin_rad: _Optional[float] = ..., push_n: _Optional[float] = ..., translational_stiffness_n_per_m: _Optional[float] = ..., rotational_stiffness_nm_per_rad: _Optional[float] = ..., wrench_n: _Optional[float] = ..., wrench_nm: _Optional[float] = ..., command_hz: _Optional[float] = ..., push_nm: _Optional[float] = ..., translational_damping_n_s_per_m: _Optional[float] = ..., rotational_damping_nm_s_per_rad: _Optional[float] = ..., nullspace_stiffness_nm_per_rad: _Optional[float] = ..., joint1_nullspace_factor: _Optional[float] = ..., torque_rate_nm_per_s: _Optional[float] = ...) -> None: ...

class MotionLimits(_message.Message):
    __slots__ = ("filter_time_constant_s", "linear_speed_m_per_s", "angular_speed_rad_per_s", "linear_acceleration_m_per_s2", "angular_acceleration_rad_per_s2")
    FILTER_TIME_CONSTANT_S_FIELD_NUMBER: _ClassVar[int]
    LINEAR_SPEED_M_PER_S_FIELD_NUMBER: _ClassVar[int]
    ANGULAR_SPEED_RAD_PER_S_FIELD_NUMBER: _ClassVar[int]
    LINEAR_ACCELERATION_M_PER_S2_FIELD_NUMBER: _ClassVar[int]
    ANGULAR_ACCELERATION_RAD_PER_S2_FIELD_NUMBER: _ClassVar[int]
    filter_time_constant_s: float
    linear_speed_m_per_s: float
    angular_speed_rad_per_s: float
    linear_acceleration_m_per_s2: float
    angular_acceleration_rad_per_s2: float
    def __init__(self, filter_time_constant_s: _Optional[float] = ..., linear_speed_m_per_s: _Optional[float] = ..., angular_speed_rad_per_s: _Optional[float] = ..., linear_acceleration_m_per_s2: _Optional[float] = ..., angular_acceleration_rad_per_s2: _Optional[float] = ...) -> None: ...

class Gains(_message.Message):
    __slots__ = ("translational_stiffness_n_per_m", "translational_damping_n_s_per_m", "rotational_stiffness_nm_per_rad", "rotational_damping_nm_s_per_rad", "translational_clip_m", "rotational_clip_rad", "translational_clip_neg_m", "rotational_clip_neg_rad", "nullspace_stiffness_nm_per_rad", "joint1_nullspace_factor", "torque_rate_nm_per_s")
    TRANSLATIONAL_STIFFNESS_N_PER_M_FIELD_NUMBER: _ClassVar[int]
    TRANSLATIONAL_DAMPING_N_S_PER_M_FIELD_NUMBER: _ClassVar[int]
    ROTATIONAL_STIFFNESS_NM_PER_RAD_FIELD_NUMBER: _ClassVar[int]
    ROTATIONAL_DAMPING_NM_S_PER_RAD_FIELD_NUMBER: _ClassVar[int]
    TRANSLATIONAL_CLIP_M_FIELD_NUMBER: _ClassVar[int]
    ROTATIONAL_CLIP_RAD_FIELD_NUMBER: _ClassVar[int]
    TRANSLATIONAL_CLIP_NEG_M_FIELD_NUMBER: _ClassVar[int]
    ROTATIONAL_CLIP_NEG_RAD_FIELD_NUMBER: _ClassVar[int]
    NULLSPACE_STIFFNESS_NM_PER_RAD_FIELD_NUMBER: _ClassVar[int]
    JOINT1_NULLSPACE_FACTOR_FIELD_NUMBER: _ClassVar[int]
    TORQUE_RATE_NM_PER_S_FIELD_NUMBER: _ClassVar[int]
    translational_stiffness_n_per_m: float
    translational_damping_n_s_per_m: float
    rotational_stiffness_nm_per_rad: float
    rotational_damping_nm_s_per_rad: float
    translational_clip_m: _containers.RepeatedScalarFieldContainer[float]
    rotational_clip_rad: _containers.RepeatedScalarFieldContainer[float]
    translational_clip_neg_m: _containers.RepeatedScalarFieldContainer[float]
    rotational_clip_neg_rad: _containers.RepeatedScalarFieldContainer[float]
    nullspace_stiffness_nm_per_rad: float
    joint1_nullspace_factor: float
    torque_rate_nm_per_s: float
    def __init__(self, translational_stiffness_n_per_m: _Optional[float] = ..., translational_damping_n_s_per_m: _Optional[float] = ..., rotational_stiffness_nm_per_rad: _Optional[float] = ..., rotational_damping_nm_s_per_rad: _Optional[float] = ..., translational_clip_m: _Optional[_Iterable[float]] = ..., rotational_clip_rad: _Optional[_Iterable[float]] = ..., translational_clip_neg_m: _Optional[_Iterable[float]] = ..., rotational_clip_neg_rad: _Optional[_Iterable[float]] = ..., nullspace_stiffness_nm_per_rad: _Optional[float] = ..., joint1_nullspace_factor: _Optional[float] = ..., torque_rate_nm_per_s: _Optional[float] = ...) -> None: ...

class Payload(_message.Message):
    __slots__ = ("mass_kg", "com_flange_m", "inertia_kg_m2")
    MASS_KG_FIELD_NUMBER: _ClassVar[int]
    COM_FLANGE_M_FIELD_NUMBER: _ClassVar[int]
    INERTIA_KG_M2_FIELD_NUMBER: _ClassVar[int]
    mass_kg: float
    com_flange_m: _containers.RepeatedScalarFieldContainer[float]
    inertia_kg_m2: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, mass_kg: _Optional[float] = ..., com_flange_m: _Optional[_Iterable[float]] = ..., inertia_kg_m2: _Optional[_Iterable[float]] = ...) -> None: ...

class CollisionThresholds(_message.Message):
    __slots__ = ("torque_nm", "wrench")
    TORQUE_NM_FIELD_NUMBER: _ClassVar[int]
    WRENCH_FIELD_NUMBER: _ClassVar[int]
    torque_nm: _containers.RepeatedScalarFieldContainer[float]
    wrench: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, torque_nm: _Optional[_Iterable[float]] = ..., wrench: _Optional[_Iterable[float]] = ...) -> None: ...

class CartesianTarget(_message.Message):
    __slots__ = ("T_base_tcp",)
    T_BASE_TCP_FIELD_NUMBER: _ClassVar[int]
    T_base_tcp: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, T_base_tcp: _Optional[_Iterable[float]] = ...) -> None: ...

class JointTarget(_message.Message):
    __slots__ = ("q_rad",)
    Q_RAD_FIELD_NUMBER: _ClassVar[int]
    q_rad: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, q_rad: _Optional[_Iterable[float]] = ...) -> None: ...

class WrenchTarget(_message.Message):
    __slots__ = ("wrench", "frame")
    WRENCH_FIELD_NUMBER: _ClassVar[int]
    FRAME_FIELD_NUMBER: _ClassVar[int]
    wrench: _containers.RepeatedScalarFieldContainer[float]
    frame: str
    def __init__(self, wrench: _Optional[_Iterable[float]] = ..., frame: _Optional[str] = ...) -> None: ...

class GripperTarget(_message.Message):
    __slots__ = ("width_m", "force_n", "speed_m_per_s")
    WIDTH_M_FIELD_NUMBER: _ClassVar[int]
    FORCE_N_FIELD_NUMBER: _ClassVar[int]
    SPEED_M_PER_S_FIELD_NUMBER: _ClassVar[int]
    width_m: float
    force_n: float
    speed_m_per_s: float
    def __init__(self, width_m: _Optional[float] = ..., force_n: _Optional[float] = ..., speed_m_per_s: _Optional[float] = ...) -> None: ...

class ArmCommand(_message.Message):
    __slots__ = ("arm", "cartesian", "joints", "wrench", "gripper")
    ARM_FIELD_NUMBER: _ClassVar[int]
    CARTESIAN_FIELD_NUMBER: _ClassVar[int]
    JOINTS_FIELD_NUMBER: _ClassVar[int]
    WRENCH_FIELD_NUMBER: _ClassVar[int]
    GRIPPER_FIELD_NUMBER: _ClassVar[int]
    arm: str
    cartesian: CartesianTarget
    joints: JointTarget
    wrench: WrenchTarget
    gripper: GripperTarget
    def __init__(self, arm: _Optional[str] = ..., cartesian: _Optional[_Union[CartesianTarget, _Mapping]] = ..., joints: _Optional[_Union[JointTarget, _Mapping]] = ..., wrench: _Optional[_Union[WrenchTarget, _Mapping]] = ..., gripper: _Optional[_Union[GripperTarget, _Mapping]] = ...) -> None: ...

class DescribeRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DescribeReply(_message.Message):
    __slots__ = ("protocol", "version", "instance", "backend", "lockstep", "period_s", "scene", "unsupported", "facts", "arms", "holder", "stamp_mono_ns", "stamp_wall_ns")
    class FactsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    BACKEND_FIELD_NUMBER: _ClassVar[int]
    LOCKSTEP_FIELD_NUMBER: _ClassVar[int]
    PERIOD_S_FIELD_NUMBER: _ClassVar[int]
    SCENE_FIELD_NUMBER: _ClassVar[int]
    UNSUPPORTED_FIELD_NUMBER: _ClassVar[int]
    FACTS_FIELD_NUMBER: _ClassVar[int]
    ARMS_FIELD_NUMBER: _ClassVar[int]
    HOLDER_FIELD_NUMBER: _ClassVar[int]
    STAMP_MONO_NS_FIELD_NUMBER: _ClassVar[int]
    STAMP_WALL_NS_FIELD_NUMBER: _ClassVar[int]
    protocol: int
    version: str
    instance: str
    backend: str
    lockstep: bool
    period_s: float
    scene: bool
    unsupported: _containers.RepeatedScalarFieldContainer[str]
    facts: _containers.ScalarMap[str, str]
    arms: _containers.RepeatedCompositeFieldContainer[ArmReply]
    holder: str
    stamp_mono_ns: int
    stamp_wall_ns: int
    def __init__(self, protocol: _Optional[int] = ..., version: _Optional[str] = ..., instance: _Optional[str] = ..., backend: _Optional[str] = ..., lockstep: bool = ..., period_s: _Optional[float] = ..., scene: bool = ..., unsupported: _Optional[_Iterable[str]] = ..., facts: _Optional[_Mapping[str, str]] = ..., arms: _Optional[_Iterable[_Union[ArmReply, _Mapping]]] = ..., holder: _Optional[str] = ..., stamp_mono_ns: _Optional[int] = ..., stamp_wall_ns: _Optional[int] = ...) -> None: ...

class ArmReply(_message.Message):
    __slots__ = ("arm", "description", "limits", "motion", "gains")
    ARM_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    MOTION_FIELD_NUMBER: _ClassVar[int]
    GAINS_FIELD_NUMBER: _ClassVar[int]
    arm: str
    description: RobotDescription
    limits: SafetyLimits
    motion: MotionLimits
    gains: Gains
    def __init__(self, arm: _Optional[str] = ..., description: _Optional[_Union[RobotDescription, _Mapping]] = ..., limits: _Optional[_Union[SafetyLimits, _Mapping]] = ..., motion: _Optional[_Union[MotionLimits, _Mapping]] = ..., gains: _Optional[_Union[Gains, _Mapping]] = ...) -> None: ...

class StateStreamRequest(_message.Message):
    __slots__ = ("rate_hz",)
    RATE_HZ_FIELD_NUMBER: _ClassVar[int]
    rate_hz: float
    def __init__(self, rate_hz: _Optional[float] = ...) -> None: ...

class CommandRequest(_message.Message):
    __slots__ = ("lease", "sequence", "sent_mono_ns", "valid_for_s", "arms")
    LEASE_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    SENT_MONO_NS_FIELD_NUMBER: _ClassVar[int]
    VALID_FOR_S_FIELD_NUMBER: _ClassVar[int]
    ARMS_FIELD_NUMBER: _ClassVar[int]
    lease: str
    sequence: int
    sent_mono_ns: int
    valid_for_s: float
    arms: _containers.RepeatedCompositeFieldContainer[ArmCommand]
    def __init__(self, lease: _Optional[str] = ..., sequence: _Optional[int] = ..., sent_mono_ns: _Optional[int] = ..., valid_for_s: _Optional[float] = ..., arms: _Optional[_Iterable[_Union[ArmCommand, _Mapping]]] = ...) -> None: ...

class CommandReply(_message.Message):
    __slots__ = ("sequence", "refused", "verdicts", "state_stamp_mono_ns", "received_mono_ns", "sent_mono_ns")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    VERDICTS_FIELD_NUMBER: _ClassVar[int]
    STATE_STAMP_MONO_NS_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_MONO_NS_FIELD_NUMBER: _ClassVar[int]
    SENT_MONO_NS_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    refused: str
    verdicts: _containers.RepeatedCompositeFieldContainer[Verdict]
    state_stamp_mono_ns: int
    received_mono_ns: int
    sent_mono_ns: int
    def __init__(self, sequence: _Optional[int] = ..., refused: _Optional[str] = ..., verdicts: _Optional[_Iterable[_Union[Verdict, _Mapping]]] = ..., state_stamp_mono_ns: _Optional[int] = ..., received_mono_ns: _Optional[int] = ..., sent_mono_ns: _Optional[int] = ...) -> None: ...

class Verdict(_message.Message):
    __slots__ = ("arm", "refused", "clamps", "fault")
    ARM_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    CLAMPS_FIELD_NUMBER: _ClassVar[int]
    FAULT_FIELD_NUMBER: _ClassVar[int]
    arm: str
    refused: str
    clamps: _containers.RepeatedCompositeFieldContainer[Clamp]
    fault: Fault
    def __init__(self, arm: _Optional[str] = ..., refused: _Optional[str] = ..., clamps: _Optional[_Iterable[_Union[Clamp, _Mapping]]] = ..., fault: _Optional[_Union[Fault, _Mapping]] = ...) -> None: ...

class Clamp(_message.Message):
    __slots__ = ("limit", "text")
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    limit: str
    text: str
    def __init__(self, limit: _Optional[str] = ..., text: _Optional[str] = ...) -> None: ...

class AcquireLeaseRequest(_message.Message):
    __slots__ = ("client", "operator", "session")
    CLIENT_FIELD_NUMBER: _ClassVar[int]
    OPERATOR_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    client: str
    operator: bool
    session: str
    def __init__(self, client: _Optional[str] = ..., operator: bool = ..., session: _Optional[str] = ...) -> None: ...

class AcquireLeaseReply(_message.Message):
    __slots__ = ("lease", "idle_s")
    LEASE_FIELD_NUMBER: _ClassVar[int]
    IDLE_S_FIELD_NUMBER: _ClassVar[int]
    lease: str
    idle_s: float
    def __init__(self, lease: _Optional[str] = ..., idle_s: _Optional[float] = ...) -> None: ...

class ReleaseLeaseRequest(_message.Message):
    __slots__ = ("lease",)
    LEASE_FIELD_NUMBER: _ClassVar[int]
    lease: str
    def __init__(self, lease: _Optional[str] = ...) -> None: ...

class ReleaseLeaseReply(_message.Message):
    __slots__ = ("held",)
    HELD_FIELD_NUMBER: _ClassVar[int]
    held: bool
    def __init__(self, held: bool = ...) -> None: ...

class SetGainsRequest(_message.Message):
    __slots__ = ("lease", "arms")
    class Entry(_message.Message):
        __slots__ = ("arm", "gains")
        ARM_FIELD_NUMBER: _ClassVar[int]
        GAINS_FIELD_NUMBER: _ClassVar[int]
        arm: str
        gains: Gains
        def __init__(self, arm: _Optional[str] = ..., gains: _Optional[_Union[Gains, _Mapping]] = ...) -> None: ...
    LEASE_FIELD_NUMBER: _ClassVar[int]
    ARMS_FIELD_NUMBER: _ClassVar[int]
    lease: str
    arms: _containers.RepeatedCompositeFieldContainer[SetGainsRequest.Entry]
    def __init__(self, lease: _Optional[str] = ..., arms: _Optional[_Iterable[_Union[SetGainsRequest.Entry, _Mapping]]] = ...) -> None: ...

class SetMotionRequest(_message.Message):
    __slots__ = ("lease", "arms")
    class Entry(_message.Message):
        __slots__ = ("arm", "motion")
        ARM_FIELD_NUMBER: _ClassVar[int]
        MOTION_FIELD_NUMBER: _ClassVar[int]
        arm: str
        motion: MotionLimits
        def __init__(self, arm: _Optional[str] = ..., motion: _Optional[_Union[MotionLimits, _Mapping]] = ...) -> None: ...
    LEASE_FIELD_NUMBER: _ClassVar[int]
    ARMS_FIELD_NUMBER: _ClassVar[int]
    lease: str
    arms: _containers.RepeatedCompositeFieldContainer[SetMotionRequest.Entry]
    def __init__(self, lease: _Optional[str] = ..., arms: _Optional[_Iterable[_Union[SetMotionRequest.Entry, _Mapping]]] = ...) -> None: ...

class ChangesReply(_message.Message):
    __slots__ = ("arms",)
    class Entry(_message.Message):
        __slots__ = ("arm", "changes")
        ARM_FIELD_NUMBER: _ClassVar[int]
        CHANGES_FIELD_NUMBER: _ClassVar[int]
        arm: str
        changes: _containers.RepeatedScalarFieldContainer[str]
        def __init__(self, arm: _Optional[str] = ..., changes: _Optional[_Iterable[str]] = ...) -> None: ...
    ARMS_FIELD_NUMBER: _ClassVar[int]
    arms: _containers.RepeatedCompositeFieldContainer[ChangesReply.Entry]
    def __init__(self, arms: _Optional[_Iterable[_Union[ChangesReply.Entry, _Mapping]]] = ...) -> None: ...

class NarrowRequest(_message.Message):
    __slots__ = ("lease", "arms")
    class Entry(_message.Message):
        __slots__ = ("arm", "limits")
        ARM_FIELD_NUMBER: _ClassVar[int]
        LIMITS_FIELD_NUMBER: _ClassVar[int]
        arm: str
        limits: SafetyLimits
        def __init__(self, arm: _Optional[str] = ..., limits: _Optional[_Union[SafetyLimits, _Mapping]] = ...) -> None: ...
    LEASE_FIELD_NUMBER: _ClassVar[int]
    ARMS_FIELD_NUMBER: _ClassVar[int]
    lease: str
    arms: _containers.RepeatedCompositeFieldContainer[NarrowRequest.Entry]
    def __init__(self, lease: _Optional[str] = ..., arms: _Optional[_Iterable[_Union[NarrowRequest.Entry, _Mapping]]] = ...) -> None: ...

class NarrowReply(_message.Message):
    __slots__ = ("arms",)
    class Entry(_message.Message):
        __slots__ = ("arm", "limits")
        ARM_FIELD_NUMBER: _ClassVar[int]
        LIMITS_FIELD_NUMBER: _ClassVar[int]
        arm: str
        limits: SafetyLimits
        def __init__(self, arm: _Optional[str] = ..., limits: _Optional[_Union[SafetyLimits, _Mapping]] = ...) -> None: ...
    ARMS_FIELD_NUMBER: _ClassVar[int]
    arms: _containers.RepeatedCompositeFieldContainer[NarrowReply.Entry]
    def __init__(self, arms: _Optional[_Iterable[_Union[NarrowReply.Entry, _Mapping]]] = ...) -> None: ...

class SetPayloadRequest(_message.Message):
    __slots__ = ("lease", "arms")
    class Entry(_message.Message):
        __slots__ = ("arm", "payload")
        ARM_FIELD_NUMBER: _ClassVar[int]
        PAYLOAD_FIELD_NUMBER: _ClassVar[int]
        arm: str
        payload: Payload
        def __init__(self, arm: _Optional[str] = ..., payload: _Optional[_Union[Payload, _Mapping]] = ...) -> None: ...
    LEASE_FIELD_NUMBER: _ClassVar[int]
    ARMS_FIELD_NUMBER: _ClassVar[int]
    lease: str
    arms: _containers.RepeatedCompositeFieldContainer[SetPayloadRequest.Entry]
    def __init__(self, lease: _Optional[str] = ..., arms: _Optional[_Iterable[_Union[SetPayloadRequest.Entry, _Mapping]]] = ...) -> None: ...

class SetCollisionRequest(_message.Message):
    __slots__ = ("lease", "arms")
    class Entry(_message.Message):
        __slots__ = ("arm", "thresholds")
        ARM_FIELD_NUMBER: _ClassVar[int]
        THRESHOLDS_FIELD_NUMBER: _ClassVar[int]
        arm: str
        thresholds: CollisionThresholds
        def __init__(self, arm: _Optional[str] = ..., thresholds: _Optional[_Union[CollisionThresholds, _Mapping]] = ...) -> None: ...
    LEASE_FIELD_NUMBER: _ClassVar[int]
    ARMS_FIELD_NUMBER: _ClassVar[int]
    lease: str
    arms: _containers.RepeatedCompositeFieldContainer[SetCollisionRequest.Entry]
    def __init__(self, lease: _Optional[str] = ..., arms: _Optional[_Iterable[_Union[SetCollisionRequest.Entry, _Mapping]]] = ...) -> None: ...

class HoldRequest(_message.Message):
    __slots__ = ("lease", "reason")
    LEASE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    lease: str
    reason: str
    def __init__(self, lease: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class RecoverRequest(_message.Message):
    __slots__ = ("lease", "arms")
    LEASE_FIELD_NUMBER: _ClassVar[int]
    ARMS_FIELD_NUMBER: _ClassVar[int]
    lease: str
    arms: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, lease: _Optional[str] = ..., arms: _Optional[_Iterable[str]] = ...) -> None: ...

class RecoverReply(_message.Message):
    __slots__ = ("arms",)
    class Entry(_message.Message):
        __slots__ = ("arm", "problem")
        ARM_FIELD_NUMBER: _ClassVar[int]
        PROBLEM_FIELD_NUMBER: _ClassVar[int]
        arm: str
        problem: str
        def __init__(self, arm: _Optional[str] = ..., problem: _Optional[str] = ...) -> None: ...
    ARMS_FIELD_NUMBER: _ClassVar[int]
    arms: _containers.RepeatedCompositeFieldContainer[RecoverReply.Entry]
    def __init__(self, arms: _Optional[_Iterable[_Union[RecoverReply.Entry, _Mapping]]] = ...) -> None: ...

class StopRequest(_message.Message):
    __slots__ = ("reason",)
    REASON_FIELD_NUMBER: _ClassVar[int]
    reason: str
    def __init__(self, reason: _Optional[str] = ...) -> None: ...

class SaveRecordingRequest(_message.Message):
    __slots__ = ("arm", "reason")
    ARM_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    arm: str
    reason: str
    def __init__(self, arm: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class SaveRecordingReply(_message.Message):
    __slots__ = ("path",)
    PATH_FIELD_NUMBER: _ClassVar[int]
    path: str
    def __init__(self, path: _Optional[str] = ...) -> None: ...

class CountersRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class CountersReply(_message.Message):
    __slots__ = ("counters",)
    class CountersEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    COUNTERS_FIELD_NUMBER: _ClassVar[int]
    counters: _containers.ScalarMap[str, float]
    def __init__(self, counters: _Optional[_Mapping[str, float]] = ...) -> None: ...

class Done(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
