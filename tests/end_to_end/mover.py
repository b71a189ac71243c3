"""A commander for the tests that end it badly: sweeps the TCP along y at a steady speed.

    python mover.py ADDRESS [TOKEN]

Prints 'moving' once the arm has been at speed for a while. One command per control period, as an
env's step loop does, and nothing else: when this process stops, so do its commands.
"""

from __future__ import annotations

import sys

import numpy as np

PERIOD_S = 0.05
SPEED_M_PER_S = 0.2
REACH_M = 0.15
SETTLED_STEPS = 30


def main(address: str, token: str | None) -> None:
    from robot_servers.client import RemoteBackend
    from robot_servers.types import ArmCommand, CartesianTarget

    arm = RemoteBackend(
        f"grpc://{address}",
        lockstep=False,
        token=token,
        insecure_lan=token is not None,
    )
    arm.connect()
    start = arm.states()[""].T_base_tcp.copy()
    arm.advance(PERIOD_S)
    step = 0
    while True:
        step += 1
        way = (step * SPEED_M_PER_S * PERIOD_S) % (4 * REACH_M)
        y = REACH_M - abs((way + REACH_M) % (4 * REACH_M) - 2 * REACH_M)
        T = start.copy()
        T[1, 3] += float(np.clip(y, -REACH_M, REACH_M))
        arm.command({"": ArmCommand(target=CartesianTarget(T_base_tcp=T))})
        arm.advance(PERIOD_S)
        if step == SETTLED_STEPS:
            print("moving", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None)
