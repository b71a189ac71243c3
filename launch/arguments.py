"""Flags: a parser whose complaints are one line, values with their range, and shared groups."""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from serl.errors import UserError

_OVERRIDE = re.compile(r"--(?P<path>[A-Za-z_][\w-]*(?:\.[\w-]+)+)(?:=(?P<value>.*))?", re.DOTALL)
_NUMBER = re.compile(r"-\.?\d")


class Parser(argparse.ArgumentParser):
    """argparse that raises UserError, and knows `--agent.discount 0.98` from a flag.

    Args:
        verb: the word after `serl`.
        doc: the verb module's docstring: its first line, then its examples.
    """

    def __init__(self, verb: str, doc: str | None) -> None:
        first, _, rest = (doc or "").strip().partition("\n\n")
        super().__init__(
            prog=f"serl {verb}",
            description=first,
            epilog=rest.strip() or None,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        self.takes_overrides = False

    def parse(self, argv: Sequence[str]) -> argparse.Namespace:
        """The flags, with the experiment's overrides under `overrides`."""
        flags, overrides = split_overrides(argv)
        if overrides and not self.takes_overrides:
            raise UserError(f"--{overrides[0][0]}: this verb takes no experiment settings.")
        args, unknown = self.parse_known_args(flags)
        if unknown:
            raise UserError(self._unknown(unknown[0]))
        args.overrides = overrides
        return args

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message.rstrip('.')}. See `{self.prog} --help`.")

    def _unknown(self, word: str) -> str:
        if not word.startswith("-"):
            return f"{word!r} is one word too many. See `{self.prog} --help`."
        known = [name for action in self._actions for name in action.option_strings]
        close = difflib.get_close_matches(word.split("=")[0], known, n=2, cutoff=0.6)
        hint = f" Did you mean {' or '.join(close)}?" if close else ""
        return f"unknown flag {word}.{hint} See `{self.prog} --help`."


def split_overrides(argv: Sequence[str]) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """Verb's words, and experiment settings as (dotted path, values).

    A word `--a.b` is a setting and takes every word up to the next flag.

    >>> split_overrides(["x", "--seed", "1", "--agent.hidden", "64", "64", "--budget.wall-s=60"])
    (['x', '--seed', '1'], [('agent.hidden', ['64', '64']), ('budget.wall_s', ['60'])])
    """
    flags: list[str] = []
    overrides: list[tuple[str, list[str]]] = []
    values = flags
    for word in argv:
        match = _OVERRIDE.fullmatch(word)
        if match:
            values = [] if match["value"] is None else [match["value"]]
            overrides.append((match["path"].replace("-", "_"), values))
        elif word.startswith("-") and not _NUMBER.match(word):
            values = flags
            flags.append(word)
        else:
            values.append(word)
    return flags, overrides


def number(
    kind: type[int] | type[float], low: float | None = None, high: float | None = None
) -> Callable[[str], float]:
    """A value type for `add_argument`: an int or float within [low, high]."""

    def convert(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            word = "a whole number" if kind is int else "a number"
            raise argparse.ArgumentTypeError(f"{text!r} is not {word}") from None
        if (low is not None and not value >= low) or (high is not None and not value <= high):
            allowed = f"{low} or more" if high is None else f"{low} to {high}"
            raise argparse.ArgumentTypeError(f"{text} is out of range; it must be {allowed}")
        return value

    return convert


def address(text: str) -> str:
    """HOST:PORT."""
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdigit() or int(port) > 65535:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not HOST:PORT with a port of 0 to 65535, such as 127.0.0.1:5488"
        )
    return text


def add_experiment(parser: Parser) -> None:
    """Which experiment: a file, an example, a task or a Gymnasium id; then any setting of it."""
    group = parser.add_argument_group(
        "experiment",
        "Any setting changes by its path: --agent.discount 0.98 --budget.wall-s 300; "
        "`serl list settings EXPERIMENT` names them.",
    )
    group.add_argument(
        "experiment", nargs="?", help="an experiment.py, its folder, or the name of an example"
    )
    group.add_argument("--task", help="a task of ours by name, with the default agent")
    group.add_argument(
        "--pixels", action="store_true", help="seen through cameras, with no object's pose"
    )
    group.add_argument(
        "--reward", metavar="NAME:PATH", help="a learned reward, as classifier:PATH (docs/rewards)"
    )
    group.add_argument("--env", metavar="GYM_ID", help="any Gymnasium env by its id")
    group.add_argument(
        "--agent", metavar="NAME", help="another agent; it keeps the settings that both have"
    )
    group.add_argument("--seed", type=number(int, 0, 65535), help="of everything random")
    parser.takes_overrides = True


def add_run(parser: Parser) -> None:
    """Where the run lies, and whether it goes on."""
    group = parser.add_argument_group("run")
    group.add_argument(
        "--run-dir", type=Path, help="the run's folder; default runs/<experiment>/<stamp>"
    )
    group.add_argument(
        "--resume",
        action="store_true",
        help="go on: with --run-dir there, else the newest unfinished run of this experiment",
    )
    group.add_argument("--wandb", action="store_true", help="also log to Weights & Biases")


def add_security(parser: Parser, *, server: bool) -> None:
    """Token and TLS. Beyond loopback both are needed, or --insecure-lan with a token."""
    group = parser.add_argument_group("security")
    group.add_argument("--token-file", type=Path, help="file whose first line is the shared token")
    if server:
        group.add_argument("--tls-cert", type=Path, help="certificate chain of the server, PEM")
        group.add_argument("--tls-key", type=Path, help="private key of the server, PEM")
    else:
        group.add_argument("--tls-ca", type=Path, help="certificate to trust, PEM; turns TLS on")
        group.add_argument("--tls-name", help="server name in the certificate, if not the host")
    group.add_argument(
        "--insecure-lan",
        action="store_true",
        help="no TLS beyond loopback; the token and all data can be read on the network",
    )


def add_supervised(parser: Parser) -> None:
    """What a supervisor hands its child; not for people."""
    parser.add_argument("--watch-fd", type=int, help=argparse.SUPPRESS)
