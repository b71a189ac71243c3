"""Names for the leaves: agents, tasks, backends, devices, cameras, rewards.

A leaf registers itself at the bottom of its own file; `discover` imports every module of its
package, so the core never names a leaf. Plain Python: importable on the robot PC.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from serl.errors import unknown_name

T = TypeVar("T")


class Registry(Generic[T]):
    """A mapping from name to leaf, for one kind of thing.

    Args:
        kind: what an error message calls the thing ("task", "agent", ...).
        package: the package whose modules register leaves; imported on first look-up.
    """

    def __init__(self, kind: str, package: str) -> None:
        self.kind = kind
        self.package = package
        self._leaves: dict[str, T] = {}
        self._discovered = False

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator that files `leaf` under `name`; the same name twice is refused."""

        def file(leaf: T) -> T:
            if name in self._leaves:
                raise ValueError(f"{self.kind} {name!r} is registered twice")
            self._leaves[name] = leaf
            return leaf

        return file

    def get(self, name: str) -> T:
        """The leaf called `name`. Raises UserError naming the nearest ones."""
        self.discover()
        if name not in self._leaves:
            raise unknown_name(self.kind, name, self._leaves)
        return self._leaves[name]

    def names(self) -> list[str]:
        """All registered names, sorted."""
        self.discover()
        return sorted(self._leaves)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def discover(self) -> None:
        """Import every module of the package once. A module that fails to import is an error."""
        if self._discovered:
            return
        self._discovered = True
        package = importlib.import_module(self.package)
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{self.package}.{module.name}")
