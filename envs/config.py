"""What an environment over an arm is made of, as data.

Actor and learner both load this: `spec` and `contract` follow from the values alone, with no
simulator and no robot server at hand. `make` builds the thing.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, TypeVar

from envs.cameras.config import CameraConfig, DeviceConfig, arm_cameras, check_cameras
from envs.spaces import AXES, FieldSpec, action_spec, check_fields, state_spec
from serl.errors import UserError
from serl.types import ArraySpec, Spec

T = TypeVar("T", bound="RobotEnvConfig")

GripperMode = Literal["toggle", "three_way", "width", "none"]

GRASP_PENALTY = "grasp_penalty"
"""The extra that `ActionConfig.grasp_penalty` adds to every step."""


@dataclass(frozen=True, kw_only=True)
class ActionConfig:
    """What one action element means, for every arm alike (DESIGN decision 16)."""

    axes: tuple[str, ...] = ("x", "y", "z")
    """Which TCP displacements the agent has, in this order: x y z rx ry rz."""

    translation_step_m: float = 0.02
    """Displacement per control period of an action of 1 [m]."""

    rotation_step_rad: float = 0.1
    """Rotation per control period of an action of 1 [rad]."""

    gripper: GripperMode = "toggle"
    """toggle: <= -0.5 closes, >= 0.5 opens, between nothing changes (SERL). three_way: rounded to
    close, stay, open (HIL-SERL). width: -1 closed to 1 fully open. none: the gripper stays."""

    grasp_penalty: float = 0.0
    """What a grasp critic pays for each gripper told to close while it is open or to open while it
    is not, in rewards; never part of the reward or of success. 0: the spec has no such extra.
    HIL-SERL: 0.02."""

    frame: Literal["tcp", "base"] = "tcp"
    """Axes of the displacement: of the measured TCP, or of the base."""

    reference: Literal["previous", "measured"] = "previous"
    """What a displacement is added to: the previous reference, or (SERL) the measured pose."""

    max_lead_m: float = 0.03
    """The reference stays this near the measured position, on each base axis [m]."""

    max_lead_rad: float = 0.2
    """The same for rotation, on each axis of the box's reference orientation [rad]."""


@dataclass(frozen=True, kw_only=True)
class SafetyBox:
    """Where the reference may be, on every motion, resets included."""

    low_m: tuple[float, float, float] = (0.30, -0.35, 0.01)
    """Lowest TCP position in base [m]."""
    high_m: tuple[float, float, float] = (0.70, 0.35, 0.60)
    """Highest TCP position in base [m]."""
    rotation_rad: tuple[float, float, float] = (0.8, 0.8, 0.8)
    """Largest rotation vector from the start orientation, on each of its axes, both signs [rad]."""


@dataclass(frozen=True, kw_only=True)
class ArmConfig:
    """One arm: which, where, where it starts and where it may go. Poses are in its own base."""

    name: str = ""
    """Prefix of its fields, as 'left'; a single arm has none."""
    robot: str = "panda"
    base_pos_m: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Base position in the world, in simulation [m]."""
    base_yaw_rad: float = 0.0
    """Base rotation about the world's z, in simulation [rad]."""
    start_pos_m: tuple[float, float, float] = (0.5, 0.0, 0.25)
    """TCP position at the start of an episode [m]."""
    start_quat_xyzw: tuple[float, float, float, float] = (1.0, 0.0, 0.0, 0.0)
    """TCP orientation at the start; the default looks straight down. Centre of the rotation box."""
    start_noise_m: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Half-width of the uniform noise on the start position [m]."""
    start_noise_rad: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Half-width of the uniform noise on the start's rotation vector [rad]."""
    box: SafetyBox = field(default_factory=SafetyBox)

    @property
    def prefix(self) -> str:
        return f"{self.name}/" if self.name else ""


@dataclass(frozen=True, kw_only=True)
class ControlConfig:
    """The spring that follows the reference, and how fast the reference may move.

    Names, units and meaning are those of robot_servers.types.Gains and MotionLimits. The damper
    acts on the whole TCP velocity, so the steady speed is at most stiffness x clip / damping:
    0.67 m/s here.
    """

    translational_stiffness_n_per_m: float = 2000.0
    translational_damping_n_s_per_m: float = 89.0
    translational_clip_m: float = 0.03
    """Largest stretch of the spring on each axis: a push of at most 60 N."""
    rotational_stiffness_nm_per_rad: float = 75.0
    rotational_damping_nm_s_per_rad: float = 7.0
    rotational_clip_rad: float = 0.2
    filter_time_constant_s: float = 0.0
    linear_speed_m_per_s: float = 0.6
    angular_speed_rad_per_s: float = 2.5
    linear_acceleration_m_per_s2: float = 10.0
    angular_acceleration_rad_per_s2: float = 40.0


