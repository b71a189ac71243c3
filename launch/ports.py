"""A port of the loopback for a learner that is started next."""

from __future__ import annotations

import random
import socket

RANGE = range(20_000, 32_000)
"""Below the ephemeral range: an actor that dials before the learner listens gets its own socket's
port from that range, may hit the very port it dials, and would then talk to itself."""
TRIES = 100


def free_port() -> int:
    """A port of `RANGE` that nothing listens on now."""
    for port in random.sample(RANGE, TRIES):
        with socket.socket() as listener:
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                continue  # taken; try another
            return port
    raise RuntimeError(f"no free port among {TRIES} tried from {RANGE.start} to {RANGE.stop}")
