"""scene.proto's Scene service: a simulator arranged, stepped and looked at over the network.

One thread serves what changes or draws the scene: an OpenGL context belongs to its thread, and two
clients never arrange at the same time.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from robot_servers.backends.base import Scene
from robot_servers.command_stream import carry_out, sent
from robot_servers.guard import Guard
from robot_servers.lease import LeaseBook
from robot_servers.protocol import convert
from robot_servers.protocol import robot_pb2 as robot
from robot_servers.protocol import scene_pb2 as pb
from robot_servers.protocol.scene_pb2_grpc import SceneServicer
from robot_servers.robot_service import served_by, told
from robot_servers.types import Array, SceneObject
from serl.errors import UserError

MAX_FRAME_BYTES = 24 << 20
"""Of all frames in one reply."""


class SceneService(SceneServicer):
    """The Scene service of a guard whose backend has a scene."""

    def __init__(
        self,
        guard: Guard,
        leases: LeaseBook,
        describe: Callable[[], robot.DescribeReply],
        thread: ThreadPoolExecutor,
    ) -> None:
        self._guard, self._leases, self._describe = guard, leases, describe
        self._cell: tuple[Any, ...] | None = None
        for name in ("Load", "Reset", "Advance", "Frames", "Push"):
            setattr(self, name, served_by(thread, getattr(self, name)))

    def close(self) -> None:
        """On the scene's thread: free what was made there to draw with."""
        free = getattr(self._guard.backend.scene, "close", None)
        if free is not None:
            free()

    @property
    def _scene(self) -> Scene:
        scene = self._guard.backend.scene
        assert scene is not None
        return scene

    @told
    def Load(self, request: pb.LoadRequest, context: Any) -> pb.LoadReply:
        self._leases.use(request.lease)
        lockstep = self._guard.backend.lockstep
        if request.arms and request.lockstep != lockstep:
            raise UserError(_other_time(lockstep))
        if request.arms:
            self._make_cell(request)
        self._scene.load(request.mjcf)
        self._guard.rebuilt()
        return pb.LoadReply(description=self._describe(), state=self._state())

    @told
    def Reset(self, request: pb.ResetRequest, context: Any) -> pb.SceneState:
        self._leases.use(request.lease)
        q_rad = {p.arm: convert.take_array(p.q_rad) for p in request.postures}
        self._scene.reset([_object(o) for o in request.objects], q_rad)
        self._guard.was_reset()
        return self._state()

    @told
    def Advance(self, request: pb.AdvanceRequest, context: Any) -> pb.AdvanceReply:
        self._leases.use(request.lease)
        if not self._guard.backend.lockstep:
            raise UserError(_other_time(lockstep=False))
        reply = pb.AdvanceReply()
        if request.HasField("command") and not self._command(request.command, reply.command):
            return reply
        self._guard.backend.advance(request.period_s)
        reply.state.CopyFrom(self._state())
        return reply

    @told
    def ObjectPoses(self, request: pb.ObjectPosesRequest, context: Any) -> pb.SceneState:
        return self._state()

    @told
    def Frames(self, request: pb.FramesRequest, context: Any) -> pb.FramesReply:
        size = sum(3 * f.height * f.width for f in request.frames)
        if size > MAX_FRAME_BYTES:
            raise UserError(
                f"{len(request.frames)} frames of together {size / 1e6:.0f} MB are more than "
                f"{MAX_FRAME_BYTES / 1e6:.0f} MB; ask for smaller ones."
            )
        render = self._scene.render
        return pb.FramesReply(
            rgb=[
                render(f.camera, f.height, f.width, pretty=f.pretty).tobytes()
                for f in request.frames
            ]
        )

    @told
    def Push(self, request: pb.PushRequest, context: Any) -> robot.Done:
        self._leases.use(request.lease)
        wrench = convert.take_numbers(request.wrench_base, 6, "wrench_base")
        push = getattr(self._scene, "push", None)
        if push is None:
            raise UserError("this simulator cannot push an arm.")
        push(wrench, request.arm)
        return robot.Done()

    def _command(self, request: robot.CommandRequest, reply: robot.CommandReply) -> bool:
        reply.sequence = request.sequence
        reply.received_mono_ns = self._guard.clock()
        try:
            accepted = carry_out(self._guard, request, reply)
        except UserError as error:
            reply.refused, accepted = str(error), False
        sent(self._guard, reply)
        return accepted

    def _make_cell(self, request: pb.LoadRequest) -> None:
        """The client's arms in the client's places, unless they are there already."""
        arms = {a.arm: a.model for a in request.arms}
        bases: dict[str, Array] = {
            a.arm: convert.take_pose(a.T_world_base, f"arm {a.arm!r}: T_world_base")
            for a in request.arms
            if a.T_world_base
        }
        lockstep = self._guard.backend.lockstep
        cell = (
            tuple(arms.items()),
            tuple((name, T.tobytes()) for name, T in bases.items()),
            request.physics_dt_s if lockstep else None,
            request.action_delay_s,
        )
        if cell == self._cell:
            return
        reconfigure: Any = self._guard.backend
        options = {"physics_dt_s": request.physics_dt_s} if lockstep else {}
        reconfigure.reconfigure(
            arms=arms, base_poses=bases, action_delay_s=request.action_delay_s, **options
        )
        self._cell = cell

    def _state(self) -> pb.SceneState:
        state = pb.SceneState()
        convert.put_states(state.states, self._guard.states())
        twists = self._scene.object_twists()
        for name, T_base_object in self._scene.object_poses().items():
            message = state.objects.add(name=name)
            convert.put_pose(message.T_base_object, T_base_object)
            message.twist_base.extend(twists[name].tolist())
        return state


def _object(message: pb.SceneObject) -> SceneObject:
    what = f"object {message.name!r}: T_base_object"
    return SceneObject(
        name=message.name,
        T_base_object=convert.take_pose(message.T_base_object, what),
        mass_kg=message.mass_kg if message.HasField("mass_kg") else None,
        friction=message.friction if message.HasField("friction") else None,
    )


def _other_time(lockstep: bool) -> str:
    if lockstep:
        return (
            "this robot server steps physics in lockstep and the client wants real time; start it "
            "without --lockstep, or set env.realtime false."
        )
    return (
        "this robot server runs in real time and the client wants lockstep; start it with "
        "--lockstep, or set env.realtime true."
    )
