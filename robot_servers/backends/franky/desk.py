"""What else only the Desk web page does: brakes, FCI, control token; through franky's Desk client.

`serl robot unlock` and `lock` call these. Credentials are the Desk user's. FR3 with system 5 or
later speaks the current interface ('v1'); Panda and older FR3 the one before ('legacy').
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from serl.errors import UserError

TOKEN_WAIT_S = 30.0
"""How long to wait for whoever holds control now to give it up."""

BRAKES_S = 30.0
"""Brakes open joint by joint; about 10 s in all."""


@contextmanager
def desk(address: str, user: str, password: str, *, api: str = "v1") -> Iterator[Any]:
    """A logged-in Desk session, closed again; what goes wrong in it is one line.

    Raises UserError.
    """
    try:
        import franky
    except ImportError as error:
        raise UserError(
            f"Desk needs {error.name or 'franky'}; install it with: pip install "
            "'serl-suite[franky]'"
        ) from error
    kinds = {"v1": franky.Desk, "legacy": franky.DeskWebSession}
    if api not in kinds:
        raise UserError(f"no Desk interface {api!r}; give one of {', '.join(kinds)}.")
    session = kinds[api](address, user, password)
    try:
        with session:
            yield session
    except franky.FrankaAPIError as error:
        if error.http_code in (401, 403):
            hint = "check user and password, and that this user may control the arm"
        elif error.http_code == 404:
            hint = f"this arm may speak the other interface; try api = {other(api)!r}"
        else:
            hint = "look at the Desk page itself"
        raise UserError(
            f"Desk at {address}: HTTP {error.http_code} at {error.path}; {hint}."
        ) from error
    except franky.TakeControlTimeoutError as error:
        raise UserError(
            f"Desk at {address}: nobody gave up control within {TOKEN_WAIT_S:g} s. Release it on "
            "the Desk page that holds it, then try again."
        ) from error
    except franky.DeskError as error:
        raise UserError(f"Desk at {address}: {' '.join(str(error).split())}") from error
    except OSError as error:
        raise UserError(
            f"no Desk at {address} ({error}). Check the cable and the address: https://{address} "
            "should show it in a browser."
        ) from error


def unlock(address: str, user: str, password: str, *, api: str = "v1") -> None:
    """Take control, open the brakes, activate the FCI, and give control back. The arm may sag by a
    millimetre as each brake opens."""
    with desk(address, user, password, api=api) as session:
        session.take_control(wait_timeout=TOKEN_WAIT_S)
        if brakes(session) != "unlocked":
            session.unlock_brakes()
            _wait_for(address, "open", lambda: brakes(session) == "unlocked")
        session.enable_fci()


def lock(address: str, user: str, password: str, *, api: str = "v1") -> None:
    """Take control and close the brakes. The FCI ends with it."""
    with desk(address, user, password, api=api) as session:
        session.take_control(wait_timeout=TOKEN_WAIT_S)
        session.lock_brakes()
        _wait_for(address, "close", lambda: brakes(session) == "locked")


def status(address: str, user: str, password: str, *, api: str = "v1") -> dict[str, str]:
    """Brakes ('locked', 'unlocked' or 'moving') and operating mode; needs no control."""
    with desk(address, user, password, api=api) as session:
        found = {"brakes": brakes(session), "mode": session.operating_mode.value}
        if api == "v1":
            found["fci"] = str(session.get_fci_status())
        return found


def brakes(session: Any) -> str:
    """'locked', 'unlocked', or 'moving' while some are the one and some the other."""
    import franky

    try:
        return session.brake_state.name.lower()
    except franky.FrankaAPIError:
        raise
    except franky.DeskError:  # franky calls a mixed state an error; on the way it is none
        return "moving"


def other(api: str) -> str:
    return "legacy" if api == "v1" else "v1"


def _wait_for(address: str, verb: str, done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + BRAKES_S
    while not done():
        if time.monotonic() > deadline:
            raise UserError(
                f"Desk at {address}: the brakes did not {verb} within {BRAKES_S:g} s; look at the "
                "Desk page."
            )
        time.sleep(0.2)
