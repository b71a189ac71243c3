"""One way to make a gRPC server or channel: addresses, token, TLS, size limits, health.

Nothing listens beyond loopback without TLS and a token; `insecure_lan=True` with a token is the
explicit exception (DESIGN decision 13). Used by the learning channel and the robot server alike.
No JAX, no NumPy.
"""

from __future__ import annotations

import errno
import hmac
import ipaddress
import secrets
import socket
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from serl.errors import UserError

MIB = 1 << 20
TOKEN_MIN_CHARS = 16
HEALTH_PREFIX = "/grpc.health.v1.Health/"


class Address(NamedTuple):
    """A host and a TCP port. Port 0, on a bind, lets the system choose."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it. A name other than localhost counts as remote."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


@dataclass(frozen=True, kw_only=True)
class Tls:
    """Files of a TLS end. A server needs `cert` and `key`; a client needs `ca`."""

    cert: Path | None = None
    key: Path | None = None
    ca: Path | None = None
    """Certificate, or its authority's, that the client trusts; None: the system's authorities."""
    server_name: str | None = None
    """Name in the server's certificate, where it is not the host that is dialled."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one end accepts, so that no peer can make it grow without bound."""

    max_receive_bytes: int = 8 * MIB
    """Largest message taken from a peer."""
    max_concurrent_rpcs: int = 80
    """Calls served at a time; a further one gets RESOURCE_EXHAUSTED."""
    threads: int = 80
    """Worker threads of a server; a long-lived stream holds one."""


def parse_address(text: str) -> Address:
    """'host:port' or '[ipv6]:port'.

    >>> parse_address("[::1]:50051")
    Address(host='::1', port=50051)
    """
    host, colon, port = text.strip().rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    host = host[1:-1] if bracketed else host
    if not colon or not host or (":" in host and not bracketed):
        raise UserError(f"address {text!r} is not host:port; write for example 127.0.0.1:50051.")
    if not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise UserError(f"port {port!r} in address {text!r} is not a number from 0 to 65535.")
    return Address(host, int(port))


def new_token() -> str:
    """A fresh token: 256 random bits, printable."""
    return secrets.token_urlsafe(32)


def read_token(path: Path | str) -> str:
    """The token in a file, without surrounding white space."""
    try:
        token = Path(path).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise UserError(
            f"token file {path} cannot be read: {error.strerror}; give a readable file."
        ) from error
    return _checked_token(token, f"the token in {path}")


class RpcServer:
    """A gRPC server bound to one address, with health service and token check.

    Args:
        bind: 'host:port'; loopback unless TLS and a token are given.
        register: called with the grpc.Server to add servicers.
        services: full names reported as serving by the health service.
    """

    def __init__(
        self,
        bind: str,
        register: Callable[[Any], None],
        *,
        services: Sequence[str] = (),
        token: str | None = None,
        tls: Tls | None = None,
        insecure_lan: bool = False,
        limits: Limits | None = None,
    ) -> None:
        address = parse_address(bind)
        _check_exposure(address, token, tls, insecure_lan, "listening on")
        limits = limits or Limits()
        self._services = services
        self._started = False
        self.guard: TokenGuard | None = None
        if token is not None:
            token = _checked_token(token, "the token")
            self.guard = TokenGuard(token, open_health=address.is_loopback)
        self._health = health.HealthServicer()
        self.grpc = grpc.server(
            ThreadPoolExecutor(limits.threads, thread_name_prefix="rpc"),
            interceptors=[self.guard] if self.guard else [],
            options=_server_options(limits),
            maximum_concurrent_rpcs=limits.max_concurrent_rpcs,
            compression=grpc.Compression.NoCompression,
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self.grpc)
        register(self.grpc)
        self.address = Address(address.host, self._bind(address, tls))

    @property
    def port(self) -> int:
        return self.address.port

    def start(self) -> None:
        """Serve, and say so through the health service."""
        self._started = True
        self.grpc.start()
        for name in ("", *self._services):
            self._health.set(name, health_pb2.HealthCheckResponse.SERVING)

    def stop(self, grace_s: float = 1.0) -> None:
        """Refuse new calls, let running ones end for `grace_s`, release the port."""
        if not self._started:
            self.grpc.start()  # gRPC gives up a port only by stopping a server that ran
        self._health.enter_graceful_shutdown()
        self.grpc.stop(grace_s).wait()

    def _bind(self, address: Address, tls: Tls | None) -> int:
        _probe_port(address)
        try:
            if tls is None:
                return self.grpc.add_insecure_port(str(address))
            return self.grpc.add_secure_port(str(address), _server_credentials(tls))
        except RuntimeError as error:  # another process took the port since _probe_port
            raise UserError(
                f"cannot listen on {address}: {error}. Choose another address, or port 0 for any "
                "free one."
            ) from error


