"""A set of our own: a folder of episode files, or a single one, read one episode at a time."""

from __future__ import annotations

import dataclasses
import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from serl.data.demos import (
    DAMAGE,
    HEADER,
    Episode,
    EpisodeMeta,
    list_episodes,
    load_episode,
    save_episode,
)
from serl.data.formats.steps import rate_of
from serl.data.records import Records
from serl.errors import CorruptFile, SpecMismatch, UserError
from serl.types import Spec, first_difference


@dataclass(frozen=True)
class Header:
    """What an episode file says of itself, without its records."""

    path: Path
    spec: Spec
    meta: EpisodeMeta
    steps: int


@dataclass(frozen=True)
class DemoSet:
    """The readable episodes of a set, all of one spec."""

    path: Path
    headers: tuple[Header, ...]
    damaged: tuple[CorruptFile, ...] = ()

    @property
    def spec(self) -> Spec:
        return self.headers[0].spec

    @property
    def control_hz(self) -> float | None:
        """Its control rate, where every episode says the same."""
        rates = {rate_of(header.meta) for header in self.headers}
        return rates.pop() if len(rates) == 1 else None

    def __len__(self) -> int:
        return len(self.headers)

    def __iter__(self) -> Iterator[Episode]:
        return (load_episode(header.path) for header in self.headers)

    def only(self, chosen: list[int]) -> DemoSet:
        """The episodes at these places of the set."""
        return dataclasses.replace(self, headers=tuple(self.headers[k] for k in chosen))


def is_set(path: Path) -> bool:
    """Whether `path` is an episode file, or a folder with one."""
    return bool(list_episodes(path)) if path.is_dir() else path.suffix == ".npz"


def open_set(path: Path) -> DemoSet:
    """The set at `path`; damaged files are named in it, the others are read.

    Raises:
        UserError: there is no episode.
        SpecMismatch: two episodes have different specs; the first difference is named.
    """
    if not path.exists():
        raise UserError(f"there is no demonstration set at {path}.")
    files = list_episodes(path) if path.is_dir() else [path]
    if not files:
        raise UserError(
            f"{path} holds no episode_*.npz; `serl data import` reads other projects' formats."
        )
    headers: list[Header] = []
    damaged: list[CorruptFile] = []
    for file in files:
        try:
            headers.append(read_header(file))
        except CorruptFile as error:
            damaged.append(error)
    if not headers:
        raise damaged[0]
    check_one_spec(headers)
    return DemoSet(path, tuple(headers), tuple(damaged))


def check_one_spec(headers: list[Header]) -> None:
    """Raises SpecMismatch naming the first difference from the first episode."""
    first = json.loads(headers[0].spec.to_json())
    for header in headers[1:]:
        difference = first_difference(first, json.loads(header.spec.to_json()))
        if difference:
            raise SpecMismatch(
                f"{headers[0].path} and {header.path} differ ({difference}); a set has one spec. "
                "`serl data convert` mends what can be mended."
            )


def read_header(file: Path) -> Header:
    """Spec, meta and length of an episode file."""
    try:
        with zipfile.ZipFile(file) as archive:
            raw = json.loads(archive.read(HEADER))
        spec = Spec.from_json(json.dumps(raw["spec"]))
        return Header(file, spec, EpisodeMeta(**raw["meta"]), int(raw["records"]) - 1)
    except DAMAGE:
        episode = load_episode(file)  # it says in one line what is wrong
        return Header(file, episode.spec, episode.meta, len(episode.records) - 1)


def write_episode(folder: Path, records: Records, spec: Spec, meta: EpisodeMeta) -> Path:
    """One episode into a set, whatever its outcome; its number is the file's."""
    rows = records.copy()
    rows["episode"] = 0
    rows["index"] = np.arange(len(rows))
    path = save_episode(folder, rows, spec, meta, keep_failures=True)
    assert path is not None
    return path
