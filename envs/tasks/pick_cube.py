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
from envs.spaces import FieldSpec
from envs.tasks.base import TASKS, Hold, Outcome, View
from envs.tasks.cube import CUBE_FIELDS, CUBE_M, CubeHand, cube_body, cube_fields, cube_terms

MJCF = f"""
<mujoco model="pick_cube">
  <worldbody>{cube_body("cube", rgba="0.85 0.22 0.16 1")}
    <camera name="video" pos="1.25 -0.9 0.72" xyaxes="0.711 0.703 0 -0.236 0.238 0.942" fovy="41"/>
  </worldbody>
</mujoco>
"""


@dataclass(frozen=True, kw_only=True)
class PickCubeConfig(RobotEnvConfig):
    """Lift a 4 cm, 0.1 kg cube from anywhere in 0.2 x 0.3 m, at any yaw."""

    task_name: ClassVar[str] = "pick_cube"
    task_fields: ClassVar[Mapping[str, FieldSpec]] = {
        **CUBE_FIELDS,
        "hold_fraction": FieldSpec((), "1"),
    }
    """hold_fraction: share of the hold time that the cube has been up."""

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
        T_tcp, T_cube = view.arms[self.arm].T_base_tcp, view.object_poses["cube"]
        fields = cube_fields(T_tcp, T_cube, view.object_twists["cube"][:3])
        return Outcome(
            fields={**fields, "hold_fraction": self.hold.fraction},
            success=success,
            terms={"success": float(success), **cube_terms(fields, self.config.lift_m)},
        )


class PickCubeExpert:
    """Goes above the cube, down, closes, lifts, and holds. Looks at the simulator's cube."""

    def __init__(self, env: Any, config: PickCubeConfig, *, noise: float, seed: int) -> None:
        self._robot = env.unwrapped
        self._arm = config.arms[0].name
        self._hand = CubeHand(config.arms[0], config.action, config.lift_m)
        self._noise = noise
        self._rng = np.random.default_rng(seed)

    def reset(self) -> None:
        self._hand.reset()

    def act(self) -> NDArray[np.float32]:
        p_cube = self._robot.backend.scene.object_poses()["cube"][:3, 3]
        p_ref = self._robot.references[self._arm][:3, 3]
        move, grip = self._hand.act(p_cube, self._robot.states[self._arm].T_base_tcp, p_ref)
        noisy = move + self._noise * self._rng.standard_normal(move.shape)
        return np.clip(np.append(noisy, grip), -1.0, 1.0).astype(np.float32)


TASKS.register("pick_cube")(PickCubeConfig)
TASKS.register("pick_cube_hard")(PickCubeHardConfig)
gymnasium.register(id="serl/PickCube-v0", entry_point=PickCubeConfig.gym_make)
gymnasium.register(id="serl/PickCubeHard-v0", entry_point=PickCubeHardConfig.gym_make)
