"""Pick up a cube: grasp it by friction and hold it 10 cm above where it lay."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import gymnasium
import numpy as np
from numpy.typing import NDArray

from envs.config import ActionConfig, ArmConfig, RobotEnvConfig, SafetyBox
from envs.spaces import AXES, XYZ, FieldSpec
from envs.tasks.base import TASKS, Hold, Outcome, View, paced

Array = NDArray[np.float64]

CUBE_M = 0.04
"""Edge of the cube [m]."""

MJCF = f"""
<mujoco model="pick_cube">
  <worldbody>
    <body name="cube" pos="0.5 0 {CUBE_M / 2}">
      <freejoint name="cube"/>
      <geom name="cube" type="box" size="{CUBE_M / 2} {CUBE_M / 2} {CUBE_M / 2}" mass="0.1"
            friction="1 0.01 0.0001" rgba="0.85 0.22 0.16 1"/>
    </body>
    <camera name="video" pos="1.25 -0.9 0.72" xyaxes="0.711 0.703 0 -0.236 0.238 0.942" fovy="41"/>
  </worldbody>
</mujoco>
"""


@dataclass(frozen=True, kw_only=True)
class PickCubeConfig(RobotEnvConfig):
    """Lift a 4 cm, 0.1 kg cube from anywhere in 0.2 x 0.3 m, at any yaw."""

    task_name: ClassVar[str] = "pick_cube"
    task_fields: ClassVar[Mapping[str, FieldSpec]] = {
        "tcp_to_cube": FieldSpec(XYZ, "m", scale=0.1),
        "cube_height": FieldSpec((), "m", scale=0.1),
        "cube_yaw": FieldSpec(("cos4", "sin4"), "1"),
        "cube_lin_vel": FieldSpec(XYZ, "m/s", scale=0.5),
        "hold_fraction": FieldSpec((), "1"),
    }
    """tcp_to_cube: in TCP axes. cube_height: above where a cube rests on the table. cube_yaw: of
    the cube about the TCP's z, four times over, for a cube looks the same every quarter turn.
    cube_lin_vel: in TCP axes. hold_fraction: share of the hold time that the cube has been up."""

    arms: tuple[ArmConfig, ...] = (
        ArmConfig(
            start_pos_m=(0.5, 0.0, 0.20),
            start_noise_m=(0.04, 0.04, 0.03),
            box=SafetyBox(
                low_m=(0.34, -0.22, 0.013),
                high_m=(0.66, 0.22, 0.30),
                rotation_rad=(0.1, 0.1, 1.6),
            ),
        ),
    )
    action: ActionConfig = field(default_factory=lambda: ActionConfig(translation_step_m=0.025))
    state: tuple[str, ...] = (
        "tcp_pos",
        "tcp_lin_vel",
        "ref_pos",
        "gripper_width",
        "gripper_target",
        "tcp_to_cube",
        "cube_height",
        "cube_yaw",
        "hold_fraction",
    )
    reward: str = "sparse"
    """sparse: 1 at success. dense: adds up to 0.01 per step for reaching and 0.02 for lifting."""

    spread_m: tuple[float, float] = (0.2, 0.3)
    """Size of the rectangle around (0.5, 0) that the cube starts in, x and y [m]."""
    lift_m: float = 0.1
    """How far above its resting height the cube must be [m]."""
    hold_s: float = 0.5
    """For how long, without a break [s]."""
    mass_kg: tuple[float, float] = (0.1, 0.1)
    """Mass of the cube, drawn per episode from this range [kg]."""
    friction: tuple[float, float] = (1.0, 1.0)
    """Sliding friction of the cube, drawn per episode from this range."""

    def reward_weights(self) -> Mapping[str, Mapping[str, float]]:
        return {
            "sparse": {"success": 1.0},
            "dense": {"success": 1.0, "reach": 0.01, "lift": 0.02},
        }

    def make_task(self) -> PickCube:
        return PickCube(self)

    def expert(self, env: Any, *, noise: float = 0.0, seed: int = 0) -> PickCubeExpert:
        return PickCubeExpert(env, self, noise=noise, seed=seed)


@dataclass(frozen=True, kw_only=True)
class PickCubeHardConfig(PickCubeConfig):
    """The same over 0.3 x 0.5 m, with a cube whose mass and friction change per episode."""

    task_name: ClassVar[str] = "pick_cube_hard"

    arms: tuple[ArmConfig, ...] = (
        ArmConfig(
            start_pos_m=(0.5, 0.0, 0.20),
            start_noise_m=(0.04, 0.04, 0.03),
            box=SafetyBox(
                low_m=(0.30, -0.32, 0.013),
                high_m=(0.70, 0.32, 0.30),
                rotation_rad=(0.1, 0.1, 1.6),
            ),
        ),
    )
    spread_m: tuple[float, float] = (0.3, 0.5)
    mass_kg: tuple[float, float] = (0.07, 0.15)
    friction: tuple[float, float] = (0.7, 1.2)


class PickCube:
    """The running part: one cube, one counter."""

    mjcf = MJCF
    needs_objects = True

    def __init__(self, config: PickCubeConfig) -> None:
        self.config = config
        self.arm = config.arms[0].name
        self.hold = Hold(round(config.hold_s * config.control_hz))

    def place(self, rng: np.random.Generator) -> Sequence[Any]:
        from robot_servers.control import se3
        from robot_servers.types import SceneObject

        config = self.config
        half = 0.5 * np.array(config.spread_m)
        x, y = np.array([0.5, 0.0]) + rng.uniform(-half, half)
        yaw = rng.uniform(-math.pi, math.pi)
        return [
            SceneObject(
                name="cube",
                T_base_object=se3.pose_from_rotvec((x, y, CUBE_M / 2), (0.0, 0.0, yaw)),
                mass_kg=float(rng.uniform(*config.mass_kg)),
                friction=float(rng.uniform(*config.friction)),
            )
        ]

    def begin(self, view: View) -> Outcome:
        self.hold.update(False)
        return self._outcome(view, success=False)

    def step(self, view: View) -> Outcome:
        lifted = view.object_poses["cube"][2, 3] - CUBE_M / 2 >= self.config.lift_m
        return self._outcome(view, success=self.hold.update(lifted))

    def _outcome(self, view: View, *, success: bool) -> Outcome:
        T_tcp = view.arms[self.arm].T_base_tcp
        T_cube = view.object_poses["cube"]
        R = T_tcp[:3, :3]
        offset = (T_cube[:3, 3] - T_tcp[:3, 3]) @ R
        side = T_cube[:3, 0] @ R  # the cube's x axis in TCP axes
        yaw4 = 4.0 * math.atan2(side[1], side[0])
        height = T_cube[2, 3] - CUBE_M / 2
        distance = math.sqrt(float(offset @ offset))
        return Outcome(
            fields={
                "tcp_to_cube": offset,
                "cube_height": height,
                "cube_yaw": (math.cos(yaw4), math.sin(yaw4)),
                "cube_lin_vel": view.object_twists["cube"][:3] @ R,
                "hold_fraction": self.hold.fraction,
            },
            success=success,
            terms={
                "success": float(success),
                "reach": math.exp(-20.0 * distance),
                "lift": min(1.0, max(0.0, height / self.config.lift_m)),
            },
        )


class PickCubeExpert:
    """Goes above the cube, down, closes, lifts, and holds. Looks at the simulator's cube."""

    above_m = 0.08
    centred_m = 0.012

    def __init__(self, env: Any, config: PickCubeConfig, *, noise: float, seed: int) -> None:
        self._robot = env.unwrapped
        self._config = config
        self._arm = config.arms[0]
        self._noise = noise
        self._rng = np.random.default_rng(seed)
        self._closing = 0

    def reset(self) -> None:
        self._closing = 0

    def act(self) -> NDArray[np.float32]:
        state = self._robot.states[self._arm.name]
        p_cube = self._robot.backend.scene.object_poses()["cube"][:3, 3]
        p_tcp = state.T_base_tcp[:3, 3]
        p_ref = self._robot.references[self._arm.name][:3, 3]
        aside = float(np.hypot(*(p_cube - p_tcp)[:2]))
        grip = 1.0
        if self._closing or (aside < self.centred_m and p_tcp[2] - p_cube[2] < 0.006):
            self._closing += 1
            grip = -1.0
        lost = self._closing > 10 and p_tcp[2] - p_cube[2] > 0.03
        if lost:  # slipped out: open and start again
            self._closing, grip = 0, 1.0
        goal = np.array([p_cube[0], p_cube[1], max(p_cube[2], self._arm.box.low_m[2])])
        if self._closing:
            lift = self._config.lift_m + 0.03 if self._closing > 7 else 0.0
            goal = np.array([p_ref[0], p_ref[1], CUBE_M / 2 + lift])
        elif aside > 0.5 * (p_tcp[2] - p_cube[2]) + self.centred_m / 2:  # outside a cone over it
            goal[2] += self.above_m
        move = self._action_of(goal - p_ref, state.T_base_tcp[:3, :3])
        noisy = move + self._noise * self._rng.standard_normal(move.shape)
        return np.clip(np.append(noisy, grip), -1.0, 1.0).astype(np.float32)

    def _action_of(self, displacement: Array, R_base_tcp: Array) -> Array:
        """The agent's axes of a displacement in base [m], at a pace below the largest step."""
        action = self._config.action
        if action.frame == "tcp":
            displacement = displacement @ R_base_tcp
        full = np.zeros(6)
        full[:3] = paced(displacement / action.translation_step_m)
        return full[[AXES.index(axis) for axis in action.axes]]


TASKS.register("pick_cube")(PickCubeConfig)
TASKS.register("pick_cube_hard")(PickCubeHardConfig)
gymnasium.register(id="serl/PickCube-v0", entry_point=PickCubeConfig.gym_make)
gymnasium.register(id="serl/PickCubeHard-v0", entry_point=PickCubeHardConfig.gym_make)
