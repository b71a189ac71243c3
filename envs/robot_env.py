"""The Gymnasium face of a cell of arms: one step is one control period.

The env owns time: it commands the arms, lets the backend advance by one period, and looks. It
measures in base axes and takes displacements in base axes; frames, action subsets, interventions
and the state vector are wrappers (`envs.wrappers.wrap`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from envs.config import ArmConfig, RobotEnvConfig
from envs.limits import ReferenceLimits
from envs.motion import StartMove
from envs.tasks.base import Outcome, Task, View
from robot_servers.backends.base import BACKENDS, Backend
from robot_servers.control import se3
from robot_servers.types import (
    ArmCommand,
    CartesianTarget,
    Gains,
    GripperTarget,
    MotionLimits,
    RobotState,
)
from serl.errors import UserError

Array = NDArray[np.float64]

ARM_ACTION = ("x", "y", "z", "rx", "ry", "rz", "gripper")
"""RobotEnv's own action per arm: displacement in base axes, 1 is one step; gripper opening from
-1 (closed) to 1 (fully open)."""

RAW_LIMIT = 1e4
"""No measurement is larger than this, in SI units."""


class RobotEnv(gymnasium.Env[Any, Any]):
    """Arms, a task and a clock.

    Observation: a dict of measurements in base, per arm (with its prefix): `tcp_pose` and
    `ref_pose` (4, 4), `twist` and `wrench` (6,), `gripper_width`, `gripper_target` [m], `q`, `dq`;
    and the task's fields. The reward is 0: a wrapper gives it.

    Info of each step: `success`, `clamped` (the server moved a command), `stamp_mono_ns` of the
    measurement, `accepted_action` (what the limits left of the action, in this env's own action
    space), `reward_terms`.
    """

    def __init__(
        self,
        config: RobotEnvConfig,
        task: Task,
        *,
        backend: Backend | None = None,
        render_mode: str | None = None,
    ) -> None:
        self.config = config
        self.task = task
        self.render_mode = render_mode
        self.metadata = {"render_modes": ["rgb_array"], "render_fps": round(config.control_hz)}
        self.backend = backend or _make_backend(config)
        self.backend.connect()
        self.limits = {arm.name: ReferenceLimits(arm, config.action) for arm in config.arms}
        self._prepare()
        self.states: Mapping[str, RobotState] = self.backend.states()
        self.references: dict[str, Array] = {}
        """Reference of each arm: the last accepted target in its base (4, 4)."""
        self.outcome = Outcome({})
        self._start_q: dict[str, Array] | None = None
        self._must_reset = True
        size = len(ARM_ACTION) * len(config.arms)
        self.action_space = spaces.Box(-1.0, 1.0, (size,), np.float32)
        self.observation_space = self._raw_space()
        self._step_size = np.repeat(
            [config.action.translation_step_m, config.action.rotation_step_rad], 3
        )

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Array], dict[str, Any]]:
        """A new episode. The same seed gives the same episode."""
        super().reset(seed=seed)
        rng = self.np_random
        objects = self.task.place(rng)
        starts = {arm.name: self._start_pose(arm, rng) for arm in self.config.arms}
        scene = self.backend.scene
        if scene is not None:
            if self._start_q is None:
                self._start_q = self._find_start_q()
            self.states = scene.reset(objects, self._start_q)
        self._move_to_start(starts)
        self.references = starts
        self.outcome = self.task.begin(self._view())
        self._must_reset = False
        return self._observe(), self._info()

    def step(
        self, action: NDArray[Any]
    ) -> tuple[dict[str, Array], float, bool, bool, dict[str, Any]]:
        """One control period."""
        if self._must_reset:
            raise UserError("step before reset: call env.reset() first.")
        wish = np.asarray(action, np.float64).reshape(len(self.config.arms), len(ARM_ACTION))
        if not np.isfinite(wish).all():
            raise UserError(_not_finite_action(wish, self.config))
        accepted = np.empty_like(wish)
        commands = {}
        for arm, row, out in zip(self.config.arms, wish, accepted, strict=True):
            commands[arm.name] = self._command(arm, row, out)
        self.backend.command(commands)
        self.states = self.backend.advance(self.config.period_s)
        self.outcome = self.task.step(self._view())
        info = self._info()
        info["accepted_action"] = accepted.ravel()
        success = self.outcome.success
        self._must_reset = success
        return self._observe(), 0.0, success, False, info

    def _command(self, arm: ArmConfig, row: Array, out: Array) -> ArmCommand:
        """One arm's command from its row of the action; `out` gets what the limits left of it."""
        limits, state = self.limits[arm.name], self.states[arm.name]
        window = limits.window(state.T_base_tcp)
        previous = self.config.action.reference == "previous"
        origin = self.references[arm.name] if previous else state.T_base_tcp
        axes = state.T_base_tcp[:3, :3] if self.config.action.frame == "tcp" else np.eye(3)
        T, moved = limits.accept(
            limits.nearest(origin, window), row[:6] * self._step_size, axes, window
        )
        self.references[arm.name] = T
        out[:6] = moved / self._step_size
        out[6] = min(1.0, max(-1.0, row[6]))
        return ArmCommand(target=CartesianTarget(T_base_tcp=T), gripper=self._grip(arm, out[6]))

    def _grip(self, arm: ArmConfig, opening: float) -> GripperTarget | None:
        """A gripper command, if it is a new one."""
        gripper = self.backend.arms[arm.name].gripper
        if gripper is None:
            return None
        width = 0.5 * (opening + 1.0) * gripper.width_max_m
        if abs(width - self.states[arm.name].gripper_target_m) < 1e-4:
            return None
        return GripperTarget(width_m=width)

    def opening(self, arm: str) -> float:
        """The last commanded opening of an arm's gripper, in action units."""
        gripper = self.backend.arms[arm].gripper
        if gripper is None:
            return 1.0
        return 2.0 * self.states[arm].gripper_target_m / gripper.width_max_m - 1.0

    def render(self) -> NDArray[np.uint8] | None:
        """A frame of the task's `video` camera."""
        if self.render_mode is None:
            return None
        return self.frame("video", self.config.video_px, self.config.video_px, pretty=True)

    def frame(
        self, camera: str, height: int, width: int, *, pretty: bool = False
    ) -> NDArray[np.uint8]:
        """A frame of any camera of the scene, (height, width, 3); `pretty` costs time."""
        scene = self.backend.scene
        if scene is None:
            raise UserError(f"camera {camera!r}: this backend has no scene to render.")
        return scene.render(camera, height, width, pretty=pretty)

    def close(self) -> None:
        self.backend.close()

    def _prepare(self) -> None:
        control = self.config.control
        names = [arm.name for arm in self.config.arms]
        self.backend.set_gains({name: _gains(self.config) for name in names})
        self.backend.set_limits(
            {
                name: MotionLimits(
                    filter_time_constant_s=control.filter_time_constant_s,
                    linear_speed_m_per_s=control.linear_speed_m_per_s,
                    angular_speed_rad_per_s=control.angular_speed_rad_per_s,
                    linear_acceleration_m_per_s2=control.linear_acceleration_m_per_s2,
                    angular_acceleration_rad_per_s2=control.angular_acceleration_rad_per_s2,
                )
                for name in names
            }
        )
        scene = self.backend.scene
        if scene is not None:
            scene.load(self.task.mjcf)
        elif self.task.needs_objects:
            raise UserError(
                f"task {self.config.task_name!r} observes object poses, which backend "
                f"{self.config.backend!r} does not know. Use a simulated backend."
            )

    def _start_pose(self, arm: ArmConfig, rng: np.random.Generator) -> Array:
        """Nominal start plus this episode's noise, within the safety box."""
        noise_m, noise_rad = np.array(arm.start_noise_m), np.array(arm.start_noise_rad)
        T = se3.pose_from_quat(arm.start_pos_m, arm.start_quat_xyzw)
        T[:3, 3] += rng.uniform(-noise_m, noise_m)
        T[:3, :3] = T[:3, :3] @ se3.matrix_from_rotvec(rng.uniform(-noise_rad, noise_rad))
        limits = self.limits[arm.name]
        return limits.nearest(T, limits.box)

    def _find_start_q(self) -> dict[str, Array]:
        """Joints at the nominal start, found once by moving there from home in the empty scene."""
        scene = self.backend.scene
        assert scene is not None
        self.states = scene.reset([])
        self._move_to_start(
            {
                arm.name: se3.pose_from_quat(arm.start_pos_m, arm.start_quat_xyzw)
                for arm in self.config.arms
            }
        )
        return {name: state.q_rad.copy() for name, state in self.states.items()}

    def _move_to_start(self, starts: Mapping[str, Array]) -> None:
        """A smooth move under the reference generator; every target is inside the safety box."""
        move = StartMove(self.states, starts, self.limits, self.config)
        while not move.arrived(self.states):
            self.backend.command(move.next())
            self.states = self.backend.advance(self.config.period_s)

    def _view(self) -> View:
        scene = self.backend.scene
        if scene is None:
            return View(self.states, {}, {})
        return View(self.states, scene.object_poses(), scene.object_twists())

    def _observe(self) -> dict[str, Array]:
        obs: dict[str, Array] = {}
        for arm in self.config.arms:
            p, state = arm.prefix, self.states[arm.name]
            obs[p + "tcp_pose"] = state.T_base_tcp.copy()
            obs[p + "ref_pose"] = self.references[arm.name].copy()
            obs[p + "twist"] = state.twist_base_tcp.copy()
            obs[p + "wrench"] = state.wrench_base_ext.copy()
            obs[p + "gripper_width"] = np.array([state.gripper_width_m])
            obs[p + "gripper_target"] = np.array([state.gripper_target_m])
            obs[p + "q"] = state.q_rad.copy()
            obs[p + "dq"] = state.dq_rad_per_s.copy()
        for name, value in self.outcome.fields.items():
            obs[name] = np.array(value, np.float64).reshape(-1)
        return obs

    def _raw_space(self) -> spaces.Dict:
        def box(*shape: int) -> spaces.Box:
            return spaces.Box(-RAW_LIMIT, RAW_LIMIT, shape, np.float64)

        boxes: dict[str, spaces.Space[Any]] = {}
        for arm in self.config.arms:
            p, n = arm.prefix, self.backend.arms[arm.name].joint_count
            boxes |= {p + "tcp_pose": box(4, 4), p + "ref_pose": box(4, 4)}
            boxes |= {p + "twist": box(6), p + "wrench": box(6), p + "q": box(n), p + "dq": box(n)}
            boxes |= {p + "gripper_width": box(1), p + "gripper_target": box(1)}
        for name, field in self.config.task_fields.items():
            boxes[name] = box(field.size)
        return spaces.Dict(boxes)

    def _info(self) -> dict[str, Any]:
        states = self.states.values()
        return {
            "success": self.outcome.success,
            "clamped": any(state.clamped for state in states),
            "stamp_mono_ns": max(state.stamp_mono_ns for state in states),
            "reward_terms": dict(self.outcome.terms),
        }


