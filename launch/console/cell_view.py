"""The cell in 3-D: our own primitive shapes, posed from the arms' live joints, shown by viser.

A model of the cell of its own is compiled from the experiment, for its shapes and its kinematics;
it never touches the simulator's. So a real arm is shown as a simulated one is. Viser's server
listens on loopback alone and is shown through the console's.
"""

# pyright: reportAttributeAccessIssue=false
# (mujoco ships no types for what its extension modules export)

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from launch.experiments import need
from launch.ports import free_port
from robot_servers.control import se3
from robot_servers.models.base import MODELS
from robot_servers.models.pieces import COLLISION_GROUP
from robot_servers.simulation.cell import arm_prefix, build_cell, compile_cell

Array = NDArray[np.float64]

EYE_M, LOOK_AT_M = (1.3, -0.85, 0.72), (0.33, 0.0, 0.2)
"""Where the 3-D view is first seen from, in the world."""
STILL_M = 1e-5
"""A body that moved less than this is not sent again."""
SHAPE_NAMES = {2: "sphere", 3: "capsule", 4: "ellipsoid", 5: "cylinder", 6: "box"}
"""By the value of mjtGeom."""


class CellView:
    """A viser server with the cell in it.

    Args:
        config: the env's.
        mjcf: the task's fragment.
    """

    def __init__(self, config: Any, mjcf: str) -> None:
        mujoco = need("mujoco", "sim")
        poses = {
            arm.name: se3.pose_from_rotvec(arm.base_pos_m, (0.0, 0.0, arm.base_yaw_rad))
            for arm in config.arms
        }
        self._mj = mujoco
        self._robots = {arm.name: MODELS.get(arm.robot) for arm in config.arms}
        self._T_world_first = poses[config.arms[0].name]
        models = {arm.name: arm.robot for arm in config.arms}
        self._model = compile_cell(build_cell(models, poses, config.physics_dt_s, mjcf))
        self._data = mujoco.MjData(self._model)
        self._server = _viser()
        self.port: int = self._server._websock_server._port
        self._bodies = self._draw()
        self._draw_boxes(config, poses)
        self._sent = np.full((self._model.nbody, 7), np.nan)

    @property
    def watched(self) -> bool:
        """Someone looks."""
        return bool(self._server.get_clients())

    def update(self, look: Mapping[str, Any]) -> None:
        """Show these states and objects; from one thread."""
        for name, state in look["states"].items():
            self._pose_arm(name, state)
        for name, T_base_object in look["objects"].items():
            self._pose_object(name, T_base_object)
        self._mj.mj_kinematics(self._model, self._data)
        with self._server.atomic():
            for body, frame in self._bodies.items():
                now = np.concatenate((self._data.xpos[body], self._data.xquat[body]))
                if not np.allclose(now, self._sent[body], rtol=0, atol=STILL_M):
                    self._sent[body] = now
                    frame.position, frame.wxyz = now[:3], now[3:]

    def close(self) -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            self._server.stop()

    def _pose_arm(self, name: str, state: Any) -> None:
        robot, prefix = self._robots[name], arm_prefix(name)
        for joint, q in zip(robot.description.joint_names, state.q_rad, strict=True):
            self._data.qpos[self._model.joint(prefix + joint).qposadr[0]] = q
        fingers = robot.names.finger_joints
        for finger in fingers:
            at = self._model.joint(prefix + finger).qposadr[0]
            self._data.qpos[at] = state.gripper_width_m / len(fingers)

    def _pose_object(self, name: str, T_base_object: Array) -> None:
        joint = self._model.body(name).jntadr[0]
        at = self._model.jnt_qposadr[joint]
        p, (x, y, z, w) = se3.pose_to_quat(self._T_world_first @ T_base_object)
        self._data.qpos[at : at + 7] = (*p, w, x, y, z)

    def _draw(self) -> dict[int, Any]:
        """A frame for each body with something to see, and its shapes below it, one mesh for each
        colour."""
        frames: dict[int, Any] = {}
        self._mj.mj_kinematics(self._model, self._data)
        for body in range(self._model.nbody):
            for k, (rgba, mesh) in enumerate(self._meshes(body)):
                if body not in frames:
                    frames[body] = self._server.scene.add_frame(f"/cell/{body}", show_axes=False)
                self._server.scene.add_mesh_simple(
                    f"/cell/{body}/{k}",
                    mesh.vertices.astype(np.float32),
                    mesh.faces.astype(np.uint32),
                    color=tuple(round(255 * c) for c in rgba[:3]),
                    opacity=float(rgba[3]) if rgba[3] < 1 else None,
                    cast_shadow=False,
                    receive_shadow=False,
                )
        return frames

    def _meshes(self, body: int) -> Iterator[tuple[tuple[float, ...], Any]]:
        """The visible shapes of a body in its own frame, joined by colour."""
        import trimesh

        by_colour: dict[tuple[float, ...], list[Any]] = {}
        for geom in map(int, np.flatnonzero(self._model.geom_bodyid == body)):
            shape = SHAPE_NAMES.get(int(self._model.geom_type[geom]))
            if shape is None or self._model.geom_group[geom] == COLLISION_GROUP:
                continue
            mesh = _mesh(shape, self._model.geom_size[geom])
            w, x, y, z = self._model.geom_quat[geom]
            mesh.apply_transform(se3.pose_from_quat(self._model.geom_pos[geom], (x, y, z, w)))
            by_colour.setdefault(self._colour(geom), []).append(mesh)
        for rgba, meshes in by_colour.items():
            yield rgba, trimesh.util.concatenate(meshes)

    def _colour(self, geom: int) -> tuple[float, ...]:
        material = self._model.geom_matid[geom]
        rgba = self._model.geom_rgba[geom] if material < 0 else self._model.mat_rgba[material]
        return tuple(float(v) for v in rgba)

    def _draw_boxes(self, config: Any, poses: Mapping[str, Array]) -> None:
        """Where each arm's TCP may go."""
        for arm in config.arms:
            low, high = np.array(arm.box.low_m), np.array(arm.box.high_m)
            lines = np.array(list(_box_lines(low, high)))
            base = poses[arm.name]
            moved = lines @ base[:3, :3].T + base[:3, 3]
            self._server.scene.add_line_segments(
                f"/boxes/{arm.name or 'arm'}",
                points=moved.astype(np.float32),
                colors=(120, 140, 160),
                line_width=1.5,
            )


