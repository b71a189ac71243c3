"""Whether a set of demonstrations fits an experiment: the first difference, and what mends it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serl.data.demos import EpisodeMeta
from serl.data.formats.native import open_set
from serl.data.formats.steps import RATE, SHARED, rate_of
from serl.errors import SpecMismatch
from serl.pixels import images
from serl.types import ArraySpec, Spec, first_difference

if TYPE_CHECKING:
    from launch.data_convert import Mend

ANEW = "nothing mends that; record anew, or take the experiment that the set belongs to"
ACTION = "action"


def refuse_misfit(path: Path, env_config: Any, mend: Mend | None = None) -> tuple[str, ...]:
    """SpecMismatch where the set at `path`, mended, does not fit the env; what could not be
    compared, a line each, where it does."""
    from launch.data_convert import Mend, mended_meta, mended_spec

    demos, mend = open_set(path), mend or Mend()
    spec = mended_spec(demos.spec, mend)
    meta = mended_meta(demos.headers[0].meta, mend)
    check_fit(str(path), spec, meta, env_config)
    due = env_config.contract().get(RATE)
    if due is not None and rate_of(meta) is None:
        return (f"{path} does not say its control rate; the experiment runs at {due:g} Hz.",)
    return ()


def check_fit(name: str, spec: Spec, meta: EpisodeMeta, env_config: Any) -> None:
    """SpecMismatch, one line: the first difference, and the word of `serl data convert` for it."""
    for text, word in differences(spec, meta, env_config.spec(), env_config.contract()):
        cure = f"`serl data convert` with {word} mends it" if word else ANEW
        raise SpecMismatch(f"{name} does not fit the experiment: {text}; {cure}.")


def differences(
    spec: Spec, meta: EpisodeMeta, wanted: Spec, contract: dict[str, Any]
) -> Iterator[tuple[str, str | None]]:
    """(what differs, the word that mends it or None), the plainest first."""
    yield from _cameras(spec, wanted)
    yield from _arrays("observation", _plain(spec), _plain(wanted), None)
    yield from _states(spec, wanted)
    yield from _action(spec, meta, wanted, contract)
    yield from _arrays("extra", spec.extras, wanted.extras, "--drop-extra {}")
    rate, due = rate_of(meta), contract.get(RATE)
    if rate is not None and due is not None and rate != due:
        said = f"it was recorded at {rate:g} Hz, the experiment runs at {due:g} Hz"
        yield f"{said}, and an action is a displacement per period", None
    left = first_difference(json.loads(wanted.to_json()), json.loads(spec.to_json()))
    if left is not None:
        yield (
            f"{left.replace(' here', ' in the experiment').replace(' there', ' in the set')}",
            ("--adopt" if _same_shapes(spec, wanted) else None),
        )


def _cameras(spec: Spec, wanted: Spec) -> Iterator[tuple[str, str | None]]:
    ours = {a.name: a for a in images(spec)}
    due = {a.name: a for a in images(wanted)}
    more = [name for name in ours if name not in due]
    for name, array in due.items():
        if name not in ours:
            alike = [n for n in more if ours[n].shape == array.shape]
            word = f"--rename {alike[0]}={name}" if len(alike) == 1 else None
            yield f"it has no camera {name!r} but {', '.join(ours) or 'none'}", word
    for name in more:
        yield f"its camera {name!r} is not in the experiment", f"--drop-camera {name}"
    for name in due.keys() & ours.keys():
        have, want = ours[name].shape, due[name].shape
        if have != want:
            word = f"--resize {name}={want[1]}x{want[0]}" if have[2] == want[2] else None
            sizes = f"{have[1]} x {have[0]}, not {want[1]} x {want[0]}"
            yield f"its camera {name!r} is {sizes}", word


def _states(spec: Spec, wanted: Spec) -> Iterator[tuple[str, str | None]]:
    """Vectors of other elements."""
    ours = {a.name: a for a in _plain(spec)}
    for array in _plain(wanted):
        have = ours.get(array.name)
        if have is None or (have.shape == array.shape and have.fields == array.fields):
            continue
        if not have.fields or not array.fields:
            if have.shape != array.shape:
                yield f"{array.name!r} is {list(have.shape)}, not {list(array.shape)}", None
            continue
        missing = [f for f in array.fields if f not in have.fields]
        if missing:
            yield f"{array.name!r} has no {missing[0]!r}", None
            continue
        words = dict.fromkeys(f.partition(" [")[0] for f in array.fields)
        more = next((f for f in have.fields if f not in array.fields), None)
        what = f"{array.name!r} has {more!r} too" if more else f"{array.name!r} is in another order"
        yield what, f"--state {' '.join(words)}"


def _action(
    spec: Spec, meta: EpisodeMeta, wanted: Spec, contract: dict[str, Any]
) -> Iterator[tuple[str, str | None]]:
    have, want = spec.action, wanted.action
    if have.shape != want.shape or (have.fields and want.fields and have.fields != want.fields):
        mine, due = (", ".join(a.fields) or str(list(a.shape)) for a in (have, want))
        yield f"its action is ({mine}), not ({due})", None
    told, due = meta.details.get(SHARED, {}).get(ACTION), contract.get(ACTION)
    if not isinstance(told, dict) or not isinstance(due, dict):
        return
    modes = told.get("gripper"), due.get("gripper")
    if modes[0] != modes[1]:
        known = sorted(map(str, modes)) == ["three_way", "width"]
        word = f"--gripper {modes[0]}={modes[1]}" if known else None
        yield f"its gripper is commanded by {modes[0]}, not {modes[1]}", word
    shared = {k: v for k, v in due.items() if k in told}
    left = first_difference(json.loads(json.dumps(shared)), {k: told[k] for k in shared})
    if left is not None and not left.startswith("gripper"):
        said = left.replace(" here", " in the experiment").replace(" there", " in the set")
        yield f"its actions mean something else ({said})", None


def _arrays(
    kind: str, have: tuple[ArraySpec, ...], want: tuple[ArraySpec, ...], word: str | None
) -> Iterator[tuple[str, str | None]]:
    ours, due = {a.name for a in have}, {a.name for a in want}
    for name in sorted(due - ours):
        alike = sorted(ours - due)
        shapes = {a.name: a.shape for a in (*have, *want)}
        same = [n for n in alike if shapes[n] == shapes[name]]
        yield f"it has no {kind} {name!r}", f"--rename {same[0]}={name}" if len(same) == 1 else None
    for name in sorted(ours - due):
        yield f"its {kind} {name!r} is not in the experiment", word and word.format(name)


def _plain(spec: Spec) -> tuple[ArraySpec, ...]:
    """Observations that are no camera's."""
    cameras = images(spec)
    return tuple(a for a in spec.observation if a not in cameras)


def _same_shapes(spec: Spec, wanted: Spec) -> bool:
    def shapes(of: Spec) -> list[Any]:
        return [(a.name, a.shape) for a in (*of.observation, of.action, *of.extras)]

    return shapes(spec) == shapes(wanted)