class TokenGuard(grpc.ServerInterceptor):
    """Refuses every call without the right token, before a byte of its message is read."""

    def __init__(self, token: str, *, open_health: bool) -> None:
        self._expected = b"Bearer " + token.encode("ascii")
        self._open_prefix = HEALTH_PREFIX if open_health else None
        self.refused = 0
        """Calls turned away so far."""
        self._refusal = grpc.stream_stream_rpc_method_handler(self._refuse)

    def intercept_service(self, continuation: Callable[..., Any], handler_call_details: Any) -> Any:
        details = handler_call_details
        if self._open_prefix and details.method.startswith(self._open_prefix):
            return continuation(details)
        given = dict(details.invocation_metadata or ()).get("authorization", "")
        raw = given if isinstance(given, bytes) else given.encode("utf-8", "surrogateescape")
        if hmac.compare_digest(raw, self._expected):
            return continuation(details)
        return self._refusal

    def _refuse(self, _requests: Any, context: grpc.ServicerContext) -> Any:
        self.refused += 1
        context.abort(
            grpc.StatusCode.UNAUTHENTICATED, "the token is missing or not the one this server has"
        )


def dial(
    address: str,
    *,
    token: str | None = None,
    tls: Tls | None = None,
    insecure_lan: bool = False,
    limits: Limits | None = None,
) -> Any:
    """A grpc.Channel that sends the token with every call. Dials on first use and after a break."""
    target = parse_address(address)
    if token is not None:
        token = _checked_token(token, "the token")
        _check_exposure(target, token, tls, insecure_lan, "sending the token to")
    options = _client_options(limits or Limits())
    if tls is None:
        channel = grpc.insecure_channel(str(target), options)
    else:
        if tls.server_name:
            options.append(("grpc.ssl_target_name_override", tls.server_name))
        authority = _read(tls.ca, "TLS authority") if tls.ca else None
        credentials = grpc.ssl_channel_credentials(root_certificates=authority)
        channel = grpc.secure_channel(str(target), credentials, options)
    return grpc.intercept_channel(channel, _SendToken(token)) if token else channel


def explain(error: grpc.RpcError, peer: str) -> UserError | None:
    """The error a person can act on; None where trying the call again may help.

    Args:
        peer: what was called, as in 'learner at 10.0.0.2:50051'.
    """
    code, details = error.code(), error.details()  # type: ignore[attr-defined]
    if code is grpc.StatusCode.UNAUTHENTICATED:
        return UserError(
            f"{peer} refused the token: {details}. Give the token it was started with."
        )
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return UserError(
            f"{peer} does not offer this service ({details}). Check the address, and that both "
            "sides run the same version."
        )
    if code is grpc.StatusCode.INVALID_ARGUMENT:
        return UserError(f"{peer} refused the message: {details}.")
    return None


class _CallDetails(NamedTuple):
    """What a client interceptor hands on; grpc reads these attributes."""

    method: str
    timeout: float | None
    metadata: Any
    credentials: Any
    wait_for_ready: bool | None
    compression: Any


