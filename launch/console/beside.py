"""A console beside a loop: flags for it, the page as a device, and a server around the loop."""

from __future__ import annotations

import argparse
import dataclasses
import webbrowser
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from launch.arguments import Parser
from launch.console.access import PORT, Access
from serl.errors import UserError
from serl.rpc import Tls, read_token

BROWSER = "browser"


def console_address(text: str) -> str:
    """PORT on loopback, or HOST:PORT.

    >>> console_address("8000"), console_address("0.0.0.0:8000")
    ('127.0.0.1:8000', '0.0.0.0:8000')
    """
    host, colon, port = text.rpartition(":")
    if not port.isdigit() or int(port) > 65535 or (colon and not host):
        raise argparse.ArgumentTypeError(f"{text!r} is not PORT or HOST:PORT, as {PORT}")
    return text if colon else f"127.0.0.1:{port}"


def add_console(parser: Parser, *, flag: str = "--console", always: bool = False) -> None:
    """Where the console listens, and for whom.

    Args:
        always: there is a console without the flag.
    """
    group = parser.add_argument_group("console")
    default = f"127.0.0.1:{PORT}"
    group.add_argument(
        flag,
        dest="console",
        nargs="?",
        const=default,
        default=default if always else None,
        type=console_address,
        metavar="PORT",
        help=f"a console in the browser at this port, or HOST:PORT ({default}); docs/console.md",
    )
    group.add_argument(
        "--console-token-file", type=Path, help="file with the token that the page asks for"
    )
    group.add_argument("--console-tls-cert", type=Path, help="certificate chain, PEM")
    group.add_argument("--console-tls-key", type=Path, help="private key, PEM")
    group.add_argument(
        "--console-insecure-lan",
        action="store_true",
        help="no TLS beyond loopback; the token and all that is shown can be read on the network",
    )


def access(args: Namespace) -> Access | None:
    """Where and for whom; None without a console. Raises UserError for what is not safe."""
    wanted = getattr(args, "console", None)
    if wanted is None and BROWSER in (getattr(args, "device", None) or ""):
        wanted = f"127.0.0.1:{PORT}"  # a page to drive from is of no use without its server
    if wanted is None:
        return None
    given = args.console_tls_cert is not None or args.console_tls_key is not None
    token_file = args.console_token_file
    return Access(
        bind=wanted,
        token=None if token_file is None else read_token(token_file),
        tls=Tls(cert=args.console_tls_cert, key=args.console_tls_key) if given else None,
        insecure_lan=args.console_insecure_lan,
    )


def with_page(config: Any) -> Any:
    """An `OperatorConfig` that hears the page's buttons: where another device moves the arm, the
    page's keys are words."""
    from envs.devices.browser import BrowserConfig

    devices = (*config.devices.values(), *config.listens)
    if any(device.kind == BROWSER for device in devices):
        return config
    return dataclasses.replace(config, listens=(*config.listens, BrowserConfig()))


@contextmanager
def console_beside(
    args: Namespace,
    env: Any,
    operator: Any = None,
    *,
    title: Callable[[], str] = lambda: "",
    say: Callable[[str], None] = print,
    run: Any = None,
    tuning: bool = False,
) -> Iterator[Any]:
    """A console of this env around the loop; None where none is asked for.

    Args:
        title: what is going on.
        say: gets the console's address, and one line when it has died.
        run: whose health and curves are shown too.
        tuning: gains and boxes may be changed.
    """
    allowed = access(args)
    if allowed is None:
        yield None
        return
    from launch.console.cell_feed import CellFeed
    from launch.console.server import Console

    feed = CellFeed(env, operator, title=title, run=run, tuning=tuning)
    with Console(feed, allowed, view=cell_view(env, say), tell=say) as console:
        say(f"console  {console.url}")
        show_page(console.url, getattr(args, "open", False), say)
        yield console


def show_page(url: str, wanted: bool, say: Callable[[str], None]) -> None:
    """Open the page, where a browser is to be had; its address has been said anyway."""
    if wanted and not webbrowser.open(url):
        say(f"no browser to be found here; open {url} yourself.")


def cell_view(env: Any, say: Callable[[str], None]) -> Any:
    """The 3-D view of an env with arms; None, with a line, where that is not to be had."""
    core = env.unwrapped
    if not hasattr(core, "states"):
        return None
    try:
        from launch.console.cell_view import CellView

        return CellView(core.config, core.task.mjcf)
    except UserError as error:
        say(f"the console shows no 3-D view: {error}")
        return None
