"""The last command of a client that is gone does not run after the hold that its end caused."""

from __future__ import annotations

import pytest

from robot_servers.command_stream import CommandSession
from robot_servers.lease import LeaseBook
from robot_servers.protocol import convert
from robot_servers.protocol import robot_pb2 as pb
from robot_servers.types import ArmCommand, Mode


def request(cell, lease, sequence):
    message = pb.CommandRequest(sequence=sequence, lease=lease, valid_for_s=2.0)
    convert.put_command(message.arms.add(), "", ArmCommand(target=cell.shifted(0.05)))
    return message


@pytest.mark.parametrize("end", ["the stream ends", "an operator takes over"])
@pytest.mark.parametrize("when", ["before the guard", "in the guard", "at the backend"])
def test_a_command_that_the_end_of_its_client_overtakes_moves_nothing(
    cells, monkeypatch, when, end
):
    cell, leases = cells(), LeaseBook()
    lease = leases.acquire("me")
    session = CommandSession(cell.guard, leases, "peer")
    session.answer(pb.CommandRequest(sequence=1, lease=lease))

    def over():
        if end == "the stream ends":
            session.end()
        else:
            leases.acquire("anna", operator=True)
            cell.guard.release("anna took the lease over")

    def before(owner, name):
        call = getattr(owner, name)

        def first_over(*args, **kwargs):
            over()
            return call(*args, **kwargs)

        monkeypatch.setattr(owner, name, first_over)

    if when == "before the guard":
        before(cell.guard, "command")
    elif when == "in the guard":
        before(cell.guard, "_pass_on")
    else:
        cell.backend.during_command = over
    session.answer(request(cell, lease, 2))
    cell.backend.tick()
    assert cell.state().mode is Mode.HOLD
    assert cell.backend.states()[""].mode is Mode.HOLD
