"""The console's server: a thread and an event loop of its own beside the loop that moves the arm.

It serves one page, its WebSocket, and viser's 3-D view through itself. Nothing here is ever waited
for: what pages are sent are newest-wins slots, pictures are coded in a worker thread, and when this
thread dies the loop is told, the hand is released, and the arm goes on without a console.
"""

from __future__ import annotations

import asyncio
import io
import json
import logging
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from launch.console.access import Access, middleware
from launch.console.feed import Feed
from launch.console.floor import Floor, Page
from launch.console.proxy import VIEW, Proxy
from robot_servers.http_bind import bound_socket, server_context
from serl.errors import UserError
from serl.rpc import Address
from serl.timing import Every

log = logging.getLogger(__name__)

PAGE = Path(__file__).with_name("page")
FILES = {
    "/": ("index.html", "text/html"),
    "/console.css": ("console.css", "text/css"),
    "/console.js": ("console.js", "text/javascript"),
    "/hand.js": ("hand.js", "text/javascript"),
    "/plots.js": ("plots.js", "text/javascript"),
}
HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; "
    "frame-ancestors 'none'",
}
FRAMES_HZ = 20.0
"""A camera is shown at most this often."""
LOOK_S = 0.01
"""How often it is asked whether there is a newer frame."""
STATE_S = 0.1
CURVES_S = 2.0
VIEW_S = 0.05
IDLE_S = 0.05
QUALITY = 80
MAX_MESSAGE_BYTES = 16 * 1024
START_LIMIT_S = 10.0
SWITCH_S = 0.001
"""Longest turn of one of Python's threads while others wait: the loop's is the one that must not
be late. The interpreter's own is 5 ms."""


