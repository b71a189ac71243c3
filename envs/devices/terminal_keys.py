"""What a terminal sends, as keys: bytes in, named events out. Two dialects.

Every terminal sends a byte or an escape sequence for a press and again for each repeat, and nothing
for a release. One that speaks kitty's keyboard protocol (kitty, foot, WezTerm, Ghostty, Alacritty,
iTerm2 and others) tells presses, repeats and releases apart once it is asked to.
Source: "Comprehensive keyboard handling in terminals", the protocol's specification.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

ASK = b"\x1b[?u\x1b[c"
"""Which keyboard flags are on, then (every terminal answers that) which terminal it is."""
SPEAKS = re.compile(rb"\x1b\[\?\d+u")
ANSWERED = re.compile(rb"\x1b\[\?[\d;]*c")
BEGIN = b"\x1b[>11u\x1b[?1004h"
"""Tell keys apart (1), events (2), every key as a sequence (8); and tell when the focus is lost:
the release of a key then never comes."""
END = b"\x1b[?1004l\x1b[<u"

Kind = Literal["tap", "press", "repeat", "release"]

_CSI = re.compile(rb"\x1b\[([0-9;:?<>=]*)([@-~])")
_SS3 = re.compile(rb"\x1bO([A-Za-z])")
_NAMES = {9: "tab", 13: "enter", 27: "esc", 32: "space", 127: "backspace", 8: "backspace"}
_LETTERS = {"A": "up", "B": "down", "C": "right", "D": "left", "H": "home", "F": "end"}
_TILDES = {1: "home", 2: "insert", 3: "delete", 4: "end", 5: "pageup", 6: "pagedown"}
_KINDS: dict[int, Kind] = {1: "press", 2: "repeat", 3: "release"}
CTRL = 4


@dataclass(frozen=True)
class KeyEvent:
    """One event of one key. 'tap': a press or a repeat, the terminal does not say which."""

    name: str
    kind: Kind
    ctrl: bool = False


BLUR = KeyEvent("", "release")
"""The focus went elsewhere: every key counts as released."""


class KeyParser:
    """Splits a terminal's bytes into events; a sequence may come in pieces."""

    def __init__(self) -> None:
        self._rest = b""

    @property
    def pending(self) -> bool:
        """The beginning of a sequence is there, or the escape key alone: `flush` decides."""
        return bool(self._rest)

    def feed(self, data: bytes) -> list[KeyEvent]:
        """The events that are complete with this data."""
        self._rest += data
        return list(self._events())

    def flush(self) -> list[KeyEvent]:
        """Nothing followed for a while: what is left is the escape key."""
        alone, self._rest = self._rest == b"\x1b", b""
        return [KeyEvent("esc", "tap")] if alone else []

    def _events(self) -> Iterator[KeyEvent]:
        while self._rest:
            if self._rest[:1] != b"\x1b":
                yield from self._plain()
                continue
            found = _CSI.match(self._rest) or _SS3.match(self._rest)
            if found is None:
                if self._rest[:2] in (b"\x1b", b"\x1b[", b"\x1bO") or _is_begun(self._rest):
                    return
                self._rest = self._rest[1:]
                yield KeyEvent("esc", "tap")
                continue
            self._rest = self._rest[found.end() :]
            event = _sequence(found)
            if event is not None:
                yield event

    def _plain(self) -> Iterator[KeyEvent]:
        """Bytes up to the next escape."""
        text, escape, rest = self._rest.partition(b"\x1b")
        self._rest = escape + rest
        for char in text.decode(errors="ignore"):
            code = ord(char)
            if code == 10:  # the terminal driver turns a carriage return into a line feed
                yield KeyEvent("enter", "tap")
            elif code in _NAMES:
                yield KeyEvent(_NAMES[code], "tap")
            elif code < 32:
                yield KeyEvent(chr(code + 96), "tap", ctrl=True)
            else:
                yield KeyEvent(char.lower(), "tap")


def _is_begun(rest: bytes) -> bool:
    return re.fullmatch(rb"\x1b\[[0-9;:?<>=]*", rest) is not None and len(rest) < 64


def _sequence(found: re.Match[bytes]) -> KeyEvent | None:
    """The event of one escape sequence; None for one that is no key."""
    if found.re is _SS3:
        name = _LETTERS.get(found[1].decode())
        return KeyEvent(name, "tap") if name else None
    if found[1][:1] in (b"?", b"<", b">", b"="):
        return None  # an answer of the terminal
    final = found[2].decode()
    if final in "IO" and not found[1]:
        return BLUR if final == "O" else None
    fields = [[int(n or 0) for n in f.split(":")] for f in found[1].decode().split(";")]
    code = fields[0][0]
    modifiers = fields[1] if len(fields) > 1 else [1]
    kind = _KINDS.get(modifiers[1] if len(modifiers) > 1 else 1, "press")
    if final != "u" and len(modifiers) < 2:
        kind = "tap"  # a sequence of the old dialect
    ctrl = bool((max(1, modifiers[0]) - 1) & CTRL)
    if final == "u":
        name = _NAMES.get(code) or (chr(code).lower() if 32 < code < 57344 else "")
    else:
        name = _TILDES.get(code, "") if final == "~" else _LETTERS.get(final, "")
    return KeyEvent(name, kind, ctrl) if name else None
