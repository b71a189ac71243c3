"""Random pictures of the simulated cell, and what the simulator knows of each: for pre-training.

A third of the scenes look exactly as `pick_cube` does from pixels, a sixth as `reach`; the rest
have other colours, textures, lights, cameras and things on the table. Arms are placed, not moved:
no physics.
"""

# pyright: reportAttributeAccessIssue=false
# (mujoco ships no types for what its extension modules export)

from __future__ import annotations

import math
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from benchmarks.pretrain_eye import PX, SEGMENTS_PX, Eye, Sight
from envs.tasks import pick_cube, reach
from envs.tasks.cube import CUBE_M
from robot_servers.control import se3
from robot_servers.models.base import MODELS
from robot_servers.simulation.cell import build_cell, compile_cell

Array = NDArray[Any]

MODEL = "panda"
LOOKS = ("pick", "reach", "random")
SHARES = (0.33, 0.17, 0.5)
"""How a scene looks, and how often."""
VIEWS = {"pick": ("front", "wrist"), "reach": ("reach_ahead", "reach_across")}
"""The two cameras of a task's pixels; a random scene has one of the two pairs."""

DISTRACTORS = 4
TEXTURES = 8
SHAPES = {"sphere": 2, "capsule": 3, "ellipsoid": 4, "cylinder": 5, "box": 6}
"""mjtGeom numbers of what may lie about."""
AWAY = np.array([0.0, 0.0, -5.0])
"""Where a body is that is not in the scene."""

SAMPLE: dict[str, tuple[tuple[int, ...], str]] = {
    "frames": ((2, PX, PX, 3), "uint8"),
    "segments": ((2, SEGMENTS_PX, SEGMENTS_PX, 5), "uint8"),
    "depth": ((2, SEGMENTS_PX, SEGMENTS_PX), "float16"),
    "T_base_tcp": ((4, 4), "float32"),
    "T_base_cube": ((4, 4), "float32"),
    "T_base_goal": ((4, 4), "float32"),
    "T_base_camera": ((2, 4, 4), "float32"),
    "focal_px": ((2,), "float32"),
    "width_m": ((), "float32"),
    "look": ((), "uint8"),
    "cube": ((), "bool"),
    "goal": ((), "bool"),
}
"""Shape and element type of each array of a sample; the 2 are the cameras."""


