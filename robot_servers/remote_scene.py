"""The scene of a simulator in another process: `Scene` over scene.proto.

In lockstep every reply brings arms and objects of one sample along, so that nothing is asked for
twice. In real time object poses are asked for, and their twists come with them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robot_servers.link import Link
from robot_servers.protocol import convert
from robot_servers.protocol import robot_pb2 as robot
from robot_servers.protocol import scene_pb2 as pb
from robot_servers.protocol.scene_pb2_grpc import SceneStub
from robot_servers.types import Array, RobotState, SceneObject

TIMEOUT_S = 60.0
"""Compiling a scene or drawing a large frame takes seconds on a slow machine."""

QUICK_S = 4.0
"""What an env calls between two steps in real time takes milliseconds; without an answer by then
the server or the way to it is away, and the env waits for it."""


class RemoteScene:
    """The Scene of a RemoteBackend.

    Args:
        cell: the arms part of each Load; without arms in it the server's cell stays as it is.
        on_state: told each state that a reply brings, and whether it follows a jump in time.
    """

    def __init__(
        self,
        link: Link,
        cell: pb.LoadRequest,
        *,
        lockstep: bool,
        on_load: Callable[[robot.DescribeReply], None],
        on_state: Callable[[robot.States, bool], Mapping[str, RobotState]],
        before: Callable[[], None],
    ) -> None:
        self._link, self._cell, self._lockstep = link, cell, lockstep
        self._on_load, self._on_state, self._before = on_load, on_state, before
        self._stub = SceneStub(link.channel)
        self._objects: list[pb.ObjectState] | None = None
        self._twists_unread = False

    def load(self, mjcf: str) -> None:
        """See Scene.load."""
        request = pb.LoadRequest()
        request.CopyFrom(self._cell)
        request.lease, request.mjcf = self._link.lease, mjcf
        reply = self._call(self._stub.Load, request)
        self._on_load(reply.description)
        self._take(reply.state, jump=True)

    def reset(
        self,
        objects: Sequence[SceneObject],
        q_rad: Mapping[str, NDArray[np.float64]] | None = None,
    ) -> Mapping[str, RobotState]:
        """See Scene.reset."""
        request = pb.ResetRequest(lease=self._link.lease)
        for item in objects:
            message = request.objects.add(
                name=item.name, mass_kg=item.mass_kg, friction=item.friction
            )
            convert.put_pose(message.T_base_object, item.T_base_object)
        for arm, q in (q_rad or {}).items():
            request.postures.add(arm=arm, q_rad=np.asarray(q, np.float64).tolist())
        return self._take(self._call(self._stub.Reset, request, quick=True), jump=True)

    def advance(
        self, period_s: float, command: robot.CommandRequest | None
    ) -> tuple[robot.CommandReply | None, Mapping[str, RobotState] | None]:
        """Lockstep: the command if there is one, then one period. States None: it was refused."""
        request = pb.AdvanceRequest(lease=self._link.lease, period_s=period_s, command=command)
        reply = self._call(self._stub.Advance, request)
        answer = reply.command if reply.HasField("command") else None
        if not reply.HasField("state"):
            return answer, None
        return answer, self._take(reply.state, jump=False)

    def look(self) -> Mapping[str, RobotState]:
        """Arms and objects as they are now."""
        reply = self._call(self._stub.ObjectPoses, pb.ObjectPosesRequest(), quick=True)
        return self._take(reply, jump=False)

    def object_poses(self) -> Mapping[str, Array]:
        """T_base_object (4, 4) of every free body, by name."""
        if not self._lockstep or self._objects is None:
            self.look()
        self._twists_unread = True
        return {o.name: convert.take_pose(o.T_base_object, o.name) for o in self._objects or ()}

    def object_twists(self) -> Mapping[str, Array]:
        """Linear [m/s] and angular [rad/s] velocity (6,) in base; of the sample of the
        `object_poses` just before, if there was one."""
        if self._objects is None or not (self._lockstep or self._twists_unread):
            self.look()
        self._twists_unread = False
        return {o.name: convert.take_numbers(o.twist_base, 6, o.name) for o in self._objects or ()}

    def render(
        self, camera: str, height: int, width: int, *, pretty: bool = False
    ) -> NDArray[np.uint8]:
        """One RGB frame (height, width, 3)."""
        frame = pb.Frame(camera=camera, height=height, width=width, pretty=pretty)
        (rgb,) = self._call(self._stub.Frames, pb.FramesRequest(frames=[frame])).rgb
        return np.frombuffer(rgb, np.uint8).reshape(height, width, 3).copy()

    def push(self, wrench_base: Array, arm: str = "") -> None:
        """Push on an arm's TCP with a wrench (6,) in base, until the next push or reset."""
        wrench = np.asarray(wrench_base, np.float64).tolist()
        request = pb.PushRequest(lease=self._link.lease, arm=arm, wrench_base=wrench)
        self._call(self._stub.Push, request, quick=True)

    def _call(self, method: Any, request: Any, *, quick: bool = False) -> Any:
        """Raises StaleState where no answer comes. `quick`: in real time, soon."""
        if not isinstance(request, pb.AdvanceRequest):
            self._before()
        timeout_s = QUICK_S if quick and not self._lockstep else TIMEOUT_S
        return self._link.call(method, request, timeout_s)

    def _take(self, state: pb.SceneState, *, jump: bool) -> Mapping[str, RobotState]:
        self._objects = list(state.objects)
        self._twists_unread = False
        return self._on_state(state.states, jump)
