"""Make robot_pb2*.py and scene_pb2*.py from robot.proto and scene.proto.

Stubs refuse a protobuf run time older than, or two major versions newer than, the one they were
made with, from grpcio-tools 1.63 on. Those of 1.62 demand nothing, so that the floors in
pyproject.toml hold. To change the protocol, in a throw-away environment of Python 3.11 or 3.12:

    pip install grpcio-tools==1.62.3 "setuptools<80"
    python robot_servers/protocol/generate.py
"""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path

GRPCIO_TOOLS = "1.62.3"
PROTOS = ("robot_servers/protocol/robot.proto", "robot_servers/protocol/scene.proto")


def generate(root: Path, out: Path) -> None:
    """Write the stubs of `root`'s PROTOS below `out`, at the same paths."""
    from grpc_tools import protoc

    proto, stubs = f"-I{root}", [f"--{kind}_out={out}" for kind in ("python", "pyi", "grpc_python")]
    status = protoc.main(["protoc", proto, *stubs, *(str(root / path) for path in PROTOS)])
    if status:
        raise SystemExit(f"protoc ended with {status} on {', '.join(PROTOS)}")


if __name__ == "__main__":
    version = importlib.metadata.version("grpcio-tools")
    if version != GRPCIO_TOOLS:
        sys.exit(f"grpcio-tools {version} is installed; the stubs are made with {GRPCIO_TOOLS}.")
    top = Path(__file__).resolve().parents[2]
    generate(top, top)