def _make_backend(config: RobotEnvConfig) -> Backend:
    return BACKENDS.get(config.backend)(
        arms={arm.name: arm.robot for arm in config.arms},
        physics_dt_s=config.physics_dt_s,
        lockstep=not config.realtime,
        base_poses={
            arm.name: se3.pose_from_rotvec(arm.base_pos_m, (0.0, 0.0, arm.base_yaw_rad))
            for arm in config.arms
        },
        action_delay_s=config.action_delay_s,
    )


def _gains(config: RobotEnvConfig) -> Gains:
    control = config.control
    clip_m, clip_rad = control.translational_clip_m, control.rotational_clip_rad
    return Gains(
        translational_stiffness_n_per_m=control.translational_stiffness_n_per_m,
        translational_damping_n_s_per_m=control.translational_damping_n_s_per_m,
        rotational_stiffness_nm_per_rad=control.rotational_stiffness_nm_per_rad,
        rotational_damping_nm_s_per_rad=control.rotational_damping_nm_s_per_rad,
        translational_clip_m=(clip_m, clip_m, clip_m),
        rotational_clip_rad=(clip_rad, clip_rad, clip_rad),
    )


def _not_finite_action(wish: Array, config: RobotEnvConfig) -> str:
    row, column = (int(i) for i in np.argwhere(~np.isfinite(wish))[0])
    name = config.arms[row].prefix + ARM_ACTION[column]
    return (
        f"action element {name!r} is {wish[row, column]}; every element must be a finite number. "
        "The arm was not moved; check what chose the action."
    )