class Scenes:
    """Draws samples; the same seed draws the same ones.

    Args:
        shares: of LOOKS.
    """

    def __init__(self, seed: int, shares: tuple[float, ...] = SHARES) -> None:
        import mujoco

        self._mj = mujoco
        self._rng = np.random.default_rng(seed)
        self._shares = shares
        self._robot = MODELS.get(MODEL)
        xml = build_cell({"": MODEL}, {}, 0.002, _fragment(self._rng))
        self._model: Any = compile_cell(xml)
        self._data: Any = mujoco.MjData(self._model)
        self._plain = _looks(self._model)
        self._eye = Eye(self._model)
        self._q = np.asarray(self._robot.description.q_home_rad, np.float64)

    def draw(self) -> dict[str, Array]:
        """One sample, as SAMPLE says."""
        rng, look = self._rng, int(self._rng.choice(len(LOOKS), p=self._shares))
        name = LOOKS[look]
        views = VIEWS[name if name in VIEWS else str(rng.choice(["pick", "pick", "reach"]))]
        self._dress(name, views)
        cube = name == "pick" or (name == "random" and rng.random() < 0.85)
        goal = name == "reach" or (name == "random" and rng.random() < 0.3)
        T_cube, T_tcp, width = self._arrange(name)
        T_tcp = self._pose_arm(T_tcp, width)
        T_goal = _goal_pose(rng, T_tcp)
        self._put("cube", T_cube if cube else None)
        self._put("goal", T_goal if goal else None)
        self._mj.mj_kinematics(self._model, self._data)
        self._mj.mj_comPos(self._model, self._data)
        self._mj.mj_camlight(self._model, self._data)
        sights = [self._eye.look(self._data, camera) for camera in views]
        return _sample(sights, T_tcp, T_cube, T_goal, width, look, cube, goal)

    def close(self) -> None:
        self._eye.close()

    def _arrange(self, look: str) -> tuple[Array, Array, float]:
        """Cube, wanted TCP and opening [m]: far apart, close, or the cube in the hand."""
        rng = self._rng
        wide = (0.15, 0.25) if rng.random() < 0.4 else (0.1, 0.15)
        x, y = np.array([0.5, 0.0]) + rng.uniform(-1, 1, 2) * wide
        T_cube = se3.pose_from_rotvec((x, y, CUBE_M / 2), (0, 0, rng.uniform(-math.pi, math.pi)))
        width = float(rng.choice([0.0, 0.08, rng.uniform(0.0, 0.08)], p=[0.15, 0.45, 0.4]))
        turn = rng.uniform(-1, 1, 3) * (0.1, 0.1, 1.6)
        p = rng.uniform((0.32, -0.25, 0.013), (0.68, 0.25, 0.32))
        kind = rng.random()
        if look == "reach":
            p = rng.uniform((0.30, -0.25, 0.12), (0.70, 0.25, 0.58))
            turn = rng.uniform(-0.5, 0.5, 3) * (rng.random() < 0.4)
        elif kind < 0.35:  # above the cube or beside it
            p = np.array([x, y, 0.02]) + rng.normal(size=3) * (0.04, 0.04, 0.0)
            p[2] += abs(rng.normal()) * 0.08
        elif kind < 0.55:  # in the hand, lifted in most cases
            width = CUBE_M
            p = np.array([x, y, CUBE_M / 2 + max(0.0, rng.uniform(-0.05, 0.2))])
        T_tcp = se3.pose_from_quat(p, (1.0, 0.0, 0.0, 0.0))
        T_tcp[:3, :3] = T_tcp[:3, :3] @ se3.matrix_from_rotvec(turn)
        if look != "reach" and 0.35 <= kind < 0.55:
            slip = rng.normal(size=3) * (0.006, 0.0, 0.005)
            quarter = rng.integers(4) * math.pi / 2 + rng.normal() * 0.05
            T_cube = T_tcp @ se3.pose_from_rotvec(slip, (0, 0, quarter))
        return T_cube, T_tcp, width

    def _pose_arm(self, T_base_tcp: Array, width_m: float) -> Array:
        """Put the arm there by damped least squares; returns where its TCP came to be."""
        robot = self._robot
        q = np.asarray(robot.description.q_home_rad, np.float64).copy()
        for _ in range(12):
            error = se3.pose_error(T_base_tcp, robot.T_base_tcp(q))
            if np.abs(error).max() < 1e-3:
                break
            J = robot.jacobian(q)
            q += J.T @ np.linalg.solve(J @ J.T + 1e-3 * np.eye(6), error)
        self._data.qpos[:7] = q
        fingers = [self._model.joint(name).qposadr[0] for name in robot.names.finger_joints]
        self._data.qpos[fingers] = width_m / 2
        return robot.T_base_tcp(q)

    def _put(self, body: str, T_base_body: Array | None) -> None:
        at = self._model.joint(body).qposadr[0]
        p, (x, y, z, w) = se3.pose_to_quat(np.eye(4) if T_base_body is None else T_base_body)
        self._data.qpos[at : at + 3] = AWAY if T_base_body is None else p
        self._data.qpos[at + 3 : at + 7] = w, x, y, z

    def _dress(self, look: str, views: tuple[str, str]) -> None:
        """The cell as it is, or with everything about its looks drawn anew."""
        model, rng = self._model, self._rng
        for name, values in self._plain.items():
            getattr(model, name)[:] = values
        things = [model.body(f"thing{i}").id for i in range(DISTRACTORS)]
        model.body_pos[things] = AWAY
        if look != "random":
            return
        _colours(model, rng)
        _lights(model, rng)
        _cameras(model, rng, views)
        for body in things[: rng.integers(DISTRACTORS + 1)]:
            _thing(model, rng, body)


