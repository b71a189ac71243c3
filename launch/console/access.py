"""Who may open the console: a browser on this machine, or one whose person knows the token.

Without a token the page answers to this machine's own names alone, so that no site that a browser
is lured to can reach it under another name. What changes something, and the WebSocket, is only
taken from our own page (Origin). A token is typed once; the browser then has a cookie, which is no
token and ends with the server.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from serl.errors import UserError
from serl.rpc import TOKEN_MIN_CHARS, Address, Tls, parse_address

PORT = 8765
"""Where the console listens unless it is told."""
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, kw_only=True)
class Access:
    """Where the console listens, and for whom.

    Raises:
        UserError: beyond loopback without a token, or without TLS and without a person who says
            that it may go without.
    """

    bind: str = f"127.0.0.1:{PORT}"
    token: str | None = None
    tls: Tls | None = None
    insecure_lan: bool = False
    secret: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    """What the cookie of a browser that gave the token holds."""

    def __post_init__(self) -> None:
        if self.token is not None and len(self.token) < TOKEN_MIN_CHARS:
            raise UserError(
                f"the console's token has {len(self.token)} characters; use at least "
                f"{TOKEN_MIN_CHARS}."
            )
        if self.address.is_loopback:
            return
        if self.token is None:
            raise UserError(
                f"a console on {self.address} reaches beyond this machine and needs a token and "
                "TLS; give --console-token-file and certificate files, or use 127.0.0.1."
            )
        if self.tls is None and not self.insecure_lan:
            raise UserError(
                f"a console on {self.address} reaches beyond this machine without encryption; give "
                "TLS certificate files, or allow it on a network you trust with "
                "--console-insecure-lan."
            )

    @property
    def address(self) -> Address:
        return parse_address(self.bind)

    def cookie(self, request: Any) -> str:
        """Its name; consoles on several ports of a host must not share one."""
        return f"serl_console_{urlsplit('//' + request.host).port or 0}"

    def refusal(self, request: Any) -> str:
        """Why a request is not even looked at; "" for one that may be."""
        host = urlsplit("//" + request.host).hostname or ""
        if self.token is None and host not in LOOPBACK_NAMES:
            return f"this console answers to localhost alone, not to {host!r}; use 127.0.0.1."
        origin = request.headers.get("Origin")
        changes = request.method not in ("GET", "HEAD") or _is_upgrade(request)
        if changes and origin is not None and urlsplit(origin).netloc != request.host:
            return f"a page of {origin} may not use this console; open the console's own page."
        return ""

    def knows(self, request: Any) -> bool:
        """The browser gave the token, or the program sends it."""
        if self.token is None:
            return True
        sent = request.headers.get("Authorization", "").removeprefix("Bearer ")
        held = request.cookies.get(self.cookie(request), "")
        return _same(sent, self.token) or _same(held, self.secret)

    def login(self, given: str) -> bool:
        """Whether a typed token is the right one."""
        return self.token is not None and _same(given.strip(), self.token)


def middleware(access: Access, login_page: Callable[[], Any]) -> Any:
    """For aiohttp: refuses, asks for the token, and puts headers on every answer."""
    from aiohttp import web

    @web.middleware
    async def check(request: Any, handler: Callable[[Any], Awaitable[Any]]) -> Any:
        refusal = access.refusal(request)
        if refusal:
            return web.Response(status=403, text=refusal)
        if request.path != "/login" and not access.knows(request):
            if request.path == "/" and not _is_upgrade(request):
                return login_page()
            return web.Response(status=401, text="give the console's token on its first page.")
        return await handler(request)

    return check


def _is_upgrade(request: Any) -> bool:
    return request.headers.get("Upgrade", "").lower() == "websocket"


def _same(given: str, right: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), right.encode())
