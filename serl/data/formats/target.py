"""Outputs that appear whole: written beside their place, then moved there, over nothing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from serl.errors import UserError, writing


def check_free(target: Path) -> None:
    """Raises UserError unless there is nothing at `target`, or an empty folder."""
    if target.is_dir() and not any(target.iterdir()):
        return
    if target.exists() or target.is_symlink():
        raise UserError(f"{target} exists already and is left as it is; give another place.")


@contextmanager
def whole(target: Path) -> Iterator[Path]:
    """A path beside `target` to write a file or folder to; it becomes `target` when all went well,
    and is removed when not."""
    check_free(target)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with writing(target):
            yield part
            check_free(target)
            _publish(part, target)
    finally:
        if part.is_dir():
            shutil.rmtree(part, ignore_errors=True)
        else:
            part.unlink(missing_ok=True)


def _publish(part: Path, target: Path) -> None:
    if part.is_dir():
        part.rename(target)  # over an empty folder; refused by the system over a full one
        return
    if target.is_dir():
        target.rmdir()
    try:
        os.link(part, target)  # unlike a rename, refuses a name that someone just took
    except PermissionError:
        part.rename(target)  # a file system without links, as on a USB stick
