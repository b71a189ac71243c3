"""Reading and writing arrays in HDF5 for the formats that use it.

A file may come from anywhere: links out of it, storage elsewhere and sizes that it cannot hold are
refused before anything is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serl.data.demos import DEFLATE_LIMIT
from serl.data.formats.base import Arrays, Steps, need, reading
from serl.data.formats.steps import header_json, read_header
from serl.types import Spec

OURS = "serl"
"""The group with what only we have: a header and the remaining fields of the records."""
HEADER = "header"


@contextmanager
def opened(path: Path, kind: str) -> Iterator[Any]:
    """The file, to read; `kind` is what an error says it should be."""
    h5py = need("h5py", "formats")
    with reading(path, kind), h5py.File(path, "r") as file:
        yield file


def is_hdf5(path: Path) -> bool:
    """By its first bytes."""
    try:
        with path.open("rb") as file:
            return file.read(8) == b"\x89HDF\r\n\x1a\n"
    except OSError:
        return False


def member(parent: Any, name: str, kind: str | None = None) -> Any:
    """A member that lies in this very file."""
    h5py = need("h5py", "formats")
    here = parent
    for part in name.split("/"):
        link = here.get(part, getlink=True)
        if link is None:
            raise KeyError(f"{parent.name}/{name} is missing")
        if not isinstance(link, h5py.HardLink):
            raise ValueError(f"{here.name}/{part} is a link, which may lead out of the file")
        here = here[part]
    if kind is not None and type(here).__name__ != kind:
        raise ValueError(f"{parent.name}/{name} is a {type(here).__name__}, not a {kind}")
    if type(here).__name__ == "Dataset" and (here.is_virtual or here.external):
        raise ValueError(f"{here.name} lies in another file")
    return here


def group(parent: Any, name: str) -> Any:
    """A group within the file. Raises KeyError where there is none."""
    return member(parent, name, "Group")


def has(parent: Any, name: str) -> bool:
    return name in parent


def array(parent: Any, name: str) -> NDArray[Any]:
    """A whole array of numbers. Raises KeyError, or ValueError for anything else."""
    data = member(parent, name, "Dataset")
    if data.dtype.kind not in "fiub":
        raise ValueError(f"{data.name} holds {data.dtype}, not numbers")
    if data.nbytes > DEFLATE_LIMIT * Path(parent.file.filename).stat().st_size:
        raise ValueError(f"{data.name} says it has {data.nbytes} B, more than the file can hold")
    return np.asarray(data[()])


def arrays(parent: Any, prefix: str = "") -> Arrays:
    """Every array below a group by path, 'a/b' for nested ones."""
    found: Arrays = {}
    for name in parent:
        child = member(parent, name)
        if type(child).__name__ == "Group":
            found |= arrays(child, f"{prefix}{name}/")
        else:
            found[prefix + name] = array(parent, name)
    return found


def text(parent: Any, name: str) -> str:
    """A single text."""
    value = member(parent, name, "Dataset")[()]
    return value.decode() if isinstance(value, bytes) else str(value)


def put(parent: Any, name: str, values: NDArray[Any]) -> None:
    """An array; frames compressed one by one."""
    if values.dtype == np.uint8 and values.ndim == 4 and values.size:
        chunks = (1, *values.shape[1:])
        parent.create_dataset(name, data=values, chunks=chunks, compression="gzip", shuffle=False)
    else:
        parent.create_dataset(name, data=np.ascontiguousarray(values).reshape(values.shape))


def put_ours(parent: Any, steps: Steps, spec: Spec) -> None:
    """What only we have, below `parent`."""
    ours = parent.create_group(OURS)
    ours.create_dataset(HEADER, data=header_json(steps, spec))
    for name, values in steps.fields.items():
        put(ours, name, values)


def read_ours(parent: Any) -> tuple[Spec, Any, Arrays] | None:
    """Spec, meta and remaining fields, where we wrote the file."""
    if OURS not in parent:
        return None
    ours = group(parent, OURS)
    spec, meta = read_header(text(ours, HEADER))
    fields = {name: array(ours, name) for name in _names(ours) if name != HEADER}
    return spec, meta, fields


def _names(parent: Any, prefix: str = "") -> list[str]:
    found: list[str] = []
    for name in parent:
        child = member(parent, name)
        is_group = type(child).__name__ == "Group"
        found += _names(child, f"{prefix}{name}/") if is_group else [prefix + name]
    return found
