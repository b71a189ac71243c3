"""The console beside a loop: frames that reach a page, and what the loop's rate pays for it.

`pick_cube` in real time with two cameras in this process, at 20 Hz; the page is a WebSocket client
in a process of its own, which drives at 30 messages/s and counts frames. The same loop is measured
without a console first: physics, drawing and the machine's other work are in both.

    python -m benchmarks.console
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from contextlib import ExitStack
from typing import Any

from envs.devices.browser import BrowserConfig
from envs.operator import OperatorConfig
from envs.pace import Pace
from launch.teleop_hand import endless, hand_env

GOAL_HZ = 20.0
GOAL_MS = 5.0
WARM_STEPS = 20

CLIENT = """
import asyncio, json, sys, time
import aiohttp

async def main(url, for_s):
    counts = {}
    async with aiohttp.ClientSession() as session, session.ws_connect(url + "socket") as socket:
        async def drive():
            while True:
                await socket.send_str(json.dumps({"t": "input", "keys": []}))
                await asyncio.sleep(1 / 30)
        driving = asyncio.ensure_future(drive())
        print("open", flush=True)
        begun = time.monotonic()
        while time.monotonic() - begun < for_s:
            message = await socket.receive()
            if message.type is aiohttp.WSMsgType.BINARY:
                counts[message.data[0]] = counts.get(message.data[0], 0) + 1
        driving.cancel()
    print(json.dumps([count / for_s for count in counts.values()]), flush=True)

asyncio.run(main(sys.argv[1], float(sys.argv[2])))
"""


def run(quick: bool = False) -> list[dict[str, Any]]:
    """Rows for `serl bench console`."""
    for_s = 10.0 if quick else 60.0
    from envs.tasks.pick_cube import PickCubeConfig

    config = endless(hand_env(PickCubeConfig().pixels(), None, episode_s=3600.0))
    operator = OperatorConfig(devices={"": BrowserConfig()}, mode="always").make()
    with operator:
        env = config.make(intervention=operator)
        try:
            env.reset(seed=0)
            alone = _paced(env, for_s)
            rates, beside = _with_a_page(env, operator, for_s)
        finally:
            env.close()
    error = "20 Hz loop, two cameras: period error, p99"
    return [
        _row(f"{error}, no console", 1e3 * alone["period_error_p99_s"], "ms", None),
        _row(f"{error}, a page open", 1e3 * beside["period_error_p99_s"], "ms", f"< {GOAL_MS:g}"),
        _row("frames/s of each camera at a page, least", min(rates, default=0.0), "1/s", "20"),
        _row("loop with a page open", beside["achieved_hz"], "Hz", "20"),
    ]


def _with_a_page(env: Any, operator: Any, for_s: float) -> tuple[list[float], dict[str, float]]:
    """Frames per second of each camera at the page, and the loop's pace meanwhile."""
    from launch.console.access import Access
    from launch.console.cell_feed import CellFeed
    from launch.console.server import Console

    with ExitStack() as stack:
        feed = CellFeed(env, operator)
        console = stack.enter_context(Console(feed, Access(bind="127.0.0.1:0")))
        page = subprocess.Popen(
            [sys.executable, "-c", CLIENT, console.url.replace("http", "ws"), str(for_s)],
            stdout=subprocess.PIPE,
            text=True,
        )
        stack.callback(page.kill)
        assert page.stdout is not None
        page.stdout.readline()  # it is open; the arm holds meanwhile
        measured = _paced(env, for_s)
        return json.loads(page.communicate(timeout=30)[0]), measured


def _paced(env: Any, for_s: float) -> dict[str, float]:
    """The loop's pace over this long, once it runs."""
    core, rest = env.unwrapped, env.get_wrapper_attr("rest")
    end_s = time.monotonic() + for_s
    for _ in range(WARM_STEPS):
        env.step(rest())
    core.pace = Pace(core.config.period_s)
    core.pace.begin(time.monotonic_ns())
    while time.monotonic() < end_s:
        env.step(rest())
    return core.pace.metrics()


def _row(what: str, value: float, unit: str, goal: str | None) -> dict[str, Any]:
    return {"what": what, "value": value, "unit": unit, "goal": goal}


if __name__ == "__main__":
    from launch.bench import print_rows

    print_rows(run("--quick" in sys.argv))
