"""RLDS: a folder as TensorFlow Datasets prepares it, an episode a record, steps within.

    dataset_info.json, features.json         what there is, type by type
    <name>-train.tfrecord-00000-of-00001     steps/observation/..., steps/action, steps/reward,
                                             steps/is_first, is_last, is_terminal

A step holds an observation and the action taken on it; the last step's action, reward and discount
mean nothing, so n + 1 steps are n of ours. Written and read without TensorFlow.
Source: RLDS's documentation, "Dataset format"; TensorFlow Datasets 4.9.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serl.data.formats import rlds_features as features
from serl.data.formats.base import FORMATS, PARTS, Arrays, Options, Steps, reading
from serl.data.formats.rlds_features import Leaf
from serl.data.formats.steps import (
    KEYS,
    STEP_FIELDS,
    as_actions,
    flat_names,
    header_json,
    plain_names,
    rate_of,
    read_header,
)
from serl.data.formats.tfrecord import example_class, read_examples, write_example
from serl.data.records import field_names, frame_fields
from serl.types import Spec, record_dtype

KIND = "RLDS set"
INFO, FEATURES = "dataset_info.json", "features.json"
NAME, VERSION = "demonstrations", "1.0.0"
FILE = f"{NAME}-train.tfrecord-00000-of-00001"
OURS = "serl"
HEADER = f"episode_metadata/{OURS}"
FLAGS = ("terminated", "truncated", "success")

ASSUMED = (
    "RLDS has no place for success: a termination with a positive reward counts as one; an episode "
    "that ends without a termination is a time-out."
)
MOVED = "the last step's reward, which RLDS leaves undefined, is counted with the last action."


@FORMATS.register("rlds")
class Rlds:
    """A folder of TFRecord files."""

    about = "RLDS: a folder as TensorFlow Datasets prepares it, without TensorFlow"
    extra: str | None = "rlds"
    keeps = frozenset(PARTS)

    def detect(self, path: Path) -> bool:
        return (path / INFO).is_file() and (path / FEATURES).is_file()

    def read(self, path: Path) -> Iterator[Steps]:
        with reading(path, KIND):
            told = features.leaves(json.loads((path / FEATURES).read_text()))
            splits = json.loads((path / INFO).read_text())["splits"]
            due = sum(int(n) for split in splits for n in split["shardLengths"])
            count = 0
            for file in sorted(path.glob("*.tfrecord*")):
                for example in read_examples(file):
                    count += 1
                    yield _read_episode(example.features.feature, told)
            if count != due:
                raise ValueError(f"it holds {count} episodes of {due}")

    def write(self, path: Path, spec: Spec, demos: Iterable[Steps], options: Options) -> None:
        path.mkdir(parents=True)
        told = _told(spec)
        size = count = 0
        with (path / FILE).open("wb") as file:
            for steps in demos:
                size += write_example(file, _example(steps, spec, told, options.task))
                count += 1
        split = {"name": "train", "numBytes": str(size), "shardLengths": [str(count)]}
        split["filepathTemplate"] = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
        about = {"fileFormat": "tfrecord", "name": NAME, "version": VERSION, "splits": [split]}
        (path / INFO).write_text(json.dumps(about, indent=2))
        (path / FEATURES).write_text(json.dumps(features.nested(told), indent=2))


def _told(spec: Spec) -> dict[str, Leaf]:
    """Every leaf that an export of ours has."""
    names = flat_names(a.name for a in spec.observation)
    cameras = {name.removeprefix("obs/") for name in frame_fields(spec)}
    found = {
        f"steps/observation/{names[a.name]}": features.whole(
            a.dtype, a.shape, picture=a.name in cameras
        )
        for a in spec.observation
    }
    found["steps/action"] = features.whole("float32", spec.action.shape)
    found |= {f"steps/{name}": features.whole("float32") for name in ("reward", "discount")}
    found |= {
        f"steps/{name}": features.whole("bool") for name in ("is_first", "is_last", "is_terminal")
    }
    found["steps/language_instruction"] = features.whole("string")
    found |= {f"steps/{OURS}/{flag}": features.whole("bool") for flag in FLAGS}
    for field, (kind, shape) in _field_types(spec).items():
        found[f"steps/{OURS}/{field.replace('/', '.')}"] = features.whole(kind, shape)
    found[HEADER] = features.whole("string")
    return found


def _example(steps: Steps, spec: Spec, told: dict[str, Leaf], task: str) -> Any:
    n = steps.count
    names = flat_names(a.name for a in spec.observation)
    at = np.arange(n + 1)
    task = (steps.meta.task if steps.meta else "") or task
    terminal = (at == n) & bool(steps.terminated[-1:].any())
    values: dict[str, Any] = {
        **{f"steps/observation/{names[k]}": v for k, v in steps.observations.items()},
        "steps/action": _with_last(steps.actions),
        "steps/reward": _with_last(steps.rewards),
        "steps/discount": np.where(terminal, 0, 1).astype(np.float32),
        "steps/is_first": at == 0,
        "steps/is_last": at == n,
        "steps/is_terminal": terminal,
        "steps/language_instruction": [task] * (n + 1),
        **{f"steps/{OURS}/{flag}": _with_first(getattr(steps, flag)) for flag in FLAGS},
        **{f"steps/{OURS}/{k.replace('/', '.')}": v for k, v in steps.fields.items()},
        HEADER: [header_json(steps, spec)],
    }
    example = example_class()()
    for name, leaf in told.items():
        leaf.put(example.features.feature[name], values[name])
    return example


def _read_episode(found: Any, told: dict[str, Leaf]) -> Steps:
    def get(name: str) -> NDArray[Any]:
        if name not in told or name not in found:
            raise ValueError(f"it has no {name}")
        return told[name].get(found[name], name)

    if "steps/action" not in told:
        several = [name for name in told if name.startswith("steps/action/")]
        raise ValueError(f"its action is not one array but {', '.join(several) or 'absent'}")
    actions, notes = as_actions(get("steps/action"))
    n = len(actions) - 1
    ours = read_header(told[HEADER].text(found[HEADER])) if HEADER in told else None
    names = [k for k, leaf in told.items() if k.startswith("steps/observation/") and leaf.numeric]
    observations = {k.removeprefix("steps/observation/"): get(k) for k in names}
    plain = plain_names(observations)
    if ours is not None:
        plain = {
            flat: name for name, flat in flat_names(a.name for a in ours[0].observation).items()
        }
    for name, values in observations.items():
        if len(values) != n + 1:
            raise ValueError(f"{name} has {len(values)} rows for {n + 1} steps")
    flags, rewards, more = _ends(get, told, n, ours is not None)
    return Steps(
        observations={plain[name]: values for name, values in observations.items()},
        actions=actions[:-1],
        rewards=rewards,
        **flags,
        fields={} if ours is None else _fields(get, ours[0]),
        spec=None if ours is None else ours[0],
        meta=None if ours is None else ours[1],
        control_hz=rate_of(ours[1]) if ours else None,
        notes=notes + more,
    )


def _ends(
    get: Any, told: dict[str, Leaf], n: int, ours: bool
) -> tuple[dict[str, NDArray[np.bool_]], NDArray[np.float32], tuple[str, ...]]:
    """Flags and rewards of n actions."""
    paid = get("steps/reward") if "steps/reward" in told else np.zeros(n + 1)
    rewards = paid[:-1].astype(np.float32)
    if ours:
        return {flag: get(f"steps/{OURS}/{flag}")[1:] for flag in FLAGS}, rewards, ()
    notes: tuple[str, ...] = (ASSUMED,)
    if n and paid[-1] != 0:
        rewards[-1] += paid[-1]
        notes += (MOVED,)
    last = np.arange(1, n + 1) == n
    terminal = bool(get("steps/is_terminal")[-1]) if "steps/is_terminal" in told else False
    terminated = last & terminal
    flags = {"terminated": terminated, "truncated": last & (not terminal)}
    return {**flags, "success": terminated & (rewards > 0)}, rewards, notes


def _fields(get: Any, spec: Spec) -> Arrays:
    found = _field_types(spec)
    return {name: get(f"steps/{OURS}/{name.replace('/', '.')}") for name in found}


def _field_types(spec: Spec) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Type and shape of the fields of our records that RLDS has no name for."""
    dtype = record_dtype(spec)
    done = {*STEP_FIELDS, *KEYS}
    left = [n for n in field_names(dtype) if n not in done and not n.startswith("obs/")]
    return {name: (dtype[name].base.name, dtype[name].shape) for name in left}


def _with_last(values: NDArray[Any]) -> NDArray[Any]:
    """A row of zeros at the end: the step after the last action."""
    return np.concatenate([values, np.zeros_like(values[:1])])


def _with_first(values: NDArray[Any]) -> NDArray[Any]:
    """A row of zeros before: the step before the first action."""
    return np.concatenate([np.zeros_like(values[:1]), values])
