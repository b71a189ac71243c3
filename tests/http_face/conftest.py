"""An HTTP client as SERL's env is one, and a guard that writes down what it is told."""

from __future__ import annotations

import base64
import http.client
import json
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from robot_servers.config import RobotConfig
from robot_servers.guard import Verdict
from robot_servers.http import HttpFace
from robot_servers.lease import LeaseBook
from robot_servers.models.base import MODELS
from robot_servers.types import (
    CartesianTarget,
    Fault,
    FaultKind,
    JointTarget,
    Mode,
    RobotState,
)
from serl.errors import UserError


class Answer:
    """A reply: status, text, and its JSON where it is some."""

    def __init__(self, response):
        self.status = response.status
        self.text = response.read().decode()

    def json(self):
        return json.loads(self.text)

    def __repr__(self):
        return f"{self.status}: {self.text[:200]}"


class Client:
    """POSTs as requests.post does: a new connection each, unless `keep`."""

    def __init__(self, address, *, keep=False, source=None, auth=None, prefix="/"):
        self._address, self._keep, self._prefix = address, keep, prefix
        self._source = (source, 0) if source else None
        self._headers = {"Content-Type": "application/json"}
        if auth:
            self._headers["Authorization"] = "Basic " + base64.b64encode(auth.encode()).decode()
        self._connection = None

    def post(self, path, body=None, *, raw=None, method="POST"):
        data = raw if raw is not None else (b"" if body is None else json.dumps(body).encode())
        connection = self._connect()
        try:
            connection.request(method, self._prefix + path, data, self._headers)
            return Answer(connection.getresponse())
        finally:
            if not self._keep:
                self.close()

    def close(self):
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connect(self):
        if self._connection is None:
            host, port = self._address
            self._connection = http.client.HTTPConnection(
                host, port, timeout=90.0, source_address=self._source
            )
        return self._connection


class WritingGuard:
    """The guard's signatures over arms that are wherever they were last sent."""

    def __init__(self, arms=("",), **changes):
        description = replace(MODELS.get("panda").description, **changes)
        self.arms = dict.fromkeys(arms, description)
        self.config = RobotConfig()
        self.backend = SimpleNamespace(unsupported=frozenset(), lockstep=False)
        self.calls: list[tuple] = []
        self.refuse = ""
        self.stopped_by_person = False
        self._states = {arm: self._at(np.array(description.q_home_rad)) for arm in arms}

    def clock(self):
        return time.monotonic_ns()

    def states(self):
        return self._states

    def set_state(self, arm="", **fields):
        self._states[arm] = replace(self._states[arm], **fields)

    def fail(self, kind, age_s=0.0):
        stamp = self.clock() - round(age_s * 1e9)
        for arm in self.arms:
            fault = Fault(kind=kind, reason="it happened", stamp_mono_ns=stamp)
            self.set_state(arm, mode=Mode.FAULT, fault=fault)

    def command(self, commands, *, valid_for_s, jump="refuse", lost=lambda: ""):
        self.calls.append(("command", commands, valid_for_s, jump))
        refused = self.refuse or lost()
        if not refused and any(s.fault for s in self._states.values()):
            refused = "the arm is in fault"
        for arm, command in commands.items() if not refused else ():
            if isinstance(command.target, CartesianTarget):
                self.set_state(arm, T_base_tcp=command.target.T_base_tcp)
            elif isinstance(command.target, JointTarget):
                q = self._states[arm].q_rad
                step = np.clip(command.target.q_rad - q, -0.2, 0.2)
                self.set_state(arm, q_rad=q + step)
            if command.gripper is not None:
                self.set_state(arm, gripper_width_m=command.gripper.width_m)
        return {
            arm: Verdict(command=None if refused else command, refused=refused)
            for arm, command in commands.items()
        }

    def recover(self, arms, who, *, operator=True):
        self.calls.append(("recover", tuple(arms), who))
        for arm in arms:
            self.set_state(arm, mode=Mode.HOLD, fault=None)
        return dict.fromkeys(arms, "")

    def set_gains(self, gains):
        self.calls.append(("gains", gains))
        return {}

    def set_motion(self, limits):
        self.calls.append(("motion", limits))
        return {}

    def set_payload(self, payloads):
        if any(p.mass_kg > 3.0 for p in payloads.values()):
            raise UserError("payload 5 kg: the arm carries 3 kg.")
        self.calls.append(("payload", payloads))

    def release(self, reason):
        self.calls.append(("release", reason))

    def begin_session(self):
        self.calls.append(("session",))

    def told(self, what):
        """Calls of one kind, in order."""
        return [call for call in self.calls if call[0] == what]

    def last_gains(self):
        return self.told("gains")[-1][1][""]

    def last_command(self, arm=""):
        return self.told("command")[-1][1][arm]

    def _at(self, q):
        return RobotState(
            stamp_mono_ns=self.clock(),
            q_rad=q,
            dq_rad_per_s=np.zeros(q.size),
            tau_nm=np.zeros(q.size),
            T_base_tcp=MODELS.get("panda").T_base_tcp(q),
            twist_base_tcp=np.zeros(6),
            wrench_base_ext=np.zeros(6),
            T_base_ref=np.eye(4),
            T_base_target=np.eye(4),
            gripper_width_m=0.08,
            gripper_target_m=0.08,
            gripper_moving=False,
            mode=Mode.HOLD,
            clamped=False,
        )


@pytest.fixture
def guard():
    return WritingGuard()


@pytest.fixture
def leases():
    return LeaseBook()


@pytest.fixture
def serve(guard, leases):
    """serve(**options) -> (face, client): a running face in front of the writing guard."""
    faces = []

    def start(on=None, bind="127.0.0.1:0", **options):
        face = HttpFace(on or guard, leases, bind, **options)
        faces.append(face)
        face.start()
        return face, Client(face.address)

    yield start
    for face in faces:
        face.stop()


def until(condition, timeout_s=5.0):
    """Poll until it holds."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.01)
    return False


HUMAN = (FaultKind.ESTOP, FaultKind.STOP, FaultKind.USER_STOP)
