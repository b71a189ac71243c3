"""A robot server: one Guard, and in front of it the gRPC services of robot.proto and scene.proto.

Streams are bounded so that they never take every worker, and `Stop` and `EStop` have threads of
their own: they are served whatever else goes on.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

from robot_servers.guard import Guard
from robot_servers.lease import LeaseBook
from robot_servers.protocol.robot_pb2_grpc import add_RobotServicer_to_server
from robot_servers.protocol.scene_pb2_grpc import add_SceneServicer_to_server
from robot_servers.robot_service import RobotService
from robot_servers.scene_service import SceneService
from serl.rpc import MIB, Address, Limits, RpcServer, Tls

MAX_WATCHERS = 16
MAX_COMMANDERS = 16
OTHER_WORKERS = 8
"""Threads for the short calls, over one for each stream."""

URGENT_WORKERS = 4

UNLIMITED = 2**31 - 1
"""gRPC would turn Stop away with the rest when its calls are limited; streams are limited here."""

MAX_RECEIVE_BYTES = 8 * MIB
"""The largest thing a client sends is a task's MJCF."""


class RobotServer:
    """The gRPC face of a Guard, which is started and closed by whoever made it.

    Args:
        guard: started.
        leases: shared with the HTTP face.
        bind: 'host:port'; port 0 takes a free one.
        backend_name: what Describe tells.
    """

    def __init__(
        self,
        guard: Guard,
        leases: LeaseBook,
        *,
        bind: str = "127.0.0.1:5600",
        backend_name: str = "",
        token: str | None = None,
        tls: Tls | None = None,
        insecure_lan: bool = False,
        max_watchers: int = MAX_WATCHERS,
        max_commanders: int = MAX_COMMANDERS,
    ) -> None:
        self._closing = Event()
        self._urgent = ThreadPoolExecutor(URGENT_WORKERS, thread_name_prefix="stop")
        self._simulator = ThreadPoolExecutor(1, thread_name_prefix="scene")
        service = RobotService(
            guard,
            leases,
            backend_name=backend_name,
            urgent=self._urgent,
            max_watchers=max_watchers,
            max_commanders=max_commanders,
            closing=self._closing,
        )
        services = ["serl.robot.Robot"]
        self._scene: SceneService | None = None
        if guard.backend.scene is not None:
            self._scene = SceneService(guard, leases, service.description, self._simulator)
            services.append("serl.robot.Scene")

        def register(server: Any) -> None:
            add_RobotServicer_to_server(service, server)
            if self._scene is not None:
                add_SceneServicer_to_server(self._scene, server)

        workers = max_watchers + max_commanders + OTHER_WORKERS
        self._rpc = RpcServer(
            bind,
            register,
            services=services,
            token=token,
            tls=tls,
            insecure_lan=insecure_lan,
            limits=Limits(
                max_receive_bytes=MAX_RECEIVE_BYTES,
                max_concurrent_rpcs=UNLIMITED,
                threads=workers,
            ),
        )

    @property
    def address(self) -> Address:
        return self._rpc.address

    def start(self) -> RobotServer:
        self._rpc.start()
        return self

    def close(self) -> None:
        """Refuse new calls and end the streams; whoever commanded is gone, so the arms hold."""
        self._closing.set()
        self._rpc.stop(grace_s=0.5)
        if self._scene is not None:
            self._simulator.submit(self._scene.close).result()
        self._urgent.shutdown(wait=False)
        self._simulator.shutdown(wait=False)

    def __enter__(self) -> RobotServer:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()
