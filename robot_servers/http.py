"""SERL's HTTP endpoints: a second face of the robot server, so that an existing client drives it.

The endpoints, their payloads, units and replies are SERL's and HIL-SERL's; what stands behind them
is ours: the guard's limits and watchdog, one commander at a time, faults that stay until an
operator clears them. docs/robot_server.md lists what a SERL client will notice.

All requests are POST. An arm of a cell is served below its name (`/left/pose`), a single arm at
the root as well. Plain aiohttp on a thread and an event loop of its own.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import json
import socket
import ssl
import threading
from collections import Counter
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, cast

from robot_servers.guard import Guard
from robot_servers.http_arm import ArmFace, Call, Endpoint, Move, Reply
from robot_servers.http_bind import bound_socket, checked_password, server_context
from robot_servers.http_gripper import FLAVOURS, Flavour
from robot_servers.http_peer import HttpLease, Peer
from robot_servers.http_reply import Refused
from robot_servers.lease import LeaseBook
from serl.errors import UserError, unknown_name
from serl.rpc import Address, Tls, parse_address

MAX_BODY_BYTES = 64 * 1024
"""The largest body that means anything is a few hundred bytes."""
BODY_TIMEOUT_S = 5.0
WATCH_S = 0.025
"""How often the commanding client's connection is looked at."""
START_LIMIT_S = 10.0


class HttpFace:
    """Serves SERL's endpoints between `start` and `stop`.

    Args:
        bind: 'host:port'; port 0 takes a free one, see `address`.
        flavour: 'serl' or 'hil-serl': what gripper_pos means, and which endpoints there are.
        recover: /clearerr recovers from the arm's own faults, 2 s after they began.
        password: of Basic auth, as in http://any:PASSWORD@host:5000/. Needed beyond loopback.
        tls: certificate and key, for https.
        insecure_lan: beyond loopback without TLS; the password can be read on the network.
        reset_q_rad: where /jointreset goes; None: the robot's home.
    """

    def __init__(
        self,
        guard: Guard,
        leases: LeaseBook,
        bind: str,
        *,
        flavour: str = "serl",
        recover: bool = False,
        password: str | None = None,
        tls: Tls | None = None,
        insecure_lan: bool = False,
        reset_q_rad: tuple[float, ...] | None = None,
    ) -> None:
        self.address = parse_address(bind)
        """Where it listens; the port is the real one after `start`."""
        self.counters: Counter[str] = Counter()
        """Requests by path, 'refused/<status>', 'clamped/<limit>', 'clearerr/ignored'."""
        self._guard = guard
        self._flavour: Flavour = _known_flavour(flavour)
        self._password = checked_password(self.address, password, tls, insecure_lan)
        self._tls = tls
        self._lease = HttpLease(leases, on_new=self._begin, on_gone=guard.release)
        self._recover, self._reset_q_rad = recover, reset_q_rad
        self._faces: dict[str, ArmFace] = {}
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="http commands")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._ended: asyncio.Event | None = None

    @property
    def url(self) -> str:
        """What a client is given as its SERVER_URL, without user and password."""
        return f"{'https' if self._tls else 'http'}://{self.address}/"

    @property
    def holder(self) -> str:
        """The HTTP client that commands, empty for none."""
        return self._lease.holder

    def start(self) -> None:
        """Bind and serve. Raises UserError, one line, where that cannot be."""
        try:
            import aiohttp.web  # noqa: F401
        except ImportError as error:
            raise UserError(
                f"SERL's HTTP endpoints need {error.name}; install it with: "
                "pip install 'serl-suite[http]'"
            ) from error
        if self._guard.backend.lockstep:
            raise UserError(
                "SERL's HTTP clients live by the wall clock, which a lockstep simulation does not "
                "follow; start the server without --lockstep."
            )
        self._make_faces()
        context = server_context(self._tls)
        sock = bound_socket(self.address)
        self.address = Address(self.address.host, sock.getsockname()[1])
        ready: list[BaseException | None] = []
        started = threading.Event()

        def serve() -> None:
            async def main() -> None:
                self._loop, self._ended = asyncio.get_running_loop(), asyncio.Event()
                runner = await _runner(self._app(), sock, context)
                ready.append(None)
                started.set()
                try:
                    await self._watch()
                finally:
                    await self._in_worker(self._lease.let_go, "the HTTP server stops")
                    await runner.cleanup()

            try:
                asyncio.run(main())
            except BaseException as error:
                ready.append(error)
                started.set()
                raise

        self._thread = threading.Thread(target=serve, name="http", daemon=True)
        self._thread.start()
        if not started.wait(START_LIMIT_S) or ready[0] is not None:
            raise UserError(f"the HTTP server on {self.address} did not start: {ready}.")

    def stop(self) -> None:
        """The arm holds if an HTTP client commanded it; connections end, the port is free."""
        if self._thread is None or self._loop is None or self._ended is None:
            return
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join()
        self._thread = None
        self._worker.shutdown()

    def __enter__(self) -> HttpFace:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _begin(self) -> None:
        """Another HTTP client commands."""
        self._guard.begin_session()
        for face in self._faces.values():
            face.begin()

    def _make_faces(self) -> None:
        self._faces = {
            arm: ArmFace(
                self._guard,
                arm,
                self._lease,
                self._in_worker,
                flavour=self._flavour,
                recover=self._recover,
                reset_q_rad=self._reset_q_rad,
                counters=self.counters,
            )
            for arm in self._guard.arms
        }

    async def _in_worker(self, call: Callable[..., Any], *args: Any) -> Any:
        """On the one thread that commands; the guard may let it wait, and reads go on meanwhile."""
        return await asyncio.get_running_loop().run_in_executor(self._worker, call, *args)

    def _app(self) -> Any:
        from aiohttp import web

        app = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[self._middleware()])
        for arm, face in self._faces.items():
            roots = {f"/{arm}/" if arm else "/"} | ({"/"} if len(self._faces) == 1 else set())
            for root in roots:
                for path, read in face.reads().items():
                    app.router.add_post(root + path, self._handler(root + path, _at_once(read)))
                for path, command in face.commands().items():
                    in_worker = partial(self._in_worker, command)
                    app.router.add_post(root + path, self._handler(root + path, in_worker))
                for path, move in face.moves().items():
                    app.router.add_post(root + path, self._handler(root + path, move))
        return app

    def _middleware(self) -> Any:
        """Password, and one line for whatever is refused; 404, 405 and 413 are aiohttp's own."""
        from aiohttp import web

        @web.middleware
        async def answer(request: Any, handler: Callable[[Any], Awaitable[Any]]) -> Any:
            if self._password is not None and not _knows(request, self._password):
                self.counters["refused/401"] += 1
                return web.Response(
                    status=401,
                    text="the password is missing or wrong; give it in the URL, as in "
                    "http://serl:PASSWORD@host:5000/.",
                    headers={"WWW-Authenticate": 'Basic realm="robot"'},
                )
            try:
                return await handler(request)
            except web.HTTPException as error:
                self.counters[f"refused/{error.status}"] += 1
                raise
            except UserError as error:
                status = error.status if isinstance(error, Refused) else 409
                self.counters[f"refused/{status}"] += 1
                return web.Response(status=status, text=" ".join(str(error).split()))

        return answer

    def _handler(self, path: str, endpoint: Move) -> Callable[[Any], Awaitable[Any]]:
        from aiohttp import web

        async def handle(request: Any) -> Any:
            self.counters[path] += 1
            body = _json(await _read(request))
            return _response(web, await endpoint(Call(_peer(request), body)))

        return handle

    async def _watch(self) -> None:
        """Until `stop`: notice a commanding client that has gone."""
        assert self._ended is not None
        while not self._ended.is_set():
            if self._lease.gone:
                await self._in_worker(self._lease.watch)
            try:
                await asyncio.wait_for(self._ended.wait(), WATCH_S)
            except asyncio.TimeoutError:
                continue