def _fragment(rng: np.random.Generator) -> str:
    """MJCF of both tasks' bodies, a few things, and textures that a table may get."""
    root = ElementTree.Element("mujoco")
    assets = ElementTree.SubElement(root, "asset")
    for i in range(TEXTURES):
        rgb = [" ".join(f"{v:.3f}" for v in rng.uniform(0.2, 1.0, 3)) for _ in range(3)]
        attributes = {
            "name": f"texture{i}",
            "type": "2d",
            "builtin": ("checker", "gradient", "flat")[i % 3],
            "mark": ("none", "random", "edge")[i // 3],
            "random": "0.05",
            "rgb1": rgb[0],
            "rgb2": rgb[1],
            "markrgb": rgb[2],
            "width": "64",
            "height": "64",
        }
        ElementTree.SubElement(assets, "texture", attributes)
    for task, text in (("pick", pick_cube.MJCF), ("reach", reach.MJCF)):
        for child in ElementTree.fromstring(text).find("worldbody") or ():
            if child.tag == "camera":
                child.set("name", f"{task}_{child.get('name')}")
            root.append(child)
    for i in range(DISTRACTORS):
        body = ElementTree.SubElement(root, "body", name=f"thing{i}")
        ElementTree.SubElement(body, "geom", type="box", size="0.02 0.02 0.02", group="2")
    return ElementTree.tostring(root, encoding="unicode")


def _looks(model: Any) -> dict[str, Array]:
    """A copy of all that `_dress` changes."""
    names = (
        "mat_rgba mat_texid mat_texrepeat geom_rgba geom_size geom_type body_pos body_quat "
        "light_dir light_diffuse light_specular cam_pos cam_quat cam_fovy"
    )
    return {name: getattr(model, name).copy() for name in names.split()}


def _colours(model: Any, rng: np.random.Generator) -> None:
    """Table, floor, arm, cube and goal; half the cubes stay red."""
    rgba = model.mat_rgba
    for name in ("table_top", "floor", "table_leg"):
        rgba[model.mat(name).id, :3] = rng.uniform(0.25, 1.1) * rng.uniform(0.5, 1.0, 3)
    for name in ("table_top", "floor"):
        if rng.random() < 0.6:
            material = model.mat(name).id
            model.mat_texid[material, :] = -1
            model.mat_texid[material, 1] = model.tex(f"texture{rng.integers(TEXTURES)}").id
            model.mat_texrepeat[material] = rng.uniform(0.5, 8.0, 2)
    for name in ("shell", "grey", "dark", "accent", "metal"):
        row = rgba[model.mat(name).id]
        row[:3] = np.clip(row[:3] * rng.uniform(0.6, 1.1) + rng.normal(size=3) * 0.06, 0, 1)
    cube = model.geom("cube").id
    tint = rng.normal(size=3) * 0.08
    fresh = rng.uniform(0.0, 1.0, 3)
    model.geom_rgba[cube, :3] = np.clip(
        model.geom_rgba[cube, :3] + tint if rng.random() < 0.5 else fresh, 0, 1
    )
    model.geom_size[cube] *= rng.uniform(0.85, 1.2)
    goal = model.geom_bodyid == model.body("goal").id
    model.geom_rgba[goal, :3] = np.clip(
        model.geom_rgba[goal, :3] + rng.normal(size=(goal.sum(), 3)) * 0.1, 0, 1
    )


def _lights(model: Any, rng: np.random.Generator) -> None:
    model.light_diffuse[:] *= rng.uniform(0.6, 1.5) * rng.uniform(0.85, 1.15, (model.nlight, 3))
    model.light_dir[:] += rng.normal(size=(model.nlight, 3)) * 0.3
    model.light_dir[:] /= np.linalg.norm(model.light_dir, axis=1, keepdims=True)
    model.light_specular[:] *= rng.uniform(0.0, 2.0)


def _cameras(model: Any, rng: np.random.Generator, views: tuple[str, str]) -> None:
    """Both views shaken; one front view in three from somewhere in front or beside."""
    shake = 0.01 if rng.random() < 0.5 else 0.03
    for name in views:
        camera = model.cam(name).id
        model.cam_pos[camera] += rng.normal(size=3) * shake * (0.3 if name == "wrist" else 1.0)
        q = np.roll(model.cam_quat[camera], -1)
        R = se3.matrix_from_quat(q) @ se3.matrix_from_rotvec(rng.normal(size=3) * shake)
        model.cam_quat[camera] = np.roll(se3.quat_from_matrix(R), 1)
        model.cam_fovy[camera] *= rng.uniform(0.93, 1.07)
    if views[0] != "front" or rng.random() > 0.33:
        return
    around, up, far = rng.uniform(-1.0, 1.0), rng.uniform(0.35, 1.0), rng.uniform(0.65, 1.0)
    aim = np.array([0.5, 0.0, 0.1]) + rng.normal(size=3) * 0.04
    z = np.array([math.cos(around) * math.cos(up), math.sin(around) * math.cos(up), math.sin(up)])
    x = np.cross((0.0, 0.0, 1.0), z)
    x /= np.linalg.norm(x)
    front = model.cam("front").id
    R = np.stack([x, np.cross(z, x), z], axis=1)
    model.cam_pos[front], model.cam_fovy[front] = aim + far * z, rng.uniform(32, 46)
    model.cam_quat[front] = np.roll(se3.quat_from_matrix(R), 1)


def _thing(model: Any, rng: np.random.Generator, body: int) -> None:
    geom = int(model.body_geomadr[body])
    model.geom_type[geom] = rng.choice(list(SHAPES.values()))
    model.geom_size[geom] = rng.uniform(0.008, 0.04, 3)
    model.geom_rgba[geom] = (*rng.uniform(0, 1, 3), 1.0)
    x, y = rng.uniform((0.2, -0.4), (0.8, 0.4))
    model.body_pos[body] = x, y, model.geom_size[geom, 2]
    model.body_quat[body] = np.roll(
        se3.quat_from_matrix(se3.matrix_from_rotvec(np.array([0.0, 0.0, rng.uniform(-3, 3)]))), 1
    )


def _goal_pose(rng: np.random.Generator, T_base_tcp: Array) -> Array:
    """As `reach` draws it; one in three close to the TCP, where a policy spends its time."""
    T = se3.pose_from_quat(
        rng.uniform((0.34, -0.21, 0.19), (0.66, 0.21, 0.51)), (1.0, 0.0, 0.0, 0.0)
    )
    if rng.random() < 0.5:  # from pixels it is upright
        T[:3, :3] = T[:3, :3] @ se3.matrix_from_rotvec(rng.uniform(-1, 1, 3) * math.radians(30))
    if rng.random() < 0.35:
        T[:3, 3] = T_base_tcp[:3, 3] + rng.normal(size=3) * 0.04
    return T


def _sample(
    sights: list[Sight],
    T_tcp: Array,
    T_cube: Array,
    T_goal: Array,
    width_m: float,
    look: int,
    cube: bool,
    goal: bool,
) -> dict[str, Array]:
    values = {
        "frames": [sight.frame for sight in sights],
        "segments": [sight.segments for sight in sights],
        "depth": [sight.depth_m for sight in sights],
        "T_base_tcp": T_tcp,
        "T_base_cube": T_cube,
        "T_base_goal": T_goal,
        "T_base_camera": [sight.T_base_camera for sight in sights],
        "focal_px": [sight.focal_px for sight in sights],
        "width_m": width_m,
        "look": look,
        "cube": cube,
        "goal": goal,
    }
    return {name: np.asarray(values[name], dtype) for name, (_, dtype) in SAMPLE.items()}
