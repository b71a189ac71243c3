"""Bring the tool to one fixed pose, as SERL's peg and board insertions do.

Nothing but the arm's own measurements is observed, so it runs on hardware as it is: set
`arms.start_pos_m`, the safety box and `pose_goal` to your cell; `serl robot teach` prints poses.
The scene has a block under the goal, so that there is something to touch in rehearsal.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import gymnasium
import numpy as np
from numpy.typing import NDArray

from envs.config import ActionConfig, ArmConfig, PoseGoal, RobotEnvConfig, SafetyBox
from envs.spaces import AXES
from envs.tasks.base import TASKS, Outcome, View, paced

MJCF = """
<mujoco model="pose">
  <worldbody>
    <body name="block" pos="0.5 0 0.04">
      <geom type="box" size="0.05 0.05 0.04" rgba="0.55 0.42 0.3 1"/>
    </body>
    <camera name="video" pos="1.35 -0.95 0.8" xyaxes="0.700 0.714 0 -0.234 0.229 0.945" fovy="41"/>
  </worldbody>
</mujoco>
"""


@dataclass(frozen=True, kw_only=True)
class PoseConfig(RobotEnvConfig):
    """From 10 cm above, with random offset and yaw, down to a pose just over the block."""

    task_name: ClassVar[str] = "pose"
    arms: tuple[ArmConfig, ...] = (
        ArmConfig(
            start_pos_m=(0.5, 0.0, 0.2),
            start_noise_m=(0.05, 0.05, 0.0),
            start_noise_rad=(0.0, 0.0, math.pi / 6),
            box=SafetyBox(
                low_m=(0.43, -0.07, 0.09), high_m=(0.57, 0.07, 0.25), rotation_rad=(0.1, 0.1, 0.6)
            ),
        ),
    )
    action: ActionConfig = field(default_factory=lambda: ActionConfig(axes=AXES, gripper="none"))
    state: tuple[str, ...] = (
        "tcp_pos",
        "tcp_rotvec",
        "tcp_lin_vel",
        "tcp_ang_vel",
        "ref_pos",
        "ref_rotvec",
        "force",
        "torque",
    )
    pose_frame: Literal["reset", "base"] = "base"
    """The goal is fixed in base, and so must be what the agent sees."""
    reward: str = "pose"
    pose_goal: PoseGoal | None = field(default_factory=lambda: PoseGoal(pos_m=(0.5, 0.0, 0.1)))

    def reward_weights(self) -> Mapping[str, Mapping[str, float]]:
        return {}

    def make_task(self) -> Pose:
        return Pose()

    def expert(self, env: Any, *, noise: float = 0.0, seed: int = 0) -> PoseExpert:
        return PoseExpert(env, self, noise=noise, seed=seed)


class Pose:
    """Success is the pose reward's business; the task itself has nothing to add."""

    mjcf = MJCF
    needs_objects = False

    def place(self, rng: np.random.Generator) -> Sequence[Any]:
        return []

    def begin(self, view: View) -> Outcome:
        return Outcome({})

    def step(self, view: View) -> Outcome:
        return Outcome({})


class PoseExpert:
    """Moves the reference straight to the goal."""

    def __init__(self, env: Any, config: PoseConfig, *, noise: float, seed: int) -> None:
        self._robot = env.unwrapped
        self._config = config
        self._noise = noise
        self._rng = np.random.default_rng(seed)

    def reset(self) -> None:
        """Nothing is kept between steps."""

    def act(self) -> NDArray[np.float32]:
        from robot_servers.control import se3

        goal, action = self._config.pose_goal, self._config.action
        assert goal is not None
        T_base_goal = se3.pose_from_quat(goal.pos_m, goal.quat_xyzw)
        error = se3.pose_error(T_base_goal, self._robot.references[goal.arm])
        if action.frame == "tcp":
            R = self._robot.states[goal.arm].T_base_tcp[:3, :3]
            error = np.concatenate((error[:3] @ R, error[3:] @ R))
        steps = np.repeat([action.translation_step_m, action.rotation_step_rad], 3)
        move = paced(error / steps)[[AXES.index(axis) for axis in action.axes]]
        noisy = move + self._noise * self._rng.standard_normal(move.shape)
        grip = [] if action.gripper == "none" else [1.0 if action.gripper == "width" else 0.0]
        return np.clip(np.append(noisy, grip), -1.0, 1.0).astype(np.float32)


TASKS.register("pose")(PoseConfig)
gymnasium.register(id="serl/Pose-v0", entry_point=PoseConfig.gym_make)