def _at_once(read: Endpoint) -> Move:
    async def answer(call: Call) -> Reply:
        return read(call)

    return answer


async def _runner(app: Any, sock: socket.socket, context: ssl.SSLContext | None) -> Any:
    from aiohttp import web

    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    await web.SockSite(runner, sock, ssl_context=context).start()
    return runner


async def _read(request: Any) -> bytes:
    """The whole body. One that is too large is aiohttp's 413."""
    try:
        return await asyncio.wait_for(request.read(), BODY_TIMEOUT_S)
    except asyncio.TimeoutError:
        raise Refused(408, f"the body did not come within {BODY_TIMEOUT_S:g} s.") from None


def _json(data: bytes) -> object:
    """None for no body. SERL's clients do not always say that it is JSON."""
    if not data.strip():
        return None
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Refused(400, f"the body is no JSON: {str(error)[:80]}.") from error


def _response(web: Any, reply: Reply) -> Any:
    if isinstance(reply, str):
        return web.Response(text=reply)
    return web.json_response(reply)


def _peer(request: Any) -> Peer:
    user = _credentials(request)[0]
    host = request.remote or "?"
    if request.transport is None:
        raise ConnectionResetError(f"{host} has closed its connection")
    return Peer(f"http:{user}@{host}" if user else f"http@{host}", request.transport)


def _credentials(request: Any) -> tuple[str, str]:
    """User and password of Basic auth; empty where there are none."""
    scheme, _, blob = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return "", ""
    try:
        user, _, password = base64.b64decode(blob, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    return "".join(filter(str.isprintable, user))[:40], password


def _knows(request: Any, password: str) -> bool:
    return hmac.compare_digest(_credentials(request)[1].encode(), password.encode())


def _known_flavour(name: str) -> Flavour:
    if name in FLAVOURS:
        return cast(Flavour, name)
    raise unknown_name("HTTP flavour", name, FLAVOURS)
