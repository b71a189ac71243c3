"""Labelled frames on disk: one file of pictures per episode, and one of labels beside it.

    episode_000000.npz           zip of header.json, step.npy, state.npy, camera.<name>.npy
    episode_000000.labels.json   {"format": 1, "label": [0, 1, ...], "by": ["task", "hand", ...]}

Pictures are written once; labels are replaced whole, so that a click costs no picture. Never
pickle, no JAX: recording and labelling run next to the arm. docs/rewards.md states the format.
"""

from __future__ import annotations

import io
import json
import os
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from serl.data.demos import DAMAGE
from serl.errors import CorruptFile, SpecMismatch, UserError, writing
from serl.pixels import images
from serl.types import ArraySpec, Spec, first_difference

FORMAT = 1
NAME = re.compile(r"episode_(\d{6,})\.npz")
UNLABELLED = -1
"""A frame nobody has decided on; training leaves it out."""
CLASSES = ("failure", "success")
LARGEST = 1 << 32
"""An array said to be larger than this is not believed [bytes]."""


@dataclass(frozen=True, kw_only=True)
class View:
    """What the frames show: names, shapes and cuts of the cameras. A classifier is tied to it."""

    cameras: Mapping[str, Mapping[str, Any]]
    """Name to {"shape": [H, W, 3], ...} and what the env's config says of it: source, crop, ..."""

    @staticmethod
    def of(env_config: Any) -> View:
        """From an env's config. Raises UserError when it observes no pictures."""
        return View.of_spec(env_config.spec(), env_config.contract().get("cameras", ()))

    @staticmethod
    def of_spec(spec: Spec, cameras: Sequence[Mapping[str, Any]] = ()) -> View:
        """From a spec, and what a config says of each camera, its name included."""
        told = {c["name"]: c for c in cameras}
        views = {a.name: {"shape": list(a.shape), **told.get(a.name, {})} for a in images(spec)}
        if not views:
            raise UserError(
                "this env has no camera, and a classifier looks at frames: take the task's pixel "
                "version (--pixels), or give env.cameras."
            )
        return View(cameras=json.loads(json.dumps(views)))

    def difference(self, run: View) -> str | None:
        """The first way in which a run's cameras are not these, in words; other cameras of the
        run do not matter."""
        for name, camera in self.cameras.items():
            if name not in run.cameras:
                have = ", ".join(run.cameras) or "none"
                return f"camera {name!r}: the run has none of that name, but {have}"
            found = first_difference(dict(run.cameras[name]), dict(camera))
            if found:
                return f"camera {name!r}: {found}"
        return None


@dataclass(frozen=True, kw_only=True)
class Header:
    """What is known of an episode's frames beside the arrays."""

    view: View
    state: ArraySpec | None
    """The state vector's layout; None where the env has none."""
    classes: tuple[str, ...] = CLASSES
    recorder: str = ""
    """Who acted: 'expert', 'random', a person's name."""
    seed: int | None = None
    hold_steps: int = 2
    """Positives in a row that judging should ask for: the time the task wants success to hold,
    and half as much again, so that a success that is seen a little early is true when it pays."""
    pose_frame: str = ""
    """What positions in the state are relative to, where the env's config says so."""
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Episode:
    """Frames of one episode and what they were labelled."""

    header: Header
    step: NDArray[np.int32]
    """Which step of the episode each frame is of (n,)."""
    frames: Mapping[str, NDArray[np.uint8]]
    """Camera to (n, H, W, 3)."""
    state: NDArray[np.float32]
    """(n, m); m is 0 where the env has no state."""
    label: NDArray[np.int64]
    """(n,): 0 ... classes - 1, or UNLABELLED."""
    by: tuple[str, ...]
    """Who labelled each frame: 'task', 'hand', a person's name."""
    path: Path | None = None

    def __len__(self) -> int:
        return len(self.step)


def save_episode(folder: str | Path, episode: Episode) -> Path:
    """Write frames and labels under the next free number; the frames' file appears last, whole."""
    _check(episode, "this episode")
    target = Path(folder)
    with writing(target):
        target.mkdir(parents=True, exist_ok=True)
        number = max((int(found[1]) for found in _numbered(target)), default=-1) + 1
        path = target / f"episode_{number:06d}.npz"
        save_labels(replace(episode, path=path))
        fresh = path.with_suffix(f".{os.getpid()}.part")
        try:
            with fresh.open("wb") as file:
                _write(file, episode)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(path)
        finally:
            fresh.unlink(missing_ok=True)
    return path


def save_labels(episode: Episode) -> None:
    """Replace the labels of a stored episode at once."""
    assert episode.path is not None
    document = {"format": FORMAT, "label": episode.label.tolist(), "by": list(episode.by)}
    path = _labels(episode.path)
    fresh = path.with_suffix(f".{os.getpid()}.part")
    with writing(path):
        fresh.write_text(json.dumps(document) + "\n")
        fresh.replace(path)


def list_episodes(folder: str | Path) -> list[Path]:
    """The episode files of a folder, by number."""
    root = Path(folder)
    if not root.is_dir():
        raise UserError(f"no folder {root}; `serl classifier record` makes one.")
    found = sorted(_numbered(root), key=lambda match: int(match[1]))
    return [root / match[0] for match in found]


def load_episode(path: str | Path) -> Episode:
    """Read one episode. Raises CorruptFile naming what does not fit."""
    file = Path(path)
    try:
        with zipfile.ZipFile(file) as archive:
            header = _header(json.loads(archive.read("header.json")))
            names = {"step", "state", *(f"camera.{name}" for name in header.view.cameras)}
            arrays = {name: _array(archive, name) for name in names}
        said = json.loads(_labels(file).read_text())
        episode = Episode(
            header=header,
            step=arrays["step"],
            frames={name: arrays[f"camera.{name}"] for name in header.view.cameras},
            state=arrays["state"],
            label=np.array(said["label"], np.int64),
            by=tuple(map(str, said["by"])),
            path=file,
        )
        _check(episode, str(file))
    except DAMAGE as error:
        raise _damaged(file, error) from error
    return episode


