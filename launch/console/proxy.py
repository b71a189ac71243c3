"""Viser's page and its WebSocket, through the console's own server and its checks."""

from __future__ import annotations

import asyncio
from typing import Any

VIEW = "/view"


class Proxy:
    """Hands /view on to a server on loopback. Use inside an event loop; `close` it there.

    Args:
        port: where viser listens.
    """

    def __init__(self, port: int) -> None:
        import aiohttp

        self._base = f"127.0.0.1:{port}"
        self._session = aiohttp.ClientSession(auto_decompress=False)

    async def close(self) -> None:
        await self._session.close()

    async def __call__(self, request: Any) -> Any:
        """A GET of anything below /view, or its WebSocket."""
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await self._socket(request)
        return await self._page(request)

    async def _page(self, request: Any) -> Any:
        from aiohttp import web

        path = request.path.removeprefix(VIEW) or "/"
        wanted = {
            name: request.headers[name]
            for name in ("Accept-Encoding", "If-None-Match")
            if name in request.headers
        }
        async with self._session.get(f"http://{self._base}{path}", headers=wanted) as answer:
            kept = {
                name: answer.headers[name]
                for name in ("Content-Type", "Content-Encoding", "ETag")
                if name in answer.headers
            }
            kept["Content-Security-Policy"] = "frame-ancestors 'self'"
            return web.Response(status=answer.status, body=await answer.read(), headers=kept)

    async def _socket(self, request: Any) -> Any:
        from aiohttp import web

        asked = request.headers.get("Sec-WebSocket-Protocol", "")
        protocols = [name.strip() for name in asked.split(",") if name.strip()]
        async with self._session.ws_connect(
            f"ws://{self._base}/", protocols=protocols, max_msg_size=0
        ) as behind:
            chosen = [behind.protocol] if behind.protocol else []
            front = web.WebSocketResponse(protocols=chosen, compress=False, heartbeat=10.0)
            await front.prepare(request)
            ways = [
                asyncio.ensure_future(_hand_on(front, behind)),
                asyncio.ensure_future(_hand_on(behind, front)),
            ]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
                await front.close()
            return front


async def _hand_on(source: Any, sink: Any) -> None:
    """One direction, until it ends. A sink that is slow slows its source: viser drops what is
    overwritten meanwhile."""
    from aiohttp import WSMsgType

    async for message in source:
        if message.type is WSMsgType.BINARY:
            await sink.send_bytes(message.data)
        elif message.type is WSMsgType.TEXT:
            await sink.send_str(message.data)
