"""What a page says its hand does, checked, and the mailbox that the loop reads."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from envs.devices.browser import Browser, BrowserInput
from envs.devices.sticks import BUTTONS, Sticks

MAX_NAMES = 64
"""Keys that can be down at once: more than there are."""
MAX_NAME_CHARS = 32

STICKS = tuple(field.name for field in fields(Sticks))


class Hand:
    """One browser's hand on the loop's mailbox.

    Args:
        box: None where nothing that a page says is heard.
        words: the word of each of the mailbox's keys.
        moves: the mailbox moves an arm; otherwise its keys are words alone.
    """

    def __init__(
        self, box: Browser | None = None, words: Mapping[str, str] | None = None, moves: bool = True
    ) -> None:
        self._box = box
        self.moves = moves and box is not None
        self.keys: dict[str, list[str]] = {}
        """The keys of each word."""
        for key, word in (words or {}).items():
            self.keys.setdefault(word, []).append(key)

    @property
    def listens(self) -> bool:
        return self._box is not None

    def put(self, message: BrowserInput) -> None:
        """What the hand does now, from any thread."""
        if self._box is not None:
            self._box.put(message)

    def release(self) -> None:
        """Nobody drives, or the page is not looked at."""
        if self._box is not None:
            self._box.release()
        self.idle()

    def idle(self) -> None:
        """A mailbox that moves nothing is at rest, not in trouble, while nobody drives."""
        if self._box is not None and not self.moves:
            self._box.put(BrowserInput())


def parse_input(message: Mapping[str, Any]) -> BrowserInput:
    """What is down, as the page says it; ValueError in one line for what is none.

    >>> sorted(parse_input({"keys": ["w", "up"], "taps": ["enter"]}).keys)
    ['up', 'w']
    """
    return BrowserInput(
        keys=frozenset(_names(message, "keys")),
        buttons=frozenset(name for name in _names(message, "buttons") if name in BUTTONS),
        sticks=_sticks(message.get("sticks")),
        taps=tuple(_names(message, "taps")),
    )


def _names(message: Mapping[str, Any], what: str) -> Sequence[str]:
    names = message.get(what, [])
    if not isinstance(names, list) or len(names) > MAX_NAMES:
        raise ValueError(f"{what} is no list of at most {MAX_NAMES} names")
    for name in names:
        if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME_CHARS:
            raise ValueError(f"{what} has {str(name)[:40]!r}, which names no key")
    return names


def _sticks(values: object) -> Sticks:
    """Positions in the order of `Sticks`; at rest where there is no gamepad."""
    if values is None:
        return Sticks()
    if not isinstance(values, list) or len(values) != len(STICKS):
        raise ValueError(f"sticks are {len(STICKS)} numbers: {' '.join(STICKS)}")
    if not all(isinstance(v, int | float) and math.isfinite(v) for v in values):
        raise ValueError("sticks must be finite numbers")
    return Sticks(*(max(-1.0, min(1.0, float(v))) for v in values))