def frame_count(path: Path) -> int:
    """How many frames an episode has, without unpacking one. Raises CorruptFile."""
    try:
        return len(json.loads(_labels(path).read_text())["label"])
    except DAMAGE as error:
        raise _damaged(path, error) from error


def _damaged(file: Path, error: BaseException) -> CorruptFile:
    return CorruptFile(
        f"{file} is damaged ({type(error).__name__}: {error}); delete it or record it again. "
        "The other episodes are not affected."
    )


def load_folders(folders: Sequence[str | Path]) -> list[Episode]:
    """Every episode of some folders; all must show the same cameras and name the same classes."""
    paths = [path for folder in folders for path in list_episodes(folder)]
    if not paths:
        named = ", ".join(map(str, folders))
        raise UserError(f"no episodes in {named}; `serl classifier record` makes them.")
    episodes = [load_episode(path) for path in paths]
    first = episodes[0].header
    for episode in episodes[1:]:
        other = episode.header
        different = other.view.difference(first.view) or first.view.difference(other.view)
        if different is None and other.classes != first.classes:
            different = f"classes {list(other.classes)} and {list(first.classes)}"
        if different:
            raise SpecMismatch(
                f"{episode.path} and {episodes[0].path} do not belong together ({different}). "
                "Train on folders of one set-up."
            )
    return episodes


def relabel(episode: Episode, index: Sequence[int], label: int, by: str) -> Episode:
    """The episode with new labels for some of its frames; nothing is stored."""
    classes = episode.header.classes
    if not UNLABELLED <= label < len(classes):
        raise UserError(f"label {label} must be 0 to {len(classes) - 1}, or -1 to leave out.")
    outside = [k for k in index if not 0 <= k < len(episode)]
    if outside:
        raise UserError(f"frame {outside[0]} is not one of the episode's {len(episode)}.")
    labels, who = episode.label.copy(), list(episode.by)
    for k in index:
        labels[k], who[k] = label, by
    return replace(episode, label=labels, by=tuple(who))


def _numbered(folder: Path) -> list[re.Match[str]]:
    return [m for p in folder.iterdir() if (m := NAME.fullmatch(p.name))]


def _labels(path: Path) -> Path:
    return path.with_suffix(".labels.json")


def _write(file: Any, episode: Episode) -> None:
    header = episode.header
    document = {
        "format": FORMAT,
        "cameras": header.view.cameras,
        "state": asdict(header.state) if header.state else None,
        "classes": list(header.classes),
        "recorder": header.recorder,
        "seed": header.seed,
        "hold_steps": header.hold_steps,
        "pose_frame": header.pose_frame,
        "details": dict(header.details),
    }
    arrays = {"step": episode.step, "state": episode.state}
    arrays |= {f"camera.{name}": frames for name, frames in episode.frames.items()}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("header.json", json.dumps(document))
        for name, values in arrays.items():
            data = io.BytesIO()
            npy.write_array(data, np.ascontiguousarray(values), allow_pickle=False)
            archive.writestr(f"{name}.npy", data.getvalue())


def _header(raw: Any) -> Header:
    if raw["format"] != FORMAT:
        raise ValueError(f"format {raw['format']}, known is {FORMAT}")
    state = raw["state"]
    classes = tuple(map(str, raw["classes"]))
    if len(classes) < 2 or len(set(classes)) != len(classes):
        raise ValueError(f"classes {classes} must be two or more different names")
    if state is not None:
        state = ArraySpec(
            name=state["name"],
            shape=tuple(state["shape"]),
            dtype=state["dtype"],
            fields=tuple(state["fields"]),
        )
    return Header(
        view=View(cameras=dict(raw["cameras"])),
        state=state,
        classes=classes,
        recorder=str(raw["recorder"]),
        seed=raw["seed"],
        hold_steps=int(raw["hold_steps"]),
        pose_frame=str(raw["pose_frame"]),
        details=dict(raw["details"]),
    )


def _array(archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
    member = archive.getinfo(f"{name}.npy")
    if member.file_size > min(LARGEST, 1100 * member.compress_size + 4096):  # deflate's limit
        raise ValueError(f"{name} claims {member.file_size} B")
    with archive.open(member) as file:
        return npy.read_array(file, allow_pickle=False)


def _check(episode: Episode, where: str) -> None:
    """ValueError naming the array that does not fit the header."""
    n, header = len(episode.step), episode.header
    width = header.state.shape[0] if header.state else 0
    wanted: dict[str, tuple[Any, tuple[int, ...], str]] = {
        "step": (episode.step, (n,), "int32"),
        "state": (episode.state, (n, width), "float32"),
        "label": (episode.label, (n,), "int64"),
    }
    for name, camera in header.view.cameras.items():
        wanted[name] = (episode.frames[name], (n, *camera["shape"]), "uint8")
    for name, (values, shape, dtype) in wanted.items():
        if values.shape != shape or values.dtype != dtype:
            raise ValueError(
                f"{where}: {name} is {values.dtype} {values.shape}, not {dtype} {shape}"
            )
    if len(episode.by) != n or n == 0:
        raise ValueError(f"{where}: {n} frames, labelled by {len(episode.by)}")
    known = (episode.label >= UNLABELLED) & (episode.label < len(header.classes))
    if not known.all():
        raise ValueError(f"{where}: label {episode.label[~known][0]} of {len(header.classes)}")
