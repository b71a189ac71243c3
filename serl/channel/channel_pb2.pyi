from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class HelloRequest(_message.Message):
    __slots__ = ("protocol", "actor_id", "instance_id", "contract_json", "contract_hash", "spec_json", "run_id")
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    ACTOR_ID_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_ID_FIELD_NUMBER: _ClassVar[int]
    CONTRACT_JSON_FIELD_NUMBER: _ClassVar[int]
    CONTRACT_HASH_FIELD_NUMBER: _ClassVar[int]
    SPEC_JSON_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    protocol: int
    actor_id: str
    instance_id: str
    contract_json: str
    contract_hash: str
    spec_json: str
    run_id: str
    def __init__(self, protocol: _Optional[int] = ..., actor_id: _Optional[str] = ..., instance_id: _Optional[str] = ..., contract_json: _Optional[str] = ..., contract_hash: _Optional[str] = ..., spec_json: _Optional[str] = ..., run_id: _Optional[str] = ...) -> None: ...

class HelloReply(_message.Message):
    __slots__ = ("refusal", "reason", "protocol", "run_id", "contract_json", "spec_json", "session", "high_water", "max_batch_bytes", "credit")
    class Refusal(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        NONE: _ClassVar[HelloReply.Refusal]
        PROTOCOL: _ClassVar[HelloReply.Refusal]
        CONTRACT: _ClassVar[HelloReply.Refusal]
        SPEC: _ClassVar[HelloReply.Refusal]
        RUN: _ClassVar[HelloReply.Refusal]
        DUPLICATE: _ClassVar[HelloReply.Refusal]
        MALFORMED: _ClassVar[HelloReply.Refusal]
    NONE: HelloReply.Refusal
    PROTOCOL: HelloReply.Refusal
    CONTRACT: HelloReply.Refusal
    SPEC: HelloReply.Refusal
    RUN: HelloReply.Refusal
    DUPLICATE: HelloReply.Refusal
    MALFORMED: HelloReply.Refusal
    REFUSAL_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    CONTRACT_JSON_FIELD_NUMBER: _ClassVar[int]
    SPEC_JSON_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    HIGH_WATER_FIELD_NUMBER: _ClassVar[int]
    MAX_BATCH_BYTES_FIELD_NUMBER: _ClassVar[int]
    CREDIT_FIELD_NUMBER: _ClassVar[int]
    refusal: HelloReply.Refusal
    reason: str
    protocol: int
    run_id: str
    contract_json: str
    spec_json: str
    session: str
    high_water: Key
    max_batch_bytes: int
    credit: int
    def __init__(self, refusal: _Optional[_Union[HelloReply.Refusal, str]] = ..., reason: _Optional[str] = ..., protocol: _Optional[int] = ..., run_id: _Optional[str] = ..., contract_json: _Optional[str] = ..., spec_json: _Optional[str] = ..., session: _Optional[str] = ..., high_water: _Optional[_Union[Key, _Mapping]] = ..., max_batch_bytes: _Optional[int] = ..., credit: _Optional[int] = ...) -> None: ...

class Key(_message.Message):
    __slots__ = ("episode", "index")
    EPISODE_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    episode: int
    index: int
    def __init__(self, episode: _Optional[int] = ..., index: _Optional[int] = ...) -> None: ...

class StepsRequest(_message.Message):
    __slots__ = ("slots",)
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    slots: bytes
    def __init__(self, slots: _Optional[bytes] = ...) -> None: ...

class StepsReply(_message.Message):
    __slots__ = ("high_water", "committed", "credit", "stop", "stop_reason", "trouble")
    HIGH_WATER_FIELD_NUMBER: _ClassVar[int]
    COMMITTED_FIELD_NUMBER: _ClassVar[int]
    CREDIT_FIELD_NUMBER: _ClassVar[int]
    STOP_FIELD_NUMBER: _ClassVar[int]
    STOP_REASON_FIELD_NUMBER: _ClassVar[int]
    TROUBLE_FIELD_NUMBER: _ClassVar[int]
    high_water: Key
    committed: int
    credit: int
    stop: bool
    stop_reason: str
    trouble: str
    def __init__(self, high_water: _Optional[_Union[Key, _Mapping]] = ..., committed: _Optional[int] = ..., credit: _Optional[int] = ..., stop: bool = ..., stop_reason: _Optional[str] = ..., trouble: _Optional[str] = ...) -> None: ...

class ParametersRequest(_message.Message):
    __slots__ = ("have_version",)
    HAVE_VERSION_FIELD_NUMBER: _ClassVar[int]
    have_version: int
    def __init__(self, have_version: _Optional[int] = ...) -> None: ...

class ParametersReply(_message.Message):
    __slots__ = ("version", "params", "run_id", "trunk")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    PARAMS_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    TRUNK_FIELD_NUMBER: _ClassVar[int]
    version: int
    params: bytes
    run_id: str
    trunk: str
    def __init__(self, version: _Optional[int] = ..., params: _Optional[bytes] = ..., run_id: _Optional[str] = ..., trunk: _Optional[str] = ...) -> None: ...

class TrunkRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class TrunkReply(_message.Message):
    __slots__ = ("chunk", "size")
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    chunk: bytes
    size: int
    def __init__(self, chunk: _Optional[bytes] = ..., size: _Optional[int] = ...) -> None: ...

class RelabelRequest(_message.Message):
    __slots__ = ("last", "reward", "success", "terminated", "number")
    LAST_FIELD_NUMBER: _ClassVar[int]
    REWARD_FIELD_NUMBER: _ClassVar[int]
    SUCCESS_FIELD_NUMBER: _ClassVar[int]
    TERMINATED_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    last: Key
    reward: float
    success: bool
    terminated: bool
    number: int
    def __init__(self, last: _Optional[_Union[Key, _Mapping]] = ..., reward: _Optional[float] = ..., success: bool = ..., terminated: bool = ..., number: _Optional[int] = ...) -> None: ...

class RelabelReply(_message.Message):
    __slots__ = ("kept",)
    KEPT_FIELD_NUMBER: _ClassVar[int]
    kept: bool
    def __init__(self, kept: bool = ...) -> None: ...

class ReportRequest(_message.Message):
    __slots__ = ("number", "kind", "data_json", "stamp_wall_ns")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    DATA_JSON_FIELD_NUMBER: _ClassVar[int]
    STAMP_WALL_NS_FIELD_NUMBER: _ClassVar[int]
    number: int
    kind: str
    data_json: str
    stamp_wall_ns: int
    def __init__(self, number: _Optional[int] = ..., kind: _Optional[str] = ..., data_json: _Optional[str] = ..., stamp_wall_ns: _Optional[int] = ...) -> None: ...

class ReportReply(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ProbeRequest(_message.Message):
    __slots__ = ("payload", "echo")
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    ECHO_FIELD_NUMBER: _ClassVar[int]
    payload: bytes
    echo: bool
    def __init__(self, payload: _Optional[bytes] = ..., echo: bool = ...) -> None: ...

class ProbeReply(_message.Message):
    __slots__ = ("payload", "stamp_mono_ns", "stamp_wall_ns", "protocol", "run_id", "tls", "token", "spec_json", "contract_json", "trunk_name")
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    STAMP_MONO_NS_FIELD_NUMBER: _ClassVar[int]
    STAMP_WALL_NS_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    TLS_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    SPEC_JSON_FIELD_NUMBER: _ClassVar[int]
    CONTRACT_JSON_FIELD_NUMBER: _ClassVar[int]
    TRUNK_NAME_FIELD_NUMBER: _ClassVar[int]
    payload: bytes
    stamp_mono_ns: int
    stamp_wall_ns: int
    protocol: int
    run_id: str
    tls: bool
    token: bool
    spec_json: str
    contract_json: str
    trunk_name: str
    def __init__(self, payload: _Optional[bytes] = ..., stamp_mono_ns: _Optional[int] = ..., stamp_wall_ns: _Optional[int] = ..., protocol: _Optional[int] = ..., run_id: _Optional[str] = ..., tls: bool = ..., token: bool = ..., spec_json: _Optional[str] = ..., contract_json: _Optional[str] = ..., trunk_name: _Optional[str] = ...) -> None: ...
