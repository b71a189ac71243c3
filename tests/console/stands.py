"""What the console's tests stand on: a feed of nothing, a page without a browser."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import numpy as np

from envs.devices.browser import BrowserConfig
from launch.console.access import Access
from launch.console.hand import Hand
from launch.console.server import Console
from serl.errors import UserError


def until(holds, timeout_s=20.0):
    """Wait until something holds."""
    end = time.monotonic() + timeout_s
    while not (value := holds()):
        assert time.monotonic() < end, f"not within {timeout_s:g} s"
        time.sleep(0.01)
    return value


class StandFeed:
    """One arm's mailbox, one camera, and a note of every order."""

    def __init__(self, *, moves=True, silence_s=1.0):
        self.device = BrowserConfig(silence_s=silence_s).make()
        self.device.open()
        self.hand = Hand(self.device, BrowserConfig.words, moves)
        self.orders = []
        self.picture = np.zeros((8, 12, 3), np.uint8)

    def state(self):
        return {"title": "standing", "arms": []}

    def frames(self):
        return {"wrist": self.picture}

    def curves(self):
        return {"success": {"last 20": [[0, 0.5]]}}

    def look(self):
        return None

    def order(self, what, values):
        if what == "recover":
            raise UserError("nothing to recover from")
        self.orders.append((what, dict(values)))
        return f"did {what}"


def opened(feed, **access):
    """A console on a free port."""
    return Console(feed, Access(**{"bind": "127.0.0.1:0", **access}))


def talk(console, script, **connect):
    """Run `script(session, socket)` on one page's WebSocket; what it returns."""
    import aiohttp

    async def run():
        async with aiohttp.ClientSession() as session:
            url = f"{console.url}socket".replace("http", "ws")
            async with session.ws_connect(url, **connect) as socket:
                return await script(session, Talk(socket))

    return asyncio.run(asyncio.wait_for(run(), 30))


class Talk:
    """One page as its WebSocket."""

    def __init__(self, socket):
        self.socket = socket

    async def send(self, kind, **values):
        await self.socket.send_str(json.dumps({"t": kind, **values}))

    async def next(self, kind, holds=lambda message: True) -> Any:
        """The next message of a kind for which something holds; 'frame' is a binary one."""
        import aiohttp

        while True:
            message = await self.socket.receive(timeout=20)
            assert message.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY), message
            binary = message.type is aiohttp.WSMsgType.BINARY
            value = message.data if binary else json.loads(message.data)
            if (kind == "frame") == binary and (binary or value["t"] == kind) and holds(value):
                return value
