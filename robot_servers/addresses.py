"""Where robot servers are, and what their clients are called."""

from __future__ import annotations

import getpass
import os
import re
import socket

from serl.errors import UserError


def parse_addresses(text: str) -> dict[str | None, str]:
    """'host:port' by arm; under None where one server has all arms.

    >>> parse_addresses("left=grpc://a:1,right=grpc://b:2")
    {'left': 'a:1', 'right': 'b:2'}
    """
    found: dict[str | None, str] = {}
    for part in text.split(","):
        match = re.fullmatch(r"\s*(?:([\w-]+)=)?(?:grpc://)?([^\s=/]+:\d+)/?\s*", part)
        if match is None or match[1] in found:
            raise UserError(
                f"robot address {text!r} is not grpc://HOST:PORT, nor for several servers "
                "left=grpc://HOST:PORT,right=grpc://HOST:PORT."
            )
        found[match[1]] = match[2]
    if None in found and len(found) > 1:
        raise UserError(f"robot address {text!r}: with several servers each needs its arm's name.")
    return found


def default_client_name() -> str:
    """name@host:pid of this process."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = "someone"
    return f"{user}@{socket.gethostname()}:{os.getpid()}"
