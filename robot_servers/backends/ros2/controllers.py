"""Which controller holds the arm, and its parameters: ros2_control's services, never waited for.

The backend's loop asks and goes on; answers come in the session's thread. What went wrong stays in
`trouble` until it is cleared by a recovery.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any

from robot_servers.backends.ros2.names import Ros2Names
from robot_servers.backends.ros2.session import RosSession, load
from serl.errors import UserError

STRICT = 2
BEST_EFFORT = 1
PARAMETER_DOUBLE = 3
ACTIVE = 3
"""lifecycle_msgs/State.PRIMARY_STATE_ACTIVE."""

SWITCH_TIMEOUT_S = 1.0


class Controllers:
    """The two controllers that this backend uses, and whoever else holds the arm's joints."""

    def __init__(self, session: RosSession, names: Ros2Names) -> None:
        self._session, self._names = session, names
        self._ours = (names.cartesian_controller, names.joint_controller)
        self._lock = threading.Lock()
        self._others: list[str] = []
        self._active: str | None = None
        self._active_since_ns = 0
        self._switching_to: str | None = None
        self._asked_at = 0.0
        self._wanted: dict[str, float] | None = None
        self._sent: dict[str, float] = {}
        self._parameters_in_flight = False
        self.trouble = ""
        """What a controller or its manager refused, one line; empty when all is well."""

    def connect(self) -> None:
        """Find the manager and our controllers. Raises UserError in one line."""
        manager = self._names.controller_manager
        srv = "controller_manager_msgs.srv"
        self._switch = self._session.client(
            (srv, "SwitchController"), f"{manager}/switch_controller"
        )
        self._list = self._session.client((srv, "ListControllers"), f"{manager}/list_controllers")
        self._components = self._session.client(
            (srv, "ListHardwareComponents"), f"{manager}/list_hardware_components"
        )
        self._set_component = self._session.client(
            (srv, "SetHardwareComponentState"), f"{manager}/set_hardware_component_state"
        )
        self._set_parameters = self._session.client(
            ("rcl_interfaces.srv", "SetParametersAtomically"),
            f"{self._names.cartesian_controller}/set_parameters_atomically",
        )
        self.refresh()

    def refresh(self) -> None:
        """Ask which controllers there are and which hold the joints. Waits for the answer."""
        request = load("controller_manager_msgs.srv", "ListControllers").Request()
        found = {c.name: c for c in self._session.call(self._list, request).controller}
        for name in self._ours:
            state = found[name].state if name in found else "not loaded"
            if state not in ("active", "inactive"):
                raise UserError(
                    f"controller {name} is {state}. Start ros2_launch/franka_crisp.launch.xml, or "
                    f"spawn it: ros2 run controller_manager spawner {name} --inactive"
                )
        with self._lock:
            self._others = [
                c.name
                for c in found.values()
                if c.state == "active" and c.claimed_interfaces and c.name not in self._ours
            ]
            self._active = next((n for n in self._ours if found[n].state == "active"), None)
            self._active_since_ns = time.monotonic_ns()
            self._switching_to = None
            self._sent = {}
            self.trouble = ""

    @property
    def held_since_mono_ns(self) -> int | None:
        """When one of our controllers was confirmed to hold the joints; None while none does."""
        with self._lock:
            if self._active is None or self._switching_to is not None:
                return None
            return self._active_since_ns

    @property
    def free(self) -> bool:
        """Nobody holds the joints, and that is confirmed."""
        with self._lock:
            return self._active is None and self._switching_to is None and not self._others

    def holds(self, name: str) -> bool:
        """True once `name` is the active controller; asks for it otherwise, and returns at once."""
        with self._lock:
            if self._active == name and self._switching_to is None:
                return True
            now = time.monotonic()
            if self._switching_to is not None:
                if now - self._asked_at > SWITCH_TIMEOUT_S and not self.trouble:
                    what = (
                        f"start {self._switching_to}" if self._switching_to else "release the arm"
                    )
                    self.trouble = (
                        f"the controller manager did not {what} within {SWITCH_TIMEOUT_S:g} s. See "
                        "its log, then recover."
                    )
                return False
            if self.trouble:
                return False
            self._switching_to, self._asked_at = name, now
            leave = [n for n in self._ours if n == self._active] + self._others
        self._ask(activate=[name], deactivate=leave, strictness=STRICT)
        return False

    def release(self) -> None:
        """No controller holds the joints any more; franka_hardware ends torque control."""
        with self._lock:
            self._active, self._switching_to, self._asked_at = None, "", time.monotonic()
            leave = [*self._ours, *self._others]
        self._ask(activate=[], deactivate=leave, strictness=BEST_EFFORT)

    def _ask(self, *, activate: list[str], deactivate: list[str], strictness: int) -> None:
        request = load("controller_manager_msgs.srv", "SwitchController").Request()
        request.activate_controllers = activate
        request.deactivate_controllers = deactivate
        request.strictness = strictness
        request.activate_asap = True
        request.timeout.sec = 1
        future = self._switch.call_async(request)
        future.add_done_callback(lambda done: self._switched(activate, done))

    def _switched(self, activate: list[str], future: Any) -> None:
        error = future.exception()
        ok = error is None and future.result().ok
        with self._lock:
            wanted = activate[0] if activate else ""
            if self._switching_to != wanted:
                return  # something else was asked for since
            self._switching_to = None
            if ok:
                self._active, self._active_since_ns = wanted or None, time.monotonic_ns()
                self._others = []
            else:
                what = f"start {wanted}" if wanted else "release the arm"
                self.trouble = (
                    f"the controller manager refused to {what} ({error or 'not ok'}). See its log "
                    "and whether another controller holds the joints, then recover."
                )

    def parameters(self, wanted: Mapping[str, float]) -> None:
        """Set the Cartesian controller's parameters, all in one update; the newest set wins."""
        with self._lock:
            self._wanted = dict(wanted)
            if self._parameters_in_flight:
                return
        self._send_parameters()

    def _send_parameters(self) -> None:
        with self._lock:
            wanted = self._wanted or {}
            changed = {k: v for k, v in wanted.items() if self._sent.get(k) != v}
            self._wanted = None
            if not changed:
                return
            self._parameters_in_flight = True
        request = load("rcl_interfaces.srv", "SetParametersAtomically").Request()
        make, make_value = (
            load("rcl_interfaces.msg", name) for name in ("Parameter", "ParameterValue")
        )
        request.parameters = [
            make(name=name, value=make_value(type=PARAMETER_DOUBLE, double_value=value))
            for name, value in changed.items()
        ]
        future = self._set_parameters.call_async(request)
        future.add_done_callback(lambda done: self._parameters_set(changed, done))

    def _parameters_set(self, changed: dict[str, float], future: Any) -> None:
        error = future.exception()
        result = None if error else future.result().result
        with self._lock:
            self._parameters_in_flight = False
            if result is not None and result.successful:
                self._sent.update(changed)
            else:
                why = error or (result.reason if result is not None else "")
                self.trouble = (
                    f"{self._names.cartesian_controller} refused its gains ({why}). Is it CRISP "
                    "2.3? Set gains it accepts, then recover."
                )
                self._wanted = None
            more = self._wanted is not None
        if more:
            self._send_parameters()

    def wake_hardware(self) -> None:
        """Bring the hardware component back to 'active': franka_hardware ends on a reflex."""
        request = load("controller_manager_msgs.srv", "ListHardwareComponents").Request()
        for component in self._session.call(self._components, request).component:
            if component.state.id == ACTIVE:
                continue
            ask = load("controller_manager_msgs.srv", "SetHardwareComponentState").Request()
            ask.name = component.name
            ask.target_state.id = ACTIVE
            ask.target_state.label = "active"
            if not self._session.call(self._set_component, ask).ok:
                raise UserError(
                    f"hardware component {component.name} stays {component.state.label}. Restart "
                    "the launch file."
                )
