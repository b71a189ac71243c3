"""The Gymnasium face of a cell of arms: one step is one control period.

The env owns time: it commands the arms, lets the backend advance by one period, and looks. It
measures in base axes and takes displacements in base axes; frames, action subsets, interventions
and the state vector are wrappers (`envs.wrappers.wrap`).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from envs.backend import gains, make_backend, motion_limits
from envs.cameras.base import StaleFrame
from envs.cameras.make import make_cameras
from envs.config import ArmConfig, RobotEnvConfig
from envs.limits import ReferenceLimits
from envs.measurements import CAMERA, measure, measurement_space
from envs.motion import JointMove, StartMove
from envs.pace import Pace
from envs.pose_reward import PoseReward
from envs.tasks.base import Outcome, Task, View
from envs.waiting import LOOK_EVERY_S, Waiter
from robot_servers.backends.base import Backend
from robot_servers.control import se3
from robot_servers.errors import CommandRefused, RobotFault, StaleState
from robot_servers.types import (
    ArmCommand,
    CartesianTarget,
    GripperTarget,
    Mode,
    RobotState,
    SceneObject,
)
from serl.errors import UserError

Array = NDArray[np.float64]

log = logging.getLogger(__name__)

ARM_ACTION = ("x", "y", "z", "rx", "ry", "rz", "gripper")
"""RobotEnv's own action per arm: displacement in base axes, 1 is one step; gripper opening from
-1 (closed) to 1 (fully open)."""


class RobotEnv(gymnasium.Env[Any, Any]):
    """Arms, a task and a clock.

    Observation: a dict of measurements in base, per arm (with its prefix): `tcp_pose` and
    `ref_pose` (4, 4), `twist` and `wrench` (6,), `gripper_width`, `gripper_target` [m], `q`, `dq`;
    the task's fields, and `camera/<name>` (H, W, 3) uint8. The reward is 0: a wrapper gives it.

    Info of each step: `success` (where the task can tell), `clamped` (the server moved a command),
    `stamp_mono_ns` of the measurement, `accepted_action` (what the limits left of the action, in
    this env's own action space), `reward_terms`; `paused_s` when the step waited for the arm's
    state; and, when an arm went into fault, `interrupted` with the reason: the episode is truncated
    there, and the next reset waits until an operator has recovered the arm.
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
        self.backend = backend or make_backend(config)
        self.backend.connect()
        self.waiter = Waiter()
        self.gates: list[Callable[[], str]] = []
        """Asked before each episode: why it may not begin yet, "" when it may. A person's stop."""
        self.pace = Pace(config.period_s)
        self.asks: Callable[[str], Callable[[], bool]] | None = None
        """Whoever runs the loop, where a person is there: shown what to do, it returns what tells
        whether they have said that it is done."""
        self.episodes = 0
        """Resets so far."""
        self._pose_reward = PoseReward(config.pose_goal) if config.pose_goal else None
        self.limits = {arm.name: ReferenceLimits(arm, config.action) for arm in config.arms}
        self.cameras: Any = None
        """What the agent sees through."""
        self.seen: dict[str, NDArray[np.uint8]] = {}
        """The newest frame of each camera, as observed."""
        self.states: Mapping[str, RobotState]
        try:
            self._prepare()
            self.cameras = make_cameras(config, self.backend.scene)
            self.states = self.backend.states()
            self.observation_space = measurement_space(config, self.backend.arms)
        except BaseException:
            self.close()
            raise
        self.references: dict[str, Array] = {}
        """Reference of each arm: the last accepted target in its base (4, 4)."""
        self.outcome = Outcome({})
        self._start_q: dict[str, Array] | None = None
        self._must_reset = True
        self._paused_s = 0.0
        size = len(ARM_ACTION) * len(config.arms)
        self.action_space = spaces.Box(-1.0, 1.0, (size,), np.float32)
        self._step_size = np.repeat(
            [config.action.translation_step_m, config.action.rotation_step_rad], 3
        )

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """A new episode. The same seed gives the same episode."""
        super().reset(seed=seed)
        rng = self.np_random
        objects = self.task.place(rng)
        starts = {arm.name: self._start_pose(arm, rng) for arm in self.config.arms}
        self._await_arms()
        if self.config.scene_ready:
            self._ask("Is the scene ready?")
        while (trouble := self._attempt(lambda: self._start(objects, starts))) is not None:
            self._wait_out(trouble)
        self.episodes += 1
        self.references = starts
        if self.config.ask_at_reset:
            self._ask(self.config.ask_at_reset)
        self.outcome = self._task_says(begun=True)
        while lost := self._look():  # a camera is told of, and waited for
            self.waiter.a_while(lost)
            self._await_arms()
        self._must_reset = False
        self.pace.begin(time.monotonic_ns())
        return self._observe(), self._info()

    def step(
        self, action: NDArray[Any]
    ) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
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
        fault = self._attempt(lambda: self._period(commands))
        self.pace.step(time.monotonic_ns())
        self.outcome = self._task_says()
        lost = self._look()
        info = self._info()
        info["accepted_action"] = accepted.ravel()
        if self._paused_s:
            info["paused_s"], self._paused_s = self._paused_s, 0.0
        success = self.outcome.success and self.config.reward != "learned"
        broken = str(fault) if fault is not None else ""
        if lost:
            log.warning("%s", lost)
            broken = broken or lost
        interrupted = bool(broken) and not success
        if interrupted:
            info["interrupted"] = broken
        self._must_reset = success or interrupted
        return self._observe(), 0.0, success, interrupted, info

    def metrics(self) -> dict[str, float]:
        """In real time: how well the rate is kept (`Pace.metrics`); and of real cameras, how far
        their frames are from the states they are stored with."""
        pace = self.pace.metrics() if self.config.is_realtime else {}
        return {**pace, **self.cameras.metrics()}

    def hold(self, reason: Callable[[], str]) -> float:
        """Keep the arms where they are while there is a reason; the seconds it took.

        It is no step: nothing is measured, and no time of the episode passes. A simulator in
        lockstep stands still; in real time the last targets are commanded, period by period.

        Raises Interrupted when told to stop meanwhile.
        """
        held_s = self.waiter.until_clear(reason, meanwhile=self._stay)
        self.pace.begin(time.monotonic_ns())
        return held_s

    def _stay(self) -> None:
        """One period at the same place; an arm in fault is the next step's, or reset's."""
        if not self.config.is_realtime or not self.references:
            time.sleep(LOOK_EVERY_S)
            return
        commands = {
            name: ArmCommand(target=CartesianTarget(T_base_tcp=T))
            for name, T in self.references.items()
        }
        if self._attempt(lambda: self._period(commands)) is not None:
            time.sleep(LOOK_EVERY_S)

    def _ask(self, what: str) -> None:
        """Hold until a person has done what they are asked. Raises UserError where nobody is."""
        if self.asks is None:
            raise UserError(
                f"the task asks a person at each reset ({what!r}), and nobody is there: give "
                "--device, or leave env.scene_ready and env.ask_at_reset out."
            )
        done = self.asks(what)
        self.hold(lambda: "" if done() else what)

    def _period(self, commands: Mapping[str, ArmCommand]) -> None:
        """Command, and one control period; while no state comes the episode pauses, and the arm
        holds."""
        try:
            self.backend.command(commands)
            self.states = self.backend.advance(self.config.period_s)
        except StaleState:
            self._paused_s += self.waiter.until_clear(lambda: self._trouble(faults=False))
        for name, state in self.states.items():
            if state.fault is not None and state.mode is Mode.FAULT:
                raise RobotFault(name, state.fault)

    def _attempt(self, action: Callable[[], None]) -> RobotFault | CommandRefused | None:
        """Do it; an arm's fault, or a server that takes no command from us for now (an operator
        has the arm, its payload is not right), is no error of the program: it ends an episode."""
        try:
            action()
        except (RobotFault, CommandRefused) as trouble:
            log.warning("%s", trouble)
            return trouble
        return None

    def _wait_out(self, trouble: UserError) -> None:
        """Before another attempt: until a person has put it right, or may have."""
        if isinstance(trouble, CommandRefused):
            self.waiter.a_while(str(trouble))
            regain = getattr(self.backend, "regain", None)
            if regain is not None:
                regain()
        self._await_arms()

    def _await_arms(self) -> None:
        """Wait until every arm has a fresh state, none is in fault, and every camera shows."""
        self.waiter.until_clear(
            lambda: self._trouble(faults=True) or self.cameras.trouble() or self._closed_gate()
        )

    def _closed_gate(self) -> str:
        return next(filter(None, (gate() for gate in self.gates)), "")

    def _trouble(self, *, faults: bool) -> str:
        """Why no episode can go on: no fresh state or, if asked, a fault; else "", and the states
        are the newest."""
        try:
            states = self.backend.states()
        except StaleState as error:
            return str(error)
        for name, state in states.items():
            if faults and state.fault is not None and state.mode is Mode.FAULT:
                return str(RobotFault(name, state.fault))
        self.states = states
        return ""

    def _task_says(self, *, begun: bool = False) -> Outcome:
        """The task's outcome; nothing where it is not known."""
        if self._blind:
            return Outcome({})
        view = self._view()
        return self._judge(self.task.begin(view) if begun else self.task.step(view), begun=begun)

    def _judge(self, outcome: Outcome, *, begun: bool = False) -> Outcome:
        """The task's outcome; with reward 'pose', success by the pose goal."""
        if self.config.reward != "pose":
            return outcome
        assert self._pose_reward is not None
        T_base_tcp = self.states[self._pose_reward.goal.arm].T_base_tcp
        success = not begun and self._pose_reward.reached(T_base_tcp)
        return Outcome(outcome.fields, success, {**outcome.terms, "success": float(success)})

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
        px, pretty = self.config.video_px, not self.config.is_realtime  # the arm does not wait
        return self.frame("video", px, px, pretty=pretty)

    def frame(
        self, camera: str, height: int, width: int, *, pretty: bool = False
    ) -> NDArray[np.uint8]:
        """A frame of any camera of the scene, (height, width, 3); `pretty` costs time."""
        scene = self.backend.scene
        if scene is None:
            raise UserError(f"camera {camera!r}: this backend has no scene to render.")
        return scene.render(camera, height, width, pretty=pretty)

    def close(self) -> None:
        if self.cameras is not None:
            self.cameras.close()
        self.backend.close()

    def _prepare(self) -> None:
        names = [arm.name for arm in self.config.arms]
        scene = self.backend.scene
        if scene is not None:
            scene.load(self.task.mjcf)
        elif self.task.needs_objects and not self._blind:
            raise UserError(
                f"task {self.config.task_name!r} observes object poses, which robot "
                f"{self.config.robot!r} does not know. Use a simulated one."
            )
        self.backend.set_gains({name: gains(self.config) for name in names})
        self.backend.set_limits({name: motion_limits(self.config) for name in names})

    @property
    def _blind(self) -> bool:
        """Nobody knows where the objects are, and nobody asks: a real arm, a learned reward, and a
        state vector of what the arm feels."""
        config = self.config
        asked = config.reward != "learned" or any(f in config.task_fields for f in config.state)
        return self.backend.scene is None and self.task.needs_objects and not asked

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

    def _start(self, objects: Sequence[SceneObject], starts: Mapping[str, Array]) -> None:
        """Scene and arms to the start of an episode."""
        scene = self.backend.scene
        if scene is not None:
            if self._start_q is None:
                self._start_q = self._find_start_q()
            try:
                self.states = scene.reset(objects, self._start_q)
            except StaleState as error:
                raise CommandRefused(str(error)) from error
        elif self._joint_reset_due():
            self._move(JointMove(self.states, self.backend.arms, self.config))
        self._move_to_start(starts)

    def _joint_reset_due(self) -> bool:
        every = self.config.joint_reset_every
        return every > 0 and self.episodes % every == 0

    def _move_to_start(self, starts: Mapping[str, Array]) -> None:
        """A smooth move under the reference generator; every target is inside the safety box."""
        arms = self.backend.arms
        self._move(StartMove(self.states, starts, self.limits, self.config, arms))

    def _move(self, move: StartMove | JointMove) -> None:
        while not move.arrived(self.states):
            self._period(move.next())

    def _view(self) -> View:
        """What the task sees; a remote simulator that has gone silent is waited for."""
        scene = self.backend.scene
        if scene is None:
            return View(self.states, {}, {})
        while True:
            try:
                return View(self.states, scene.object_poses(), scene.object_twists())
            except StaleState as error:
                self._wait_for_scene(error)

    def _wait_for_scene(self, error: StaleState) -> None:
        self.waiter.a_while(str(error))
        self._paused_s += self.waiter.until_clear(lambda: self._trouble(faults=False))

    def _look(self) -> str:
        """Take what the cameras show of the newest states; why not, where one shows nothing: the
        frames then stay those of before. A remote simulator that has gone silent is waited for."""
        while True:
            stamp = max(state.stamp_mono_ns for state in self.states.values())
            try:
                self.seen = self.cameras.frames(stamp)
            except StaleFrame as error:
                return str(error)
            except StaleState as error:
                self._wait_for_scene(error)
            else:
                return ""

    def _observe(self) -> dict[str, Any]:
        obs: dict[str, Any] = measure(
            self.config, self.states, self.references, self.outcome.fields
        )
        return obs | {CAMERA + name: frame for name, frame in self.seen.items()}

    def _info(self) -> dict[str, Any]:
        states = self.states.values()
        return {
            **({} if self._blind else {"success": self.outcome.success}),
            "clamped": any(state.clamped for state in states),
            "stamp_mono_ns": max(state.stamp_mono_ns for state in states),
            "reward_terms": dict(self.outcome.terms),
        }


def _not_finite_action(wish: Array, config: RobotEnvConfig) -> str:
    row, column = (int(i) for i in np.argwhere(~np.isfinite(wish))[0])
    name = config.arms[row].prefix + ARM_ACTION[column]
    return (
        f"action element {name!r} is {wish[row, column]}; every element must be a finite number. "
        "The arm was not moved; check what chose the action."
    )
