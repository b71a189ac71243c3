"""Make channel_pb2.py and channel_pb2_grpc.py from channel.proto.

Stubs refuse a protobuf run time older than, or two major versions newer than, the one they were
made with, from grpcio-tools 1.63 on. Those of 1.62 demand nothing, so that the floors in
pyproject.toml hold. To change the protocol, in a throw-away environment of Python 3.11 or 3.12:

    pip install grpcio-tools==1.62.3 "setuptools<80"
    python serl/channel/generate.py
"""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path

GRPCIO_TOOLS = "1.62.3"
PROTO = "serl/channel/channel.proto"


def generate(root: Path, out: Path) -> None:
    """Write the stubs of `root`/serl/channel/channel.proto below `out`, at the same path."""
    from grpc_tools import protoc

    proto, stubs = f"-I{root}", [f"--{kind}_out={out}" for kind in ("python", "pyi", "grpc_python")]
    status = protoc.main(["protoc", proto, *stubs, str(root / PROTO)])
    if status:
        raise SystemExit(f"protoc ended with {status} on {root / PROTO}")


if __name__ == "__main__":
    version = importlib.metadata.version("grpcio-tools")
    if version != GRPCIO_TOOLS:
        sys.exit(f"grpcio-tools {version} is installed; the stubs are made with {GRPCIO_TOOLS}.")
    top = Path(__file__).resolve().parents[2]
    generate(top, top)
