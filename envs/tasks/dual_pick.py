"""Two arms side by side at one table: each picks up its own cube, and both hold theirs up."""

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

Array = NDArray[np.float64]

SIDES = ("left", "right")

BASE_Y_M = 0.3
"""Each base stands this far to its side of the table's middle, looking along x."""

MJCF = f"""
<mujoco model="dual_pick">
  <worldbody>{cube_body("left_cube", rgba="0.85 0.22 0.16 1")}
    {cube_body("right_cube", rgba="0.16 0.42 0.80 1")}
    <camera name="video" pos="1.75 -0.85 1.0" xyaxes="0.563 0.826 0 -0.372 0.253 0.893" fovy="44"/>
  </worldbody>
</mujoco>
"""


def _arm(side: str) -> ArmConfig:
    """The boxes of the two arms stay 0.3 m apart: a hand is 0.2 m wide."""
    return ArmConfig(
        name=side,
        base_pos_m=(0.0, BASE_Y_M if side == "left" else -BASE_Y_M, 0.0),
        start_pos_m=(0.5, 0.0, 0.20),
        start_noise_m=(0.04, 0.04, 0.03),
        box=SafetyBox(
            low_m=(0.34, -0.15, 0.013), high_m=(0.66, 0.15, 0.30), rotation_rad=(0.1, 0.1, 1.6)
        ),
    )


@dataclass(frozen=True, kw_only=True)
class DualPickConfig(RobotEnvConfig):
    """Lift two 4 cm, 0.1 kg cubes at once, each from anywhere in 0.2 x 0.2 m before its arm."""

    task_name: ClassVar[str] = "dual_pick"
    task_fields: ClassVar[Mapping[str, FieldSpec]] = {
        **{f"{side}/{name}": spec for name, spec in CUBE_FIELDS.items() for side in SIDES},
        "hold_fraction": FieldSpec((), "1"),
    }
    """Of each arm's own cube, as `CUBE_FIELDS`. hold_fraction: share of the hold time that both
    cubes have been up."""

    arms: tuple[ArmConfig, ...] = (_arm("left"), _arm("right"))
    action: ActionConfig = field(default_factory=lambda: ActionConfig(translation_step_m=0.025))
    state: tuple[str, ...] = (
        "tcp_pos",
        "tcp_lin_vel",
        "ref_pos",
        "gripper_width",
        "gripper_target",
        *(
            f"{side}/{name}"
            for name in ("tcp_to_cube", "cube_height", "cube_yaw")
            for side in SIDES
        ),
        "hold_fraction",
    )
    reward: str = "sparse"
    """sparse: 1 at success. dense: adds up to 0.01 per step for reaching and 0.02 for lifting, the
    mean of both arms."""

    spread_m: tuple[float, float] = (0.2, 0.2)
    """Size of the rectangle around (0.5, 0) in each arm's base that its cube starts in [m]."""
    lift_m: float = 0.1
    """How far above their resting height both cubes must be [m]."""
    hold_s: float = 0.5
    """For how long, without a break [s]."""

    def reward_weights(self) -> Mapping[str, Mapping[str, float]]:
        return {
            "sparse": {"success": 1.0},
            "dense": {"success": 1.0, "reach": 0.01, "lift": 0.02},
        }

    def make_task(self) -> DualPick:
        return DualPick(self)

    def expert(self, env: Any, *, noise: float = 0.0, seed: int = 0) -> DualPickExpert:
        return DualPickExpert(env, self, noise=noise, seed=seed)


def bases_in_first(config: RobotEnvConfig) -> dict[str, Array]:
    """T_first_base (4, 4) by arm name: objects are told in the base of the first arm."""
    from robot_servers.control import se3

    T_world = {
        arm.name: se3.pose_from_rotvec(arm.base_pos_m, (0.0, 0.0, arm.base_yaw_rad))
        for arm in config.arms
    }
    T_first_world = se3.inverse(T_world[config.arms[0].name])
    return {name: T_first_world @ T for name, T in T_world.items()}


class DualPick:
    """The running part: a cube each, one counter."""

    mjcf = MJCF
    needs_objects = True

    def __init__(self, config: DualPickConfig) -> None:
        from robot_servers.control import se3

        self.config = config
        self.T_first_base = bases_in_first(config)
        self.T_base_first = {name: se3.inverse(T) for name, T in self.T_first_base.items()}
        self.hold = Hold(round(config.hold_s * config.control_hz))

    def place(self, rng: np.random.Generator) -> Sequence[Any]:
        from robot_servers.control import se3
        from robot_servers.types import SceneObject

        half = 0.5 * np.array(self.config.spread_m)
        placed = []
        for name, T_first_base in self.T_first_base.items():
            x, y = np.array([0.5, 0.0]) + rng.uniform(-half, half)
            yaw = rng.uniform(-math.pi, math.pi)
            T_base_cube = se3.pose_from_rotvec((x, y, CUBE_M / 2), (0.0, 0.0, yaw))
            placed.append(
                SceneObject(name=f"{name}_cube", T_base_object=T_first_base @ T_base_cube)
            )
        return placed

    def begin(self, view: View) -> Outcome:
        self.hold.update(False)
        return self._outcome(view, success=False)

    def step(self, view: View) -> Outcome:
        heights = [view.object_poses[f"{arm.name}_cube"][2, 3] for arm in self.config.arms]
        lifted = min(heights) - CUBE_M / 2 >= self.config.lift_m
        return self._outcome(view, success=self.hold.update(lifted))

    def _outcome(self, view: View, *, success: bool) -> Outcome:
        fields: dict[str, Any] = {}
        terms: list[dict[str, float]] = []
        for name, T_base_first in self.T_base_first.items():
            own = cube_fields(
                view.arms[name].T_base_tcp,
                T_base_first @ view.object_poses[f"{name}_cube"],
                T_base_first[:3, :3] @ view.object_twists[f"{name}_cube"][:3],
            )
            terms.append(cube_terms(own, self.config.lift_m))
            fields |= {f"{name}/{key}": value for key, value in own.items()}
        means = {key: sum(t[key] for t in terms) / len(terms) for key in terms[0]}
        return Outcome(
            fields={**fields, "hold_fraction": self.hold.fraction},
            success=success,
            terms={"success": float(success), **means},
        )


class DualPickExpert:
    """Two scripted hands at once; the one that is up first waits there."""

    def __init__(self, env: Any, config: DualPickConfig, *, noise: float, seed: int) -> None:
        self._robot = env.unwrapped
        self._hands = {arm.name: CubeHand(arm, config.action, config.lift_m) for arm in config.arms}
        self._T_base_first = self._robot.task.T_base_first
        self._noise = noise
        self._rng = np.random.default_rng(seed)

    def reset(self) -> None:
        for hand in self._hands.values():
            hand.reset()

    def act(self) -> NDArray[np.float32]:
        cubes, rows = self._robot.backend.scene.object_poses(), []
        for name, hand in self._hands.items():
            T_base_cube = self._T_base_first[name] @ cubes[f"{name}_cube"]
            p_ref = self._robot.references[name][:3, 3]
            T_base_tcp = self._robot.states[name].T_base_tcp
            move, grip = hand.act(T_base_cube[:3, 3], T_base_tcp, p_ref)
            noisy = move + self._noise * self._rng.standard_normal(move.shape)
            rows.append(np.append(noisy, grip))
        return np.clip(np.concatenate(rows), -1.0, 1.0).astype(np.float32)


TASKS.register("dual_pick")(DualPickConfig)
gymnasium.register(id="serl/DualPick-v0", entry_point=DualPickConfig.gym_make)