@dataclass(frozen=True, kw_only=True)
class RobotAccess:
    """How a robot server on another machine is reached (serl.rpc). Loopback needs none of it."""

    token_file: str = ""
    tls_ca: str = ""
    """Certificate to trust, PEM; turns TLS on."""
    tls_name: str = ""
    """Server name in the certificate, if it is not the host."""
    insecure_lan: bool = False
    """No TLS beyond loopback; token and data can be read on the network."""
    operator: bool = False
    """Take the lease over from whoever holds it."""
    state_hz: float = 250.0
    """Rate of the state stream: the newest state is up to 1 / this old [Hz]."""


@dataclass(frozen=True, kw_only=True)
class PoseGoal:
    """A TCP pose that counts as success, each axis with its own tolerance: SERL's pose reward,
    without Euler angles."""

    arm: str = ""
    pos_m: tuple[float, float, float] = (0.5, 0.0, 0.25)
    """In the arm's base [m]."""
    quat_xyzw: tuple[float, float, float, float] = (1.0, 0.0, 0.0, 0.0)
    within_m: tuple[float, float, float] = (0.01, 0.01, 0.01)
    """Tolerance on each base axis [m]. Source of the defaults: SERL's peg insertion."""
    within_rad: tuple[float, float, float] = (0.2, 0.2, 0.2)
    """Tolerance on each element of the rotation vector from the goal, log(R_goal^T R) [rad]."""


