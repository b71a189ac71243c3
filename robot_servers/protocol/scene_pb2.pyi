from robot_servers.protocol import robot_pb2 as _robot_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class LoadRequest(_message.Message):
    __slots__ = ("lease", "mjcf", "arms", "physics_dt_s", "action_delay_s", "lockstep")
    class Arm(_message.Message):
        __slots__ = ("arm", "model", "T_world_base")
        ARM_FIELD_NUMBER: _ClassVar[int]
        MODEL_FIELD_NUMBER: _ClassVar[int]
        T_WORLD_BASE_FIELD_NUMBER: _ClassVar[int]
        arm: str
        model: str
        T_world_base: _containers.RepeatedScalarFieldContainer[float]
        def __init__(self, arm: _Optional[str] = ..., model: _Optional[str] = ..., T_world_base: _Optional[_Iterable[float]] = ...) -> None: ...
    LEASE_FIELD_NUMBER: _ClassVar[int]
    MJCF_FIELD_NUMBER: _ClassVar[int]
    ARMS_FIELD_NUMBER: _ClassVar[int]
    PHYSICS_DT_S_FIELD_NUMBER: _ClassVar[int]
    ACTION_DELAY_S_FIELD_NUMBER: _ClassVar[int]
    LOCKSTEP_FIELD_NUMBER: _ClassVar[int]
    lease: str
    mjcf: str
    arms: _containers.RepeatedCompositeFieldContainer[LoadRequest.Arm]
    physics_dt_s: float
    action_delay_s: float
    lockstep: bool
    def __init__(self, lease: _Optional[str] = ..., mjcf: _Optional[str] = ..., arms: _Optional[_Iterable[_Union[LoadRequest.Arm, _Mapping]]] = ..., physics_dt_s: _Optional[float] = ..., action_delay_s: _Optional[float] = ..., lockstep: bool = ...) -> None: ...

class LoadReply(_message.Message):
    __slots__ = ("description", "state")
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    description: _robot_pb2.DescribeReply
    state: SceneState
    def __init__(self, description: _Optional[_Union[_robot_pb2.DescribeReply, _Mapping]] = ..., state: _Optional[_Union[SceneState, _Mapping]] = ...) -> None: ...

class ObjectState(_message.Message):
    __slots__ = ("name", "T_base_object", "twist_base")
    NAME_FIELD_NUMBER: _ClassVar[int]
    T_BASE_OBJECT_FIELD_NUMBER: _ClassVar[int]
    TWIST_BASE_FIELD_NUMBER: _ClassVar[int]
    name: str
    T_base_object: _containers.RepeatedScalarFieldContainer[float]
    twist_base: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, name: _Optional[str] = ..., T_base_object: _Optional[_Iterable[float]] = ..., twist_base: _Optional[_Iterable[float]] = ...) -> None: ...

class SceneState(_message.Message):
    __slots__ = ("states", "objects")
    STATES_FIELD_NUMBER: _ClassVar[int]
    OBJECTS_FIELD_NUMBER: _ClassVar[int]
    states: _robot_pb2.States
    objects: _containers.RepeatedCompositeFieldContainer[ObjectState]
    def __init__(self, states: _Optional[_Union[_robot_pb2.States, _Mapping]] = ..., objects: _Optional[_Iterable[_Union[ObjectState, _Mapping]]] = ...) -> None: ...

class SceneObject(_message.Message):
    __slots__ = ("name", "T_base_object", "mass_kg", "friction")
    NAME_FIELD_NUMBER: _ClassVar[int]
    T_BASE_OBJECT_FIELD_NUMBER: _ClassVar[int]
    MASS_KG_FIELD_NUMBER: _ClassVar[int]
    FRICTION_FIELD_NUMBER: _ClassVar[int]
    name: str
    T_base_object: _containers.RepeatedScalarFieldContainer[float]
    mass_kg: float
    friction: float
    def __init__(self, name: _Optional[str] = ..., T_base_object: _Optional[_Iterable[float]] = ..., mass_kg: _Optional[float] = ..., friction: _Optional[float] = ...) -> None: ...

class ResetRequest(_message.Message):
    __slots__ = ("lease", "objects", "postures")
    class Posture(_message.Message):
        __slots__ = ("arm", "q_rad")
        ARM_FIELD_NUMBER: _ClassVar[int]
        Q_RAD_FIELD_NUMBER: _ClassVar[int]
        arm: str
        q_rad: _containers.RepeatedScalarFieldContainer[float]
        def __init__(self, arm: _Optional[str] = ..., q_rad: _Optional[_Iterable[float]] = ...) -> None: ...
    LEASE_FIELD_NUMBER: _ClassVar[int]
    OBJECTS_FIELD_NUMBER: _ClassVar[int]
    POSTURES_FIELD_NUMBER: _ClassVar[int]
    lease: str
    objects: _containers.RepeatedCompositeFieldContainer[SceneObject]
    postures: _containers.RepeatedCompositeFieldContainer[ResetRequest.Posture]
    def __init__(self, lease: _Optional[str] = ..., objects: _Optional[_Iterable[_Union[SceneObject, _Mapping]]] = ..., postures: _Optional[_Iterable[_Union[ResetRequest.Posture, _Mapping]]] = ...) -> None: ...

class AdvanceRequest(_message.Message):
    __slots__ = ("lease", "period_s", "command")
    LEASE_FIELD_NUMBER: _ClassVar[int]
    PERIOD_S_FIELD_NUMBER: _ClassVar[int]
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    lease: str
    period_s: float
    command: _robot_pb2.CommandRequest
    def __init__(self, lease: _Optional[str] = ..., period_s: _Optional[float] = ..., command: _Optional[_Union[_robot_pb2.CommandRequest, _Mapping]] = ...) -> None: ...

class AdvanceReply(_message.Message):
    __slots__ = ("command", "state")
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    command: _robot_pb2.CommandReply
    state: SceneState
    def __init__(self, command: _Optional[_Union[_robot_pb2.CommandReply, _Mapping]] = ..., state: _Optional[_Union[SceneState, _Mapping]] = ...) -> None: ...

class ObjectPosesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class FramesRequest(_message.Message):
    __slots__ = ("frames",)
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    frames: _containers.RepeatedCompositeFieldContainer[Frame]
    def __init__(self, frames: _Optional[_Iterable[_Union[Frame, _Mapping]]] = ...) -> None: ...

class Frame(_message.Message):
    __slots__ = ("camera", "height", "width", "pretty")
    CAMERA_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    PRETTY_FIELD_NUMBER: _ClassVar[int]
    camera: str
    height: int
    width: int
    pretty: bool
    def __init__(self, camera: _Optional[str] = ..., height: _Optional[int] = ..., width: _Optional[int] = ..., pretty: bool = ...) -> None: ...

class FramesReply(_message.Message):
    __slots__ = ("rgb",)
    RGB_FIELD_NUMBER: _ClassVar[int]
    rgb: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, rgb: _Optional[_Iterable[bytes]] = ...) -> None: ...

class PushRequest(_message.Message):
    __slots__ = ("lease", "arm", "wrench_base")
    LEASE_FIELD_NUMBER: _ClassVar[int]
    ARM_FIELD_NUMBER: _ClassVar[int]
    WRENCH_BASE_FIELD_NUMBER: _ClassVar[int]
    lease: str
    arm: str
    wrench_base: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, lease: _Optional[str] = ..., arm: _Optional[str] = ..., wrench_base: _Optional[_Iterable[float]] = ...) -> None: ...
