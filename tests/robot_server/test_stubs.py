"""The committed stubs say what robot.proto and scene.proto say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2
from grpc_tools import protoc

from robot_servers.protocol import robot_pb2, robot_pb2_grpc, scene_pb2, scene_pb2_grpc
from robot_servers.protocol.generate import PROTOS

ROOT = Path(__file__).resolve().parents[2]
STUBS = dict(zip(PROTOS, [(robot_pb2, robot_pb2_grpc), (scene_pb2, scene_pb2_grpc)], strict=True))
KINDS = {
    (False, False): "unary_unary",
    (True, True): "stream_stream",
    (True, False): "stream_unary",
    (False, True): "unary_stream",
}

both = pytest.mark.parametrize("path", PROTOS)


def compiled(path: str, tmp_path: Path) -> descriptor_pb2.FileDescriptorProto:
    """The .proto as it is now, without comments."""
    out = tmp_path / "descriptors"
    status = protoc.main(["protoc", f"-I{ROOT}", f"--descriptor_set_out={out}", str(ROOT / path)])
    assert status == 0
    (file,) = descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes()).file
    return file


@both
def test_the_messages_are_those_of_the_proto(path, tmp_path):
    committed = descriptor_pb2.FileDescriptorProto()
    STUBS[path][0].DESCRIPTOR.CopyToProto(committed)
    now = compiled(path, tmp_path)
    for file in (committed, now):
        file.ClearField("options")
        for message in file.message_type:
            for each in (message, *message.nested_type):
                for field in each.field:
                    field.ClearField("json_name")  # a newer protoc writes it out
    assert committed == now, "run robot_servers/protocol/generate.py"


@both
def test_the_calls_are_those_of_the_proto(path, tmp_path):
    (service,) = compiled(path, tmp_path).service
    text = Path(STUBS[path][1].__file__).read_text()
    stub = text[
        text.index(f"class {service.name}Stub") : text.index(f"class {service.name}Servicer")
    ]
    expected = {
        (m.name, KINDS[m.client_streaming, m.server_streaming], _name(m.input_type))
        for m in service.method
    }
    found = re.findall(
        rf"self\.(\w+) = channel\.(\w+)\(\s+'/serl\.robot\.{service.name}/\1',\s+"
        r"request_serializer=\w+\.(\w+)\.SerializeToString,",
        stub,
    )
    assert set(found) == expected


@both
def test_the_stubs_ask_for_no_newer_run_time_than_pyproject_allows(path):
    for module in STUBS[path]:
        text = Path(module.__file__).read_text()
        assert "ValidateProtobufRuntimeVersion" not in text
        assert "GRPC_GENERATED_VERSION" not in text


@both
def test_every_array_says_its_length(path):
    """STYLE 1.5: the file is the documentation. A repeated number has its length above it."""
    lines = (ROOT / path).read_text().splitlines()
    for number, line in enumerate(lines):
        if not line.strip().startswith("repeated double"):
            continue
        above = [line for line in lines[max(0, number - 6) : number] if "//" in line]
        assert any(re.search(r"\((\d|n|0 or 3)+\)", text) for text in above), line


def _name(full: str) -> str:
    return full.rpartition(".")[2]