class Console:
    """Serves between `start` and `stop`; use with `with`.

    Args:
        feed: what is shown and can be done.
        view: the 3-D view (`CellView`), if there is one; closed with the console.
        tell: gets one line when the console has died.
    """

    def __init__(
        self,
        feed: Feed,
        access: Access,
        *,
        view: Any = None,
        tell: Callable[[str], None] = log.error,
    ) -> None:
        self.address = access.address
        """Where it listens; the port is the real one after `start`."""
        self.shown = 0
        """Frames coded so far, all cameras together."""
        self._feed, self._access, self._view, self._tell = feed, access, view, tell
        self._floor = Floor(feed.hand)
        self._cameras: list[str] = []
        """Names, in the order of the first byte of each frame sent."""
        self._pictures: dict[int, bytes] = {}
        self._files = {path: (PAGE / name).read_bytes() for path, (name, _) in FILES.items()}
        self._login = (PAGE / "login.html").read_text()
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="console work")
        self._orders = ThreadPoolExecutor(2, thread_name_prefix="console orders")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended: asyncio.Event | None = None
        self._thread: threading.Thread | None = None
        self._switch_s = sys.getswitchinterval()

    @property
    def url(self) -> str:
        """What a person opens."""
        return f"{'https' if self._access.tls else 'http'}://{self.address}/"

    def start(self) -> None:
        """Bind and serve. Raises UserError, one line, where that cannot be."""
        try:
            import aiohttp.web  # noqa: F401
            import PIL.Image  # noqa: F401
        except ImportError as error:
            raise UserError(
                f"the console needs {error.name}; install it with: "
                "pip install 'serl-suite[console]'"
            ) from error
        context = server_context(self._access.tls)
        sock = bound_socket(self.address)
        self.address = Address(self.address.host, sock.getsockname()[1])
        sys.setswitchinterval(min(SWITCH_S, self._switch_s))
        started, failed = threading.Event(), []

        def serve() -> None:
            try:
                asyncio.run(self._main(sock, context, started))
            except Exception as error:
                failed.append(error)
                self._feed.hand.release()
                log.exception("the console's thread has died")
                self._tell(
                    f"the console has died ({type(error).__name__}: {error}); its controls are "
                    "released and the loop goes on without it."
                )
            finally:
                started.set()

        self._thread = threading.Thread(target=serve, name="console", daemon=True)
        self._thread.start()
        if not started.wait(START_LIMIT_S) or failed:
            raise UserError(f"the console on {self.address} did not start: {failed}.")

    def stop(self) -> None:
        """Pages are let go, the hand is released, the port is free."""
        if self._thread is not None and self._loop is not None and self._ended is not None:
            if self._thread.is_alive():
                self._loop.call_soon_threadsafe(self._ended.set)
            self._thread.join()
        self._thread = None
        self._feed.hand.release()
        self._worker.shutdown()
        self._orders.shutdown(wait=False)
        if self._view is not None:
            self._view.close()
        sys.setswitchinterval(self._switch_s)

    def __enter__(self) -> Console:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def say(self, text: str) -> None:
        """One line for everyone who looks, from any thread."""
        loop = self._loop
        if loop is not None and self._thread is not None and self._thread.is_alive():
            loop.call_soon_threadsafe(self._floor.note, text)

    async def _main(self, sock: socket.socket, context: Any, started: threading.Event) -> None:
        """Serve, and keep every page's slots filled, until `stop`."""
        from aiohttp import web

        self._loop, self._ended = asyncio.get_running_loop(), asyncio.Event()
        proxy = Proxy(self._view.port) if self._view is not None else None
        runner = web.AppRunner(self._app(proxy), access_log=None, shutdown_timeout=0.5)
        await runner.setup()
        await web.SockSite(runner, sock, ssl_context=context).start()
        jobs = [
            asyncio.ensure_future(job)
            for job in (self._states(), self._frames(), self._looks(), self._ended.wait())
        ]
        started.set()
        try:
            done, _ = await asyncio.wait(jobs, return_when=asyncio.FIRST_COMPLETED)
            for job in done:
                job.result()  # a job that failed ends the console, aloud
        finally:
            for job in jobs:
                job.cancel()
            await asyncio.gather(*jobs, return_exceptions=True)
            if proxy is not None:
                await proxy.close()
            await runner.cleanup()

    def _app(self, proxy: Proxy | None) -> Any:
        from aiohttp import web

        app = web.Application(
            client_max_size=MAX_MESSAGE_BYTES,
            middlewares=[middleware(self._access, self._ask_for_token)],
        )
        for path, (_, kind) in FILES.items():
            app.router.add_get(path, partial(self._file, path, kind))
        app.router.add_post("/login", self._logged_in)
        app.router.add_post("/estop", self._emergency_stop)
        app.router.add_get("/socket", self._socket)
        if proxy is not None:
            app.router.add_get(VIEW, proxy)
            app.router.add_get(VIEW + "/{rest:.*}", proxy)
        return app

    # Pages.

    async def _file(self, path: str, kind: str, request: Any) -> Any:
        from aiohttp import web

        return web.Response(body=self._files[path], content_type=kind, headers=HEADERS)

    def _ask_for_token(self, said: str = "") -> Any:
        from aiohttp import web

        text = self._login.replace("@SAID@", said)
        return web.Response(status=401, text=text, content_type="text/html", headers=HEADERS)

    async def _logged_in(self, request: Any) -> Any:
        """The token was typed; the browser gets its cookie."""
        from aiohttp import web

        form = await request.post()
        if not self._access.login(str(form.get("token", ""))):
            await asyncio.sleep(0.5)  # a guess costs time
            return self._ask_for_token("That is not this console's token.")
        answer = web.Response(status=303, headers={"Location": "/"})
        answer.set_cookie(
            self._access.cookie(request),
            self._access.secret,
            httponly=True,
            samesite="Strict",
            secure=self._access.tls is not None,
        )
        return answer

    async def _emergency_stop(self, request: Any) -> Any:
        """Anyone who may see the page may stop the arm; it needs no controls."""
        from aiohttp import web

        said = await self._order("estop", {})
        return web.Response(text=said)

    async def _socket(self, request: Any) -> Any:
        """One page's WebSocket, as long as it stands."""
        from aiohttp import WSMsgType, web

        connection = web.WebSocketResponse(heartbeat=5.0, max_msg_size=MAX_MESSAGE_BYTES)
        await connection.prepare(request)
        page = self._floor.join(request.remote or "?")
        if page is None:
            await connection.close(message=b"too many pages are open")
            return connection
        for number, picture in self._pictures.items():
            page.show(number, picture)
        sender = asyncio.ensure_future(page.send_on(connection))
        try:
            async for message in connection:
                if message.type is WSMsgType.TEXT:
                    await self._hear(page, message.data)
        finally:
            self._floor.leave(page)
            sender.cancel()
            await asyncio.gather(sender, return_exceptions=True)
        return connection

    async def _hear(self, page: Page, text: str) -> None:
        """One message of a page; what cannot be understood is said to that page."""
        try:
            message = json.loads(text)
            kind = message["t"]
            if kind == "input":
                self._floor.hear(page, message)
            elif kind == "release":
                self._floor.let_go(page)
            elif kind == "take":
                self._floor.take(page)
            elif kind == "order":
                if page is not self._floor.driver:
                    raise ValueError("take the controls first")
                values = message.get("values", {})
                await self._order(str(message["what"]), values if isinstance(values, dict) else {})
            else:
                raise ValueError(f"{str(kind)[:40]!r} is nothing the console knows")
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            page.post("problem", {"text": f"not understood: {str(error)[:120]}"})

    async def _order(self, what: str, values: Mapping[str, Any]) -> str:
        """Done in a thread of its own: an arm's answer may take a while."""
        loop = asyncio.get_running_loop()
        try:
            said = await loop.run_in_executor(self._orders, self._feed.order, what, values)
        except UserError as error:
            said = " ".join(str(error).split())
        self._floor.note(said)
        return said

    # What is shown.

    async def _states(self) -> None:
        """Numbers and words ten times a second, curves now and then."""
        state_due, curves_due = Every(0.9 * STATE_S), Every(CURVES_S)
        while True:
            if self._floor.released:
                self._floor.hand.idle()
            if self._floor.pages and state_due():
                self._floor.post("state", {**self._feed.state(), **self._page_state()})
                if curves_due():
                    curves = await self._in_worker(self._feed.curves)
                    self._floor.post("curves", {"curves": curves})
            await asyncio.sleep(IDLE_S)

    def _page_state(self) -> dict[str, Any]:
        """What the page's own parts are made of."""
        hand = self._feed.hand
        return {"cameras": self._cameras, "words": hand.keys, "moves": hand.moves}

    async def _frames(self) -> None:
        """The newest frame of each camera, when it is a new one."""
        last: dict[str, Any] = {}
        due_s: dict[str, float] = {}
        names = self._cameras
        while True:
            await asyncio.sleep(LOOK_S)
            if not self._floor.pages:
                continue
            for name, frame in self._feed.frames().items():
                now = time.monotonic()
                if frame is last.get(name) or now < due_s.get(name, 0.0):
                    continue
                due_s[name] = max(now, due_s.get(name, 0.0) + 0.9 / FRAMES_HZ)
                last[name] = frame
                if name not in names:
                    names.append(name)
                coded = await self._in_worker(lambda frame=frame: coded_frame(frame))
                self.shown += 1
                number = names.index(name)
                self._pictures[number] = bytes((number,)) + coded
                self._floor.show(number, self._pictures[number])

    async def _looks(self) -> None:
        """The 3-D view, while someone looks."""
        while True:
            await asyncio.sleep(VIEW_S)
            if self._view is not None and self._floor.pages and self._view.watched:
                await self._in_worker(self._update_view)

    def _update_view(self) -> None:
        look = self._feed.look()
        if look is not None:
            self._view.update(look)

    async def _in_worker(self, call: Callable[[], Any]) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._worker, call)


def coded_frame(frame: NDArray[np.uint8]) -> bytes:
    """A frame (height, width, 3) as JPEG; the coder lets other threads run."""
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(frame).save(out, "JPEG", quality=QUALITY)
    return out.getvalue()
