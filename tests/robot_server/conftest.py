"""Robot servers on free ports over real backends, and their clients; all closed after each test."""

from __future__ import annotations

import time
from dataclasses import replace

import grpc
import numpy as np
import pytest

from robot_servers.backends.mock import MockBackend
from robot_servers.backends.mujoco import MujocoBackend
from robot_servers.client import RemoteBackend
from robot_servers.config import RobotConfig
from robot_servers.control import se3
from robot_servers.guard import Guard
from robot_servers.lease import LeaseBook
from robot_servers.protocol import convert
from robot_servers.protocol import robot_pb2 as pb
from robot_servers.protocol.robot_pb2_grpc import RobotStub
from robot_servers.server import RobotServer
from robot_servers.types import ArmCommand, CartesianTarget


class Kit:
    """What the tests of this folder build on."""

    def __init__(self, folder):
        self.folder = folder
        self._open = []

    def serve(self, backend=None, *, bind="127.0.0.1:0", config=None, clock=None, **kwargs):
        """A started server over a backend, by default a mock arm; `.guard` and `.leases` in it."""
        backend = MockBackend() if backend is None else backend
        config = replace(config or RobotConfig(), recordings=self.folder / "recordings")
        events = []
        guard = Guard(
            backend, config, clock=clock or time.monotonic_ns, on_event=events.append, settle_s=3.0
        )
        guard.start()
        self._open.append(guard)
        leases = LeaseBook(on_event=events.append)
        name = type(backend).__name__.removesuffix("Backend").lower()
        server = RobotServer(guard, leases, bind=bind, backend_name=name, **kwargs).start()
        server.guard, server.leases, server.events = guard, leases, events
        self._open.append(server)
        return server

    def simulator(self, *, lockstep=True, arms=None, **kwargs):
        return self.serve(MujocoBackend(lockstep=lockstep, arms=arms), **kwargs)

    def remote(self, server, *, connect=True, **kwargs):
        """A connected RemoteBackend."""
        address = server if isinstance(server, str) else f"grpc://{server.address}"
        kwargs.setdefault("client_name", f"test@here:{len(self._open)}")
        remote = RemoteBackend(address, **kwargs)
        self._open.append(remote)
        if connect:
            remote.connect()
        return remote

    def stub(self, server):
        """A bare stub, for what our own client never sends."""
        channel = grpc.insecure_channel(str(server.address))
        self._open.append(channel)
        return RobotStub(channel)

    def close(self):
        for thing in reversed(self._open):
            thing.close()


@pytest.fixture
def kit(tmp_path):
    made = Kit(tmp_path)
    yield made
    made.close()


@pytest.fixture
def until():
    """Wait for a condition that must come true."""

    def wait(condition, what, timeout_s=10.0):
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, f"waited {timeout_s} s for {what}"
            time.sleep(0.005)

    return wait


@pytest.fixture
def offset():
    """A command that moves the TCP by so much from where it is."""

    def make(state, x=0.0, y=0.0, z=0.0):
        T = se3.apply_displacement(state.T_base_tcp, np.array([x, y, z, 0, 0, 0]))
        return ArmCommand(target=CartesianTarget(T_base_tcp=T))

    return make


@pytest.fixture
def on_wire():
    """A command as a message."""

    def make(command, arm=""):
        message = pb.ArmCommand()
        convert.put_command(message, arm, command)
        return message

    return make
