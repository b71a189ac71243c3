"""From the security flags to what `serl.rpc` takes."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from serl.rpc import Tls, read_token


def server_security(args: Namespace) -> dict[str, Any]:
    """token, tls and insecure_lan of a server."""
    given = args.tls_cert is not None or args.tls_key is not None
    tls = Tls(cert=args.tls_cert, key=args.tls_key) if given else None
    return _security(args, tls)


def client_security(args: Namespace) -> dict[str, Any]:
    """token, tls and insecure_lan of a client."""
    given = args.tls_ca is not None or args.tls_name is not None
    tls = Tls(ca=args.tls_ca, server_name=args.tls_name) if given else None
    return _security(args, tls)


def _security(args: Namespace, tls: Tls | None) -> dict[str, Any]:
    token = read_token(args.token_file) if args.token_file is not None else None
    return {"token": token, "tls": tls, "insecure_lan": args.insecure_lan}
