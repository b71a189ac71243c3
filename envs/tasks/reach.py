"""Bring the tool to a pose in the air: the smallest task that needs all six displacements."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

import gymnasium
import numpy as np
from numpy.typing import NDArray

from envs.cameras.config import CameraConfig
from envs.config import ActionConfig, ArmConfig, RobotEnvConfig, SafetyBox
from envs.spaces import AXES, XYZ, FieldSpec
from envs.tasks.base import TASKS, Hold, Outcome, View, paced

Array = NDArray[np.float64]
T = TypeVar("T", bound="ReachConfig")

MJCF = """
<mujoco model="reach">
  <worldbody>
    <body name="goal" pos="0.5 0 0.35" gravcomp="1">
      <freejoint name="goal"/>
      <geom type="sphere" size="0.02" mass="0.01" contype="0" conaffinity="0"
            rgba="0.2 0.7 0.35 0.6"/>
      <geom type="capsule" fromto="0 0 -0.09 0 0 0" size="0.005" mass="0.001" contype="0"
            conaffinity="0" rgba="0.2 0.4 0.9 0.6"/>
      <geom type="capsule" fromto="0 -0.05 0 0 0.05 0" size="0.005" mass="0.001" contype="0"
            conaffinity="0" rgba="0.2 0.7 0.35 0.6"/>
    </body>
    <camera name="ahead" pos="1.45 0 0.37" xyaxes="0 1 0 0 0 1" fovy="36"/>
    <camera name="across" pos="0.5 -1.0 0.37" xyaxes="1 0 0 0 0 1" fovy="38"/>
    <camera name="video" pos="1.35 -0.95 0.8" xyaxes="0.700 0.714 0 -0.234 0.229 0.945" fovy="41"/>
  </worldbody>
</mujoco>
"""


@dataclass(frozen=True, kw_only=True)
class ReachConfig(RobotEnvConfig):
    """Reach a pose drawn from 0.3 x 0.4 x 0.3 m and +-30 degrees about each axis."""

    task_name: ClassVar[str] = "reach"
    task_fields: ClassVar[Mapping[str, FieldSpec]] = {
        "tcp_to_goal": FieldSpec(XYZ, "m", scale=0.1),
        "goal_rotvec": FieldSpec(XYZ, "rad", scale=0.5),
        "hold_fraction": FieldSpec((), "1"),
    }
    """tcp_to_goal and goal_rotvec: the goal's pose seen from the TCP. hold_fraction: share of the
    hold time that the TCP has been there."""

    arms: tuple[ArmConfig, ...] = (
        ArmConfig(
            start_pos_m=(0.5, 0.0, 0.35),
            start_noise_m=(0.05, 0.05, 0.05),
            box=SafetyBox(
                low_m=(0.30, -0.25, 0.12),
                high_m=(0.70, 0.25, 0.58),
                rotation_rad=(0.8, 0.8, 0.8),
            ),
        ),
    )
    action: ActionConfig = field(
        default_factory=lambda: ActionConfig(
            axes=AXES, translation_step_m=0.025, rotation_step_rad=0.1, gripper="none"
        )
    )
    state: tuple[str, ...] = (
        "tcp_pos",
        "tcp_rotvec",
        "tcp_lin_vel",
        "tcp_ang_vel",
        "ref_pos",
        "ref_rotvec",
        "tcp_to_goal",
        "goal_rotvec",
        "hold_fraction",
    )
    reward: str = "sparse"
    """sparse: 1 at success. dense: adds up to 0.02 per step for being near."""

    centre_m: tuple[float, float, float] = (0.5, 0.0, 0.35)
    """Centre of the box goals are drawn from [m]."""
    spread_m: tuple[float, float, float] = (0.3, 0.4, 0.3)
    """Its size [m]."""
    turn_rad: float = math.radians(30)
    """Each element of the goal's rotation vector from the start orientation is within +- this."""
    within_m: float = 0.02
    within_rad: float = math.radians(10)
    hold_s: float = 0.5
    """How near, and for how long without a break."""

    def reward_weights(self) -> Mapping[str, Mapping[str, float]]:
        return {"sparse": {"success": 1.0}, "dense": {"success": 1.0, "near": 0.02}}

    def pixels(self: T, px: int = 128) -> T:
        """As every task's, but of positions alone, to 3 cm: at 128 pixels a goal's orientation is a
        stroke or two. Two views across the box of goals, at right angles, instead of the wrist's,
        which sees nothing above the hand."""
        config = super().pixels(px)  # pyright: ignore[reportAttributeAccessIssue]
        views = tuple(
            CameraConfig(name=name, source=source, height=px, width=px)
            for name, source in (("front", "ahead"), ("side", "across"))
        )
        return dataclasses.replace(
            config,
            cameras=views,
            action=dataclasses.replace(config.action, axes=XYZ),
            state=("tcp_pos", "tcp_lin_vel", "ref_pos"),
            turn_rad=0.0,
            within_m=0.03,
            hold_s=0.25,
        )

    def make_task(self) -> Reach:
        return Reach(self)

    def expert(self, env: Any, *, noise: float = 0.0, seed: int = 0) -> ReachExpert:
        return ReachExpert(env, self, noise=noise, seed=seed)


