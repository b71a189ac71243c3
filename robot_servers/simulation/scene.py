"""What only the simulator knows: the task's bodies, seeded resets, frames, pushes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from robot_servers.control.se3 import Array
from robot_servers.simulation.render import Camera
from robot_servers.types import RobotState, SceneObject
from serl.errors import unknown_name

if TYPE_CHECKING:
    from robot_servers.backends.mujoco import MujocoBackend


class MujocoScene:
    """The Scene of a MujocoBackend.

    A task's fragment is MJCF: <mujoco> around bodies, cameras and lights (directly, or in
    <worldbody>) and their assets. Angles are radians. What may move freely is a body with a name
    and a <freejoint>. The table top is the plane z = 0.
    """

    def __init__(self, backend: MujocoBackend) -> None:
        self._backend = backend
        self._camera: Camera | None = None
        self._drawing = Lock()

    def load(self, mjcf: str) -> None:
        """Put a task's fragment into the cell, in place of the one before; everything is reset."""
        self._backend.rebuild(mjcf)
        self.close()

    def reset(
        self,
        objects: Sequence[SceneObject],
        q_rad: Mapping[str, NDArray[np.float64]] | None = None,
    ) -> Mapping[str, RobotState]:
        """Everything back to a defined state; same arguments, same state, bit for bit."""
        for name in q_rad or {}:
            if name not in self._backend.arms:
                raise unknown_name("arm", name, self._backend.arms)
        return self._backend.reset(objects, dict(q_rad or {}))

    def object_poses(self) -> Mapping[str, Array]:
        """T_base_object (4, 4) of every free body, by name."""
        with self._backend.lock:
            world = self._backend.world
            return {name: world.object_pose(name) for name in world.objects}

    def object_twists(self) -> Mapping[str, Array]:
        """Linear [m/s] and angular [rad/s] velocity (6,) in base, of every free body."""
        with self._backend.lock:
            world = self._backend.world
            return {name: world.object_twist(name) for name in world.objects}

    def push(self, wrench_base: Array, arm: str = "") -> None:
        """Push on an arm's TCP with a wrench (6,) in base, until the next push or reset."""
        if arm not in self._backend.arms:
            raise unknown_name("arm", arm, self._backend.arms)
        with self._backend.lock:
            self._backend.world.push(list(self._backend.arms).index(arm), np.asarray(wrench_base))

    def render(
        self, camera: str, height: int, width: int, *, pretty: bool = False
    ) -> NDArray[np.uint8]:
        """One RGB frame (height, width, 3); `pretty` adds shadows and smooth edges, and is slower.

        Cameras: "front", "side", "portrait" of the cell, "<arm prefix>wrist", and the fragment's.
        """
        world, lock = self._backend.world, self._backend.lock
        with self._drawing:
            if self._camera is None:
                self._camera = Camera(world.model)
            return self._camera.render(world.data, lock, camera, height, width, pretty)

    def close(self) -> None:
        """Free the renderer."""
        if self._camera is not None:
            self._camera.close()
            self._camera = None
