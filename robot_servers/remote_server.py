"""One of the servers behind a RemoteBackend: which of its arms is which of ours, and its states."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from robot_servers.errors import StaleState
from robot_servers.link import CALL_TIMEOUT_S, Link
from robot_servers.models.base import describe
from robot_servers.protocol import convert
from robot_servers.protocol import robot_pb2 as pb
from robot_servers.types import RobotState
from serl.errors import UserError


class RemoteServer:
    """One robot server, and which of its arms is which of ours."""

    def __init__(
        self,
        alias: str | None,
        address: str,
        dialled: Mapping[str, Any],
        heard: Callable[[RemoteServer, pb.States], None],
    ) -> None:
        self.alias = alias
        self.link = Link(address, on_states=lambda states: heard(self, states), **dialled)
        self.names: dict[str, str] = {}
        """Our name of an arm by the server's."""
        self.in_fault = False
        self._converted: tuple[pb.States | None, Mapping[str, RobotState]] = (None, {})

    @property
    def first(self) -> str:
        """Our name of its first arm."""
        return next(iter(self.names.values()), self.alias or "")

    def arrange(self, reply: pb.DescribeReply, models: Mapping[str, str] | None) -> None:
        """Match its arms with ours by name. Raises UserError for arms that do not fit."""
        theirs = [entry.arm for entry in reply.arms]
        if self.alias is not None:
            if len(theirs) != 1:
                raise UserError(
                    f"{self.link.peer} serves {len(theirs)} arms; as one of several servers it "
                    "must serve one."
                )
            self.names = {theirs[0]: self.alias}
        else:
            self.names = {name: name for name in theirs}
        if models is None:
            return
        wanted = [name for name in models if self.alias in (None, name)]
        missing = [name for name in wanted if name not in self.names.values()]
        if missing or not wanted:
            raise UserError(
                f"{self.link.peer} serves arms {sorted(self.names.values())}, the experiment has "
                f"{sorted(models)}; name them alike."
            )
        for entry in reply.arms:
            self._check_model(entry.description, models.get(self.names[entry.arm]))

    def _check_model(self, found: pb.RobotDescription, model: str | None) -> None:
        if model is None:
            return
        wanted = describe(model)
        if found.name != wanted.name or len(found.joint_names) != wanted.joint_count:
            raise UserError(
                f"{self.link.peer} has a {found.name} with {len(found.joint_names)} joints, the "
                f"experiment wants a {wanted.name} with {wanted.joint_count}; set arms.robot to "
                f"{found.name!r}, or use that arm."
            )

    def theirs(self, values: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
        """Values of our arms that are here, under the server's names."""
        return [(theirs, values[ours]) for theirs, ours in self.names.items() if ours in values]

    def states(self, now_ns: int, oldest_s: float) -> Mapping[str, RobotState]:
        """The newest sample, in our clock. Raises StaleState when it is too old."""
        newest, clock = self.link.newest, self.link.clock
        if newest is None or clock.best is None:
            raise StaleState(f"{self.link.peer}: no state has come yet.")
        age_s = (now_ns + clock.offset_ns - newest.stamp_mono_ns) * 1e-9
        if age_s > oldest_s:
            raise StaleState(
                f"{self.link.peer}: the newest state is {age_s:.2f} s old (limit {oldest_s:.2f} "
                "s); the arm holds by itself. Waiting for the server or the network."
            )
        return self.converted(newest, -clock.offset_ns)

    def converted(self, states: pb.States, offset_ns: int) -> Mapping[str, RobotState]:
        """A message as values under our names; the same message always gives the same values."""
        kept, values = self._converted
        if kept is states:
            return values
        taken = convert.take_states(states, offset_ns)
        values = {
            self.names[theirs]: state for theirs, state in taken.items() if theirs in self.names
        }
        self._converted = states, values
        return values

    def stop(self, reason: str, *, emergency: bool = False) -> None:
        robot = self.link.robot
        method = robot.EStop if emergency else robot.Stop
        self.link.call(method, pb.StopRequest(reason=reason), CALL_TIMEOUT_S)
