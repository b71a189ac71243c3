"""Where the HTTP face may listen: beyond loopback only with a password, and with TLS or a word."""

from __future__ import annotations

import errno
import socket
import ssl

from serl.errors import UserError
from serl.rpc import TOKEN_MIN_CHARS, Address, Tls


def checked_password(
    address: Address, password: str | None, tls: Tls | None, insecure_lan: bool
) -> str | None:
    """Beyond loopback: a password, and TLS or a person who says that it may go without."""
    if password is not None and len(password) < TOKEN_MIN_CHARS:
        raise UserError(
            f"the HTTP password has {len(password)} characters; use at least {TOKEN_MIN_CHARS}."
        )
    if address.is_loopback:
        return password
    if password is None:
        raise UserError(
            f"HTTP on {address} reaches beyond this machine and needs a password, which clients "
            "put into the URL (http://serl:PASSWORD@host:5000/); give one, or use 127.0.0.1."
        )
    if tls is None and not insecure_lan:
        raise UserError(
            f"HTTP on {address} reaches beyond this machine without encryption; give TLS "
            "certificate files, or allow it on a network you trust with --insecure-lan."
        )
    return password


def server_context(tls: Tls | None) -> ssl.SSLContext | None:
    if tls is None:
        return None
    if tls.cert is None or tls.key is None:
        raise UserError("TLS on a server needs both a certificate file and its key file.")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(tls.cert, tls.key)
    except (OSError, ssl.SSLError) as error:
        raise UserError(
            f"TLS files {tls.cert} and {tls.key} cannot be used: {error}; give PEM files that "
            "belong together."
        ) from error
    return context


def bound_socket(address: Address) -> socket.socket:
    """A bound socket, or one line that says why not."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((address.host, address.port))
        sock.listen(128)
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            raise UserError(
                f"HTTP port {address.port} on {address.host} is in use; stop what listens there, "
                "or choose another port (0 takes any free one)."
            ) from error
        raise UserError(
            f"cannot listen for HTTP on {address}: {error.strerror}; use an address of this "
            "machine and a port above 1023."
        ) from error
    return sock