@dataclass(frozen=True, kw_only=True)
class RobotEnvConfig:
    """Arms, time, action, observation and reward of one task. A task's config derives from it."""

    task_name: ClassVar[str] = ""
    """The name the task is registered under."""
    task_fields: ClassVar[Mapping[str, FieldSpec]] = {}
    """What the task adds to the fields that `state` may name."""
    placement: ClassVar[tuple[str, ...]] = (
        "robot",
        "robot_access",
        "realtime",
        "joint_reset_every",
        "video_px",
        "camera_devices",
        "frame_limit_s",
        "scene_ready",
        "ask_at_reset",
    )
    """Fields that do not change what is learned: not part of the contract."""

    arms: tuple[ArmConfig, ...] = (ArmConfig(),)
    robot: str = "mujoco"
    """What moves the arms: a simulator in this process ('mujoco'), a robot server
    ('grpc://127.0.0.1:5600'), or one for each arm ('left=grpc://HOST:PORT,right=grpc://...')."""
    robot_access: RobotAccess = field(default_factory=RobotAccess)
    realtime: bool | None = None
    """Keep to the wall clock. None: a robot server does, a simulator in this process does not."""
    control_hz: float = 20.0
    physics_dt_s: float = 0.002
    action_delay_s: float = 0.0
    """Simulated latency between a command and its effect [s]."""
    episode_s: float = 5.0
    """Longer episodes are truncated."""
    action: ActionConfig = field(default_factory=ActionConfig)
    control: ControlConfig = field(default_factory=ControlConfig)
    state: tuple[str, ...] = ("tcp_pos", "tcp_lin_vel", "gripper_width")
    """Fields of the observation 'state', in order; `envs.spaces.ARM_FIELDS` and the task's own."""
    cameras: tuple[CameraConfig, ...] = ()
    """What the agent sees besides the state; see `pixels`."""
    camera_devices: tuple[DeviceConfig, ...] = ()
    """The physical cameras. None: the simulated scene's own, which are drawn."""
    frame_limit_s: float = 0.2
    """A frame older than this counts as lost: the arm holds and the episode is broken off [s]."""
    pose_frame: Literal["reset", "base"] = "reset"
    """tcp_pos and tcp_rotvec are relative to the TCP's pose at reset, or to the arm's base."""
    intervention_hold_s: float = 0.5
    """A human who lets go keeps the arms, at rest, for this long [s]. Source: SERL."""
    reset_speed_m_per_s: float = 0.4
    """Speed of the move to the start pose [m/s]; it turns at three times this, in rad/s."""
    reset_timeout_s: float = 10.0
    """A start pose not reached after this long is an error [s]."""
    joint_reset_every: int = 0
    """Real arms: before every this many-th episode the joints go home, which undoes the drift of
    the elbow; 0 is never."""
    scene_ready: bool = False
    """Before an episode the arm stays where the last one ended until a person says the scene is
    ready: their hands are then out of its way."""
    ask_at_reset: str = ""
    """What a person is asked to do once the arm is at its start ('Put the part into the gripper.');
    it is held there until they say ready. Empty: nothing."""
    reward: str = "sparse"
    """One of the task's own; 'pose': success is `pose_goal`, whatever the task; 'learned': the
    task's success neither pays nor ends an episode, for `serl.rewards` judges from outside."""
    pose_goal: PoseGoal | None = None
    video_px: int = 480
    """Height and width of `render` [pixels]."""

    def __post_init__(self) -> None:
        self._refuse_bad_time()
        self._refuse_bad_arms()
        check_fields(self.state, self.task_fields)
        check_cameras(self.cameras, self.camera_devices)
        self._refuse_bad_reward()
        unknown = [axis for axis in self.action.axes if axis not in AXES]
        if unknown or len(set(self.action.axes)) != len(self.action.axes):
            raise UserError(
                f"action.axes {self.action.axes} must be different names out of {' '.join(AXES)}."
            )
        if not self.action.axes and self.action.gripper == "none":
            raise UserError("action.axes is empty and action.gripper is none: no action is left.")
        self._refuse_bad_penalty()

    def _refuse_bad_penalty(self) -> None:
        penalty, gripper = self.action.grasp_penalty, self.action.gripper
        if not (math.isfinite(penalty) and penalty >= 0):
            raise UserError(f"action.grasp_penalty is {penalty}; it must be 0 or more.")
        if penalty and gripper not in ("toggle", "three_way"):
            raise UserError(
                f"action.grasp_penalty is {penalty:g}, but action.gripper is {gripper!r}, which "
                "neither opens nor closes: choose toggle or three_way, or a penalty of 0."
            )

    def _refuse_bad_reward(self) -> None:
        if self.reward not in self.weights():
            allowed = ", ".join(sorted(self.weights()))
            raise UserError(f"reward {self.reward!r} is not one of this task's: {allowed}.")
        if self.reward != "pose":
            return
        if self.pose_goal is None:
            raise UserError("reward is 'pose' but pose_goal is not given; set env.pose_goal.")
        names = [arm.name for arm in self.arms]
        if self.pose_goal.arm not in names:
            raise UserError(f"pose_goal.arm is {self.pose_goal.arm!r}; the arms are {names}.")
        if min(*self.pose_goal.within_m, *self.pose_goal.within_rad) <= 0:
            raise UserError(
                f"pose_goal: tolerances {self.pose_goal.within_m} m and "
                f"{self.pose_goal.within_rad} rad must all be above 0, or success never comes."
            )

    def _refuse_bad_time(self) -> None:
        if self.joint_reset_every < 0:
            raise UserError(
                f"joint_reset_every is {self.joint_reset_every}; give 0 (never) or a number of "
                "episodes."
            )
        for name in ("control_hz", "physics_dt_s", "episode_s"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise UserError(f"{name} is {value}; it must be a positive number.")
        steps = self.period_s / self.physics_dt_s
        if abs(steps - round(steps)) > 1e-6 * max(1.0, steps) or round(steps) < 1:
            raise UserError(
                f"a control period of {self.period_s:g} s is {steps:g} physics steps of "
                f"{self.physics_dt_s:g} s; it must be a whole number of them. Change control_hz "
                f"or physics_dt_s."
            )
        if self.max_steps < 1:
            raise UserError(
                f"episode_s {self.episode_s:g} is shorter than one control period of "
                f"{self.period_s:g} s; make it longer."
            )

    def _refuse_bad_arms(self) -> None:
        names = [arm.name for arm in self.arms]
        if not names or len(set(names)) != len(names) or (len(names) > 1 and "" in names):
            raise UserError(
                f"arms are named {names}; a single arm may be '', several need different names."
            )
        for arm in self.arms:
            box = arm.box
            if any(low >= high for low, high in zip(box.low_m, box.high_m, strict=True)):
                raise UserError(
                    f"safety box of arm {arm.name!r}: low {box.low_m} must be below high "
                    f"{box.high_m} on every axis."
                )
            widest = math.sqrt(sum(r * r for r in box.rotation_rad))
            if widest > 3.0 or min(box.rotation_rad) < 0:
                raise UserError(
                    f"safety box of arm {arm.name!r}: rotation {box.rotation_rad} reaches "
                    f"{widest:.2f} rad; each must be >= 0 and the corner at most 3 rad."
                )
            for low, x, high in zip(box.low_m, arm.start_pos_m, box.high_m, strict=True):
                if not low <= x <= high:
                    raise UserError(
                        f"arm {arm.name!r} starts at {arm.start_pos_m}, outside its safety box "
                        f"{box.low_m} to {box.high_m}. Move one of them."
                    )

    @property
    def period_s(self) -> float:
        return 1.0 / self.control_hz

    @property
    def max_steps(self) -> int:
        return round(self.episode_s * self.control_hz)

    @property
    def is_remote(self) -> bool:
        """The arms are behind a robot server."""
        return "grpc://" in self.robot

    @property
    def is_realtime(self) -> bool:
        """Steps take wall-clock time, and nobody makes the arm wait."""
        return self.is_remote if self.realtime is None else self.realtime

    def weights(self) -> dict[str, Mapping[str, float]]:
        """`reward_weights`, and what every task has: 'pose', and 'learned', which pays nothing."""
        return {**self.reward_weights(), "pose": {"success": 1.0}, "learned": {}}

    def reward_weights(self) -> Mapping[str, Mapping[str, float]]:
        """For each choice of `reward`, the weight of each of the task's reward terms."""
        return {"sparse": {"success": 1.0}}

    def spec(self) -> Spec:
        """From the values alone."""
        return Spec(
            observation=(
                state_spec(self.arms, self.state, self.task_fields),
                *(camera.array() for camera in self.cameras),
            ),
            action=action_spec(self.arms, self.action.axes, self.action.gripper),
            extras=self.extras(),
        )

    def pixels(self: T, px: int = 128) -> T:
        """The same task seen by cameras: a view of the table, one from each wrist, and what the
        arm feels of itself. Nothing that only a simulator knows is observed."""
        felt = tuple(name for name in self.state if name not in self.task_fields)
        views = arm_cameras([arm.prefix for arm in self.arms], px)
        return dataclasses.replace(self, cameras=views, state=felt)

    def extras(self) -> tuple[ArraySpec, ...]:
        """Further per-step arrays: the grasp penalty where there is one, and the task's own."""
        if not self.action.grasp_penalty:
            return ()
        return (ArraySpec(name=GRASP_PENALTY, shape=(), dtype="float32"),)

    def contract(self) -> dict[str, Any]:
        """Every value but placement, as JSON values."""
        values = {k: v for k, v in dataclasses.asdict(self).items() if k not in self.placement}
        return {"task": self.task_name, "config": type(self).__name__, **_jsonable(values)}

    def make(self, *, render: bool = False, intervention: Callable[..., Any] | None = None) -> Any:
        """The environment, all wrappers on.

        Args:
            render: `env.render()` returns frames of the task's video camera.
            intervention: what a human holds, see `envs.wrappers.intervention`; None for nobody.
        """
        from envs.robot_env import RobotEnv  # needs robot_servers; a learner has none
        from envs.wrappers import wrap

        env = RobotEnv(self, self.make_task(), render_mode="rgb_array" if render else None)
        return wrap(self, env, intervention=intervention)

    @classmethod
    def gym_make(cls, **kwargs: Any) -> Any:
        """Entry point for `gymnasium.make`; takes `config` and `render_mode`."""
        config = kwargs.pop("config", None) or cls()
        render = kwargs.pop("render_mode", None) is not None
        if kwargs:
            raise UserError(f"gymnasium.make: unknown {', '.join(kwargs)}; give config=.")
        return config.make(render=render)

    def make_task(self) -> Any:
        """The task's running part, an `envs.tasks.base.Task`."""
        raise NotImplementedError(f"{type(self).__name__} has no task")

    def expert(self, env: Any, *, noise: float = 0.0, seed: int = 0) -> Any:
        """A scripted `envs.tasks.base.Expert` for `env`; uses privileged simulator state.

        Args:
            noise: standard deviation added to each displacement element, in actions.
        """
        raise UserError(f"task {self.task_name!r} has no scripted expert; record with a device.")


def _jsonable(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _jsonable(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_jsonable(v) for v in value]
    return value