class Reach:
    """The running part. The goal is the task's own: nothing can move it."""

    mjcf = MJCF
    needs_objects = False

    def __init__(self, config: ReachConfig) -> None:
        self.config = config
        self.arm = config.arms[0]
        self.hold = Hold(round(config.hold_s * config.control_hz))
        self.T_base_goal: Array = np.eye(4)

    def place(self, rng: np.random.Generator) -> Sequence[Any]:
        from robot_servers.control import se3
        from robot_servers.types import SceneObject

        config = self.config
        half = 0.5 * np.array(config.spread_m)
        T = se3.pose_from_quat(
            np.array(config.centre_m) + rng.uniform(-half, half), self.arm.start_quat_xyzw
        )
        turn = rng.uniform(-config.turn_rad, config.turn_rad, 3)
        T[:3, :3] = T[:3, :3] @ se3.matrix_from_rotvec(turn)
        self.T_base_goal = T
        return [SceneObject(name="goal", T_base_object=T.copy())]

    def begin(self, view: View) -> Outcome:
        self.hold.update(False)
        return self._outcome(view, new=True)

    def step(self, view: View) -> Outcome:
        return self._outcome(view, new=False)

    def _outcome(self, view: View, *, new: bool) -> Outcome:
        from robot_servers.control import se3

        T_tcp = view.arms[self.arm.name].T_base_tcp
        R = T_tcp[:3, :3]
        offset = (self.T_base_goal[:3, 3] - T_tcp[:3, 3]) @ R
        turn = se3.rotvec_from_matrix(R.T @ self.T_base_goal[:3, :3])
        far_m, far_rad = math.sqrt(float(offset @ offset)), math.sqrt(float(turn @ turn))
        there = far_m <= self.config.within_m and far_rad <= self.config.within_rad
        success = not new and self.hold.update(there)
        return Outcome(
            fields={
                "tcp_to_goal": offset,
                "goal_rotvec": turn,
                "hold_fraction": self.hold.fraction,
            },
            success=success,
            terms={
                "success": float(success),
                "near": math.exp(-10.0 * far_m - 2.0 * far_rad),
            },
        )


class ReachExpert:
    """Moves the reference straight to the goal."""

    def __init__(self, env: Any, config: ReachConfig, *, noise: float, seed: int) -> None:
        self._robot = env.unwrapped
        self._config = config
        self._noise = noise
        self._rng = np.random.default_rng(seed)

    def reset(self) -> None:
        """Nothing is kept between steps."""

    def act(self) -> NDArray[np.float32]:
        from robot_servers.control import se3

        arm, action = self._config.arms[0].name, self._config.action
        error = se3.pose_error(self._robot.task.T_base_goal, self._robot.references[arm])
        if action.frame == "tcp":
            R = self._robot.states[arm].T_base_tcp[:3, :3]
            error = np.concatenate((error[:3] @ R, error[3:] @ R))
        steps = np.repeat([action.translation_step_m, action.rotation_step_rad], 3)
        move = paced(error / steps)[[AXES.index(axis) for axis in action.axes]]
        noisy = move + self._noise * self._rng.standard_normal(move.shape)
        grip = [] if action.gripper == "none" else [1.0 if action.gripper == "width" else 0.0]
        return np.clip(np.append(noisy, grip), -1.0, 1.0).astype(np.float32)


TASKS.register("reach")(ReachConfig)
gymnasium.register(id="serl/Reach-v0", entry_point=ReachConfig.gym_make)
