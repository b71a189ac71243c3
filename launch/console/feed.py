"""What a console shows and can do, whatever stands behind it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from launch.console.hand import Hand


class Feed(Protocol):
    """Asked from the console's threads, at any time. Nothing here waits for the loop, and the loop
    waits for nothing here."""

    hand: Hand

    def state(self) -> dict[str, Any]:
        """What the page shows as numbers and words, as JSON values."""
        ...

    def frames(self) -> Mapping[str, NDArray[np.uint8]]:
        """The newest frame of each camera (height, width, 3); another object when it is newer."""
        ...

    def curves(self) -> dict[str, Any]:
        """What the page plots: group to name to [[x, y], ...]."""
        ...

    def look(self) -> Mapping[str, Any] | None:
        """What the 3-D view needs: 'states' and 'objects'; None where there is nothing."""
        ...

    def order(self, what: str, values: Mapping[str, Any]) -> str:
        """Do what a page asks: 'estop', 'recover', 'gains', 'box'. One line of what was done.
        Raises UserError, one line."""
        ...


NO_FRAMES: Mapping[str, NDArray[np.uint8]] = {}