def _box_lines(low: Array, high: Array) -> Iterator[Array]:
    """The twelve edges of a box, (2, 3) each."""
    ends = (low, high)
    for axis in range(3):
        for k in range(4):
            a = np.empty(3)
            others = [i for i in range(3) if i != axis]
            for bit, i in enumerate(others):
                a[i] = ends[k >> bit & 1][i]
            b = a.copy()
            a[axis], b[axis] = low[axis], high[axis]
            yield np.array([a, b])


def _mesh(shape: str, size: Array) -> Any:
    """A primitive as triangles, centred, its axis along z; `size` as MuJoCo's [m]."""
    from trimesh import creation

    if shape == "box":
        return creation.box(extents=2 * size)
    if shape == "cylinder":
        return creation.cylinder(size[0], height=2 * size[1], sections=24)
    if shape == "capsule":
        mesh = creation.capsule(height=2 * size[1], radius=size[0], count=[16, 12])
        mesh.apply_translation(-mesh.bounds.mean(axis=0))
        return mesh
    mesh = creation.icosphere(subdivisions=2, radius=1.0)
    mesh.apply_scale(size if shape == "ellipsoid" else size[0])
    return mesh


def _viser() -> Any:
    """A quiet viser server on loopback, which offers nobody a way in from outside."""
    viser = need("viser", "console")
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its own address, which is not ours
        server = viser.ViserServer(host="127.0.0.1", port=free_port(), verbose=False)
    server.request_share_url = lambda verbose=True: None  # a tunnel to the Internet
    server.gui.configure_theme(show_logo=False, show_share_button=False, dark_mode=True)
    server.gui.main_panel.minimize()
    server.scene.configure_environment_map("warehouse", environment_intensity=0.3)
    server.scene.configure_default_lights(cast_shadow=False)
    server.initial_camera.position = EYE_M
    server.initial_camera.look_at = LOOK_AT_M
    return server
