"""The committed stubs say what channel.proto says."""

from __future__ import annotations

import re
from pathlib import Path

from google.protobuf import descriptor_pb2
from grpc_tools import protoc

from serl.channel import channel_pb2, channel_pb2_grpc

ROOT = Path(__file__).resolve().parents[2]
PROTO = "serl/channel/channel.proto"


def compiled(tmp_path: Path) -> descriptor_pb2.FileDescriptorProto:
    """channel.proto as it is now, without comments."""
    out = tmp_path / "descriptors"
    status = protoc.main(["protoc", f"-I{ROOT}", f"--descriptor_set_out={out}", str(ROOT / PROTO)])
    assert status == 0
    (file,) = descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes()).file
    return file


def test_the_messages_are_those_of_the_proto(tmp_path):
    committed = descriptor_pb2.FileDescriptorProto()
    channel_pb2.DESCRIPTOR.CopyToProto(committed)
    now = compiled(tmp_path)
    for file in (committed, now):
        file.ClearField("options")
        for message in file.message_type:
            for field in message.field:
                field.ClearField("json_name")  # a newer protoc writes it out
    assert committed == now, "run serl/channel/generate.py"


def test_the_calls_are_those_of_the_proto(tmp_path):
    (service,) = compiled(tmp_path).service
    text = Path(channel_pb2_grpc.__file__).read_text()
    stub = text[text.index("class LearnerStub") : text.index("class LearnerServicer")]
    kinds = {
        (False, False): "unary_unary",
        (True, True): "stream_stream",
        (True, False): "stream_unary",
        (False, True): "unary_stream",
    }
    expected = {
        (
            m.name,
            kinds[m.client_streaming, m.server_streaming],
            _name(m.input_type),
            _name(m.output_type),
        )
        for m in service.method
    }
    found = re.findall(
        r"self\.(\w+) = channel\.(\w+)\(\s+'/serl\.channel\.Learner/\1',\s+"
        r"request_serializer=\w+\.(\w+)\.SerializeToString,\s+"
        r"response_deserializer=\w+\.(\w+)\.FromString,",
        stub,
    )
    assert set(found) == expected


def test_the_stubs_ask_for_no_newer_run_time_than_pyproject_allows():
    """Stubs of grpcio-tools 1.63 and later refuse an older protobuf or grpcio at import."""
    for module in (channel_pb2, channel_pb2_grpc):
        text = Path(module.__file__).read_text()
        assert "ValidateProtobufRuntimeVersion" not in text
        assert "GRPC_GENERATED_VERSION" not in text


def _name(full: str) -> str:
    return full.rpartition(".")[2]
