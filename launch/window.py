"""A window with a picture in it, by tkinter, which comes with Python: where there is a display."""

from __future__ import annotations

import os
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

Box = tuple[int, int, int, int]
"""x, y, width, height [pixels]."""


def can_show() -> bool:
    """Whether a window can be opened here."""
    if sys.platform.startswith("linux") and not (
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    ):
        return False
    try:
        import tkinter

        tkinter.Tk().destroy()
    except Exception:  # no tkinter, or a display that refuses
        return False
    return True


class Window:
    """Shows pictures, and where a mouse drags a rectangle. Use with `with`."""

    def __init__(self, title: str) -> None:
        import tkinter

        self.open = True
        self.done = False
        """Enter was pressed."""
        self.box: Box | None = None
        self._root = tkinter.Tk()
        self._root.title(title)
        self._root.protocol("WM_DELETE_WINDOW", self._quit)
        self._root.bind("<Escape>", lambda event: self._quit())
        self._root.bind("q", lambda event: self._quit())
        self._root.bind("<Return>", lambda event: setattr(self, "done", True))
        self._canvas = tkinter.Canvas(self._root, highlightthickness=0, cursor="crosshair")
        self._canvas.pack()
        self._canvas.bind("<Button-1>", self._press)
        self._canvas.bind("<B1-Motion>", self._drag)
        self._from = (0, 0)
        self._size = (0, 0)

    def show(self, picture: NDArray[np.uint8], words: str = "") -> None:
        """Put up a picture (H, W, 3), a line of words in its corner; take mouse and keys."""
        import tkinter

        height, width, _ = picture.shape
        head = f"P6 {width} {height} 255 ".encode()
        self._photo = tkinter.PhotoImage(
            master=self._root, data=head + picture.tobytes(), format="PPM"
        )
        if self._size != (width, height):
            self._canvas.config(width=width, height=height)
            self._size = (width, height)
        self._canvas.delete("all")
        self._canvas.create_image(0, 0, image=self._photo, anchor="nw")
        if self.box is not None:
            x, y, w, h = self.box
            self._canvas.create_rectangle(x, y, x + w, y + h, outline="yellow", width=2)
        for shift, colour in ((1, "black"), (0, "white")):  # a shadow: readable on any picture
            self._canvas.create_text(8 + shift, 6 + shift, text=words, fill=colour, anchor="nw")
        self._root.update()

    def _press(self, event: Any) -> None:
        self._from = (event.x, event.y)
        self.box = None

    def _drag(self, event: Any) -> None:
        self.box = dragged(self._from, (event.x, event.y), self._size)

    def _quit(self) -> None:
        self.open = False

    def __enter__(self) -> Window:
        return self

    def __exit__(self, *_: object) -> None:
        self._root.destroy()


def dragged(start: tuple[int, int], end: tuple[int, int], size: tuple[int, int]) -> Box | None:
    """The rectangle between two points, cut to a picture of this width and height.

    >>> dragged((50, 10), (-5, 40), (64, 48))
    (0, 10, 50, 30)
    """
    xs, ys = (
        sorted(min(max(v, 0), limit) for v in pair)
        for pair, limit in zip(zip(start, end, strict=True), size, strict=True)
    )
    width, height = xs[1] - xs[0], ys[1] - ys[0]
    return (xs[0], ys[0], width, height) if width and height else None
