"""Several pages, one hand: who drives, who watches, and what each still has to be sent.

Everything for a page is a slot that the newest value overwrites, so a slow page misses frames and
nobody waits for it. All of this lives in the console's own event loop.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import Mapping
from typing import Any

from launch.console.hand import Hand, parse_input

MAX_PAGES = 16


class Page:
    """One open page."""

    def __init__(self, number: int, who: str) -> None:
        self.id, self.who = number, who
        self._wake = asyncio.Event()
        self._texts: dict[str, str] = {}
        self._frames: dict[int, bytes] = {}
        self.dropped = 0
        """Frames that were overwritten before they could be sent."""

    def post(self, kind: str, values: Mapping[str, Any]) -> None:
        """The newest message of a kind."""
        self._texts[kind] = json.dumps({"t": kind, **values})
        self._wake.set()

    def show(self, camera: int, frame: bytes) -> None:
        """The newest frame of a camera."""
        self.dropped += camera in self._frames
        self._frames[camera] = frame
        self._wake.set()

    async def send_on(self, socket: Any) -> None:
        """Send what is posted until the page is gone: texts first, then frames in turn."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            texts, self._texts = self._texts, {}
            for text in texts.values():
                await socket.send_str(text)
            while self._frames and not self._texts:
                camera = next(iter(self._frames))
                await socket.send_bytes(self._frames.pop(camera))
            if self._texts:
                self._wake.set()


class Floor:
    """The open pages, of which at most one drives. The first one drives until it goes, or another
    takes the controls; nobody is given them unasked."""

    def __init__(self, hand: Hand) -> None:
        self.hand = hand
        self.pages: dict[int, Page] = {}
        self.driver: Page | None = None
        self._numbers = itertools.count(1)
        self._notes: list[str] = []
        self.released = True
        """Nothing is held: the driver looks elsewhere, or there is none."""

    def join(self, who: str) -> Page | None:
        """A new page; None where there are too many."""
        if len(self.pages) >= MAX_PAGES:
            return None
        page = Page(next(self._numbers), who)
        self.pages[page.id] = page
        if self.driver is None and len(self.pages) == 1:
            self.driver = page
        self.tell()
        return page

    def leave(self, page: Page) -> None:
        """A page has gone; with the driver's goes the hand."""
        self.pages.pop(page.id, None)
        if page is self.driver:
            self.driver = None
            self.release()
            self.note(f"page {page.id} has gone and the controls are free")
        self.tell()

    def take(self, page: Page) -> None:
        """`page` drives from now on."""
        if page is self.driver:
            return
        before, self.driver = self.driver, page
        self.release()
        if before is not None:
            self.note(f"page {page.id} took the controls from page {before.id}")
        self.tell()

    def hear(self, page: Page, message: Mapping[str, Any]) -> None:
        """What a hand does; of the page that drives alone. ValueError for what is no input."""
        if page is not self.driver:
            return
        self.hand.put(parse_input(message))
        self.released = False

    def let_go(self, page: Page) -> None:
        """The page lost the focus, or is hidden."""
        if page is self.driver:
            self.release()

    def release(self) -> None:
        """Nothing is held any more."""
        self.released = True
        self.hand.release()

    def note(self, text: str) -> None:
        """One line for everyone; stays for a while."""
        if text:
            self._notes = [*self._notes, f"{time.strftime('%H:%M:%S')}  {text}"][-8:]
            for page in self.pages.values():
                page.post("notes", {"lines": self._notes})

    def tell(self) -> None:
        """Everyone who drives."""
        driver = self.driver.id if self.driver is not None else None
        for page in self.pages.values():
            page.post("floor", {"you": page.id, "driver": driver, "pages": len(self.pages)})
            page.post("notes", {"lines": self._notes})

    def post(self, kind: str, values: Mapping[str, Any]) -> None:
        """The newest message of a kind, for everyone."""
        for page in self.pages.values():
            page.post(kind, values)

    def show(self, camera: int, frame: bytes) -> None:
        """The newest frame of a camera, for everyone."""
        for page in self.pages.values():
            page.show(camera, frame)
