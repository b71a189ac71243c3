"""A backend whose time stands still until a test lets it tick, and a guard over it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from robot_servers.control import se3
from robot_servers.models.base import MODELS
from robot_servers.types import (
    CartesianTarget,
    Gains,
    JointTarget,
    Mode,
    MotionLimits,
    RobotState,
    WrenchTarget,
)
from serl.errors import UserError

TICK_NS = 1_000_000


class FakeBackend:
    """Arms that are where they were told to be one tick later. Tests set what is measured."""

    def __init__(self, names=("",), *, lockstep=False, model="panda", unsupported=frozenset()):
        self.model = MODELS.get(model)
        self.arms = dict.fromkeys(names, self.model.description)
        self.lockstep = lockstep
        self.period_s = TICK_NS * 1e-9
        self.unsupported = unsupported
        self.now_ns = 10_000_000_000
        self.calls = []
        self.gains, self.limits = {}, {}
        self.on_tick = None
        self.refuses = ""
        self.fails = None
        self.recovery = ""
        self.during_command = lambda: None
        self.boxes = {}
        q = np.array(self.model.description.q_home_rad)
        self._states = {name: self._at(q) for name in names}
        self.follow = True

    def clock(self):
        return self.now_ns

    def _at(self, q):
        T = self.model.T_base_tcp(q)
        n = len(q)
        return RobotState(
            stamp_mono_ns=self.now_ns,
            q_rad=q,
            dq_rad_per_s=np.zeros(n),
            tau_nm=np.zeros(n),
            T_base_tcp=T,
            twist_base_tcp=np.zeros(6),
            wrench_base_ext=np.zeros(6),
            T_base_ref=T,
            T_base_target=T,
            gripper_width_m=0.08,
            gripper_target_m=0.08,
            gripper_moving=False,
            mode=Mode.HOLD,
            clamped=False,
        )

    def set(self, name="", **values):
        """What is measured from the next tick on."""
        self._states[name] = replace(self._states[name], **values)

    def tick(self, count=1):
        for _ in range(count):
            self.now_ns += TICK_NS
            for name, state in self._states.items():
                if self.follow and state.mode is Mode.IMPEDANCE:
                    T = state.T_base_target
                    state = replace(state, T_base_tcp=T, T_base_ref=T)
                self._states[name] = replace(state, stamp_mono_ns=self.now_ns)
            if self.on_tick is not None:
                self.on_tick(dict(self._states))

    def tick_for(self, seconds):
        self.tick(round(seconds * 1e9 / TICK_NS))

    # the Backend protocol

    def connect(self):
        self.calls.append(("connect",))

    def close(self):
        self.calls.append(("close",))

    def states(self):
        return dict(self._states)

    def command(self, commands):
        self.during_command()
        if self.refuses:
            raise UserError(self.refuses)
        if self.fails is not None:
            raise self.fails
        self.calls.append(("command", dict(commands)))
        for name, command in commands.items():
            target = command.target
            if isinstance(target, CartesianTarget):
                self.set(name, mode=Mode.IMPEDANCE, T_base_target=target.T_base_tcp)
            elif isinstance(target, JointTarget):
                self.set(name, mode=Mode.JOINT)
            elif isinstance(target, WrenchTarget):
                self.set(name, mode=Mode.WRENCH)

    def hold(self, arms):
        self.calls.append(("hold", tuple(arms)))
        for name in arms:
            T = self._states[name].T_base_tcp
            self.set(name, mode=Mode.HOLD, T_base_ref=T, T_base_target=T)

    def halt(self, arms):
        self.calls.append(("halt", tuple(arms)))
        for name in arms:
            self.set(name, mode=Mode.IDLE)

    def recover(self, arms):
        if self.recovery:
            raise UserError(self.recovery)
        for name in arms:
            self.set(name, mode=Mode.HOLD, fault=None)

    def set_payload(self, payloads):
        self.calls.append(("payload", dict(payloads)))

    def set_collision(self, thresholds):
        self.calls.append(("collision", dict(thresholds)))

    def set_wrench_box(self, name, low_m, high_m, quat_xyzw, rotation_rad):
        self.boxes[name] = (low_m, high_m)

    def subscribe(self, on_tick):
        self.on_tick = on_tick

    def facts(self):
        return {}

    def set_gains(self, gains):
        assert all(isinstance(value, Gains) for value in gains.values())
        self.gains.update(gains)

    def set_limits(self, limits):
        assert all(isinstance(value, MotionLimits) for value in limits.values())
        self.limits.update(limits)

    def advance(self, period_s):
        self.tick_for(period_s)
        return self.states()

    @property
    def scene(self):
        return None

    def said(self, kind):
        """The calls of one kind."""
        return [call for call in self.calls if call[0] == kind]


class Cell:
    """A guard over a fake backend, ready to move."""

    def __init__(self, guard, backend, events):
        self.guard, self.backend, self.events = guard, backend, events

    @property
    def T(self):
        """Where the (only) arm is."""
        return self.backend.states()[next(iter(self.backend.arms))].T_base_tcp

    def shifted(self, *displacement):
        full = np.zeros(6)
        full[: len(displacement)] = displacement
        return CartesianTarget(T_base_tcp=se3.apply_displacement(self.T, full))

    def state(self, name=""):
        return self.guard.states()[name]