class _SendToken(
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamUnaryClientInterceptor,
    grpc.StreamStreamClientInterceptor,
):
    """Adds the token to each call's metadata."""

    def __init__(self, token: str) -> None:
        self._entry = ("authorization", f"Bearer {token}")

    def intercept_unary_unary(
        self, continuation: Any, client_call_details: Any, request: Any
    ) -> Any:
        return continuation(self._with_token(client_call_details), request)

    def intercept_unary_stream(
        self, continuation: Any, client_call_details: Any, request: Any
    ) -> Any:
        return continuation(self._with_token(client_call_details), request)

    def intercept_stream_unary(
        self, continuation: Any, client_call_details: Any, request_iterator: Any
    ) -> Any:
        return continuation(self._with_token(client_call_details), request_iterator)

    def intercept_stream_stream(
        self, continuation: Any, client_call_details: Any, request_iterator: Any
    ) -> Any:
        return continuation(self._with_token(client_call_details), request_iterator)

    def _with_token(self, call: Any) -> _CallDetails:
        metadata = [*(call.metadata or ()), self._entry]
        return _CallDetails(
            call.method,
            call.timeout,
            metadata,
            call.credentials,
            call.wait_for_ready,
            call.compression,
        )


def _check_exposure(
    address: Address, token: str | None, tls: Tls | None, insecure_lan: bool, what: str
) -> None:
    if address.is_loopback:
        return
    if token is None:
        raise UserError(
            f"{what} {address} reaches beyond this machine and needs a token and TLS; give a token "
            "file and certificate files, or use 127.0.0.1."
        )
    if tls is None and not insecure_lan:
        raise UserError(
            f"{what} {address} reaches beyond this machine without encryption; give TLS "
            "certificate files, or allow it on a network you trust with --insecure-lan."
        )


def _checked_token(token: str, what: str) -> str:
    if len(token) < TOKEN_MIN_CHARS or not token.isascii() or not token.isprintable():
        raise UserError(
            f"{what} has {len(token)} characters, or some that are not printable ASCII; use at "
            f"least {TOKEN_MIN_CHARS}, for example from "
            "`python -c 'import secrets; print(secrets.token_urlsafe(32))'`."
        )
    return token


def _probe_port(address: Address) -> None:
    """Refuse, with the reason, an address that cannot be bound; gRPC would not name it."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((address.host, address.port))
        except socket.gaierror as error:
            raise UserError(
                f"host {address.host!r} does not resolve ({error.strerror}); bind to an address of "
                "this machine, such as 127.0.0.1."
            ) from error
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise UserError(
                    f"port {address.port} on {address.host} is in use; stop what listens there, or "
                    "choose another port (0 takes any free one)."
                ) from error
            raise UserError(
                f"cannot listen on {address}: {error.strerror}; bind to an address of this machine "
                "and a port above 1023."
            ) from error


def _server_credentials(tls: Tls) -> Any:
    if tls.cert is None or tls.key is None:
        raise UserError("TLS on a server needs both a certificate file and its key file.")
    pair = (_read(tls.key, "TLS key"), _read(tls.cert, "TLS certificate"))
    return grpc.ssl_server_credentials([pair])


def _read(path: Path, what: str) -> bytes:
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise UserError(
            f"{what} file {path} cannot be read: {error.strerror}; give a readable PEM file."
        ) from error
    if b"-----BEGIN" not in data:
        raise UserError(f"{what} file {path} holds no PEM text; give the file in PEM form.")
    return data


def _keepalive() -> list[tuple[str, int]]:
    """A dead peer is noticed within 30 s, on an idle connection too."""
    return [
        ("grpc.keepalive_time_ms", 20_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
    ]


def _server_options(limits: Limits) -> list[tuple[str, int]]:
    return [
        *_keepalive(),
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ("grpc.max_receive_message_length", limits.max_receive_bytes),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_concurrent_streams", limits.max_concurrent_rpcs),
        ("grpc.so_reuseport", 0),  # otherwise a second server takes the port without a word
    ]


def _client_options(limits: Limits) -> list[tuple[str, Any]]:
    return [
        *_keepalive(),
        ("grpc.max_receive_message_length", limits.max_receive_bytes),
        ("grpc.max_send_message_length", -1),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 2000),
        ("grpc.enable_retries", 0),  # callers decide what may be sent twice
        ("grpc.enable_http_proxy", 0),  # robots and learners are not behind a web proxy
        (
            "grpc.use_local_subchannel_pool",
            1,
        ),  # a new channel does not inherit an old one's back-off
    ]
