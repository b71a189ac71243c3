"""The source 'classifier': a model of `serl classifier train`, or a JSON file of several stages.

    {"ordered": true, "stages": [
      {"name": "reach", "classifier": "reach.safetensors", "consecutive": 3},
      {"name": "grasp", "classifier": "grasp.safetensors", "class": "grasped", "threshold": 0.9,
       "conditions": [{"field": "gripper_width", "below": 0.06}], "pays": 1.0}]}

What a stage leaves out is as its model's header says. Paths are relative to the file.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from serl.errors import SpecMismatch, UserError, unknown_name
from serl.rewards.base import REWARDS, version_number
from serl.rewards.conditions import Condition, all_hold
from serl.rewards.frames import View
from serl.rewards.judged import JudgedReward, Stage
from serl.rewards.model import Classifier, ClassifierHeader, load_classifier, read_header
from serl.types import Spec, canonical_json

KEYS = ("name", "classifier", "class", "threshold", "consecutive", "conditions", "pays")


@dataclass(frozen=True, kw_only=True)
class StagePlan:
    """One stage as a file describes it, the model's header filling the gaps."""

    name: str
    path: Path
    header: ClassifierHeader
    version: str
    pays: float = 1.0

    def to_json(self) -> dict[str, Any]:
        """What makes it this stage, wherever the model lies."""
        own = ("success", "threshold", "consecutive")
        return {
            "name": self.name,
            "version": self.version,
            "pays": self.pays,
            "conditions": [c.to_json() for c in self.header.conditions],
            **{key: getattr(self.header, key) for key in own},
        }


@dataclass(frozen=True)
class Plan:
    stages: tuple[StagePlan, ...]
    ordered: bool = True

    @property
    def version(self) -> str:
        """A single model's own; of several stages, a hash of all that is said of them."""
        only = self.stages[0]
        if len(self.stages) == 1 and only.pays == 1.0 and only.header == read_header(only.path)[0]:
            return only.version
        raw = {"ordered": self.ordered, "stages": [s.to_json() for s in self.stages]}
        return hashlib.sha256(canonical_json(raw).encode()).hexdigest()[:16]


def read_plan(path: Path) -> Plan:
    """The stages of a model or of a JSON file. Raises UserError naming what is wrong. No JAX."""
    if path.suffix != ".json":
        header, version = read_header(path)
        name = header.classes[header.success]
        return Plan((StagePlan(name=name, path=path, header=header, version=version),))
    try:
        raw = json.loads(path.read_text())
    except OSError as error:
        raise UserError(f"cannot read reward {path}: {error.strerror or error}.") from error
    except ValueError as error:
        raise UserError(
            f"reward {path} is no JSON ({error}). Mend it; see docs/rewards.md."
        ) from error
    stages = raw.get("stages") if isinstance(raw, dict) else None
    if not isinstance(stages, list) or not stages or not all(isinstance(s, dict) for s in stages):
        raise UserError(f'reward {path} must hold "stages": a list of one or more objects.')
    unknown = raw.keys() - {"stages", "ordered"}
    if unknown:
        raise unknown_name("part of a reward", min(unknown), ("stages", "ordered"))
    plans = tuple(_stage(path, k, stage) for k, stage in enumerate(stages))
    names = [p.name for p in plans]
    if len(set(names)) != len(names):
        raise UserError(f"reward {path}: stages are named {names}; names must differ.")
    ordered = raw.get("ordered", True)
    if not isinstance(ordered, bool):
        raise UserError(f'reward {path}: "ordered" is {ordered!r}; it must be true or false.')
    return Plan(plans, ordered=ordered)


def _stage(file: Path, number: int, raw: dict[str, Any]) -> StagePlan:
    unknown = raw.keys() - set(KEYS)
    if unknown:
        raise unknown_name("part of a stage", min(unknown), KEYS)
    if "classifier" not in raw:
        raise UserError(f'reward {file}: stage {number} names no "classifier".')
    path = file.parent / str(raw["classifier"])
    header, version = read_header(path)
    try:
        changes: dict[str, Any] = {}
        if "class" in raw:
            if raw["class"] not in header.classes:
                raise unknown_name(f"class of {path}", str(raw["class"]), header.classes)
            changes["success"] = header.classes.index(raw["class"])
        if "threshold" in raw:
            changes["threshold"] = float(raw["threshold"])
        if "consecutive" in raw:
            changes["consecutive"] = int(raw["consecutive"])
            if changes["consecutive"] != raw["consecutive"]:
                raise ValueError(f"consecutive {raw['consecutive']!r} is no whole number")
        if "conditions" in raw:
            changes["conditions"] = tuple(Condition.from_json(c) for c in raw["conditions"])
        header = replace(header, **changes)
        name = str(raw.get("name", header.classes[header.success]))
        pays = float(raw.get("pays", 1.0))
        if not math.isfinite(pays):
            raise ValueError(f"pays {pays}")
    except (TypeError, ValueError) as error:
        raise UserError(f"reward {file}: stage {number} is malformed ({error}).") from error
    return StagePlan(name=name, path=path, header=header, version=version, pays=pays)


class ClassifierReward:
    """Judges every observation by trained classifiers."""

    def version(self, path: Path) -> str:
        return read_plan(path).version

    def wrap(self, env: Any, path: Path, spec: Spec) -> JudgedReward:
        plan = read_plan(path)
        here = view_of(env, spec)
        frame = getattr(getattr(env.unwrapped, "config", None), "pose_frame", "")
        for stage in plan.stages:
            check_fits(stage.header, here, frame, f"classifier {stage.path}")
        judges = {p: _warm(load_classifier(p)) for p in {s.path.resolve() for s in plan.stages}}
        stages = [
            Stage(
                name=s.name,
                judge=judges[s.path.resolve()],
                success=s.header.success,
                threshold=s.header.threshold,
                consecutive=s.header.consecutive,
                holds=all_hold(spec, s.header.conditions),
                lost=s.header.lost,
                pays=s.pays,
            )
            for s in plan.stages
        ]
        return JudgedReward(env, stages, version=version_number(plan.version), ordered=plan.ordered)


def check_fits(
    header: ClassifierHeader, here: View, pose_frame: str, who: str = "the classifier"
) -> None:
    """Raises SpecMismatch where an env shows or says other things than a classifier learned."""
    different = header.view.difference(here)
    if different:
        raise SpecMismatch(
            f"{who} was trained on other cameras than this run's ({different}, classifier there). "
            "Train one on frames of this set-up."
        )
    if header.conditions and header.pose_frame != pose_frame:
        raise SpecMismatch(
            f"{who} has conditions on a state with pose_frame {header.pose_frame!r}, this run's is "
            f"{pose_frame!r}. Set env.pose_frame, or train one on frames of this set-up."
        )


def _warm(classifier: Classifier) -> Callable[[Mapping[str, Any]], Any]:
    """Its judge, compiled here and not within an episode's first step."""
    cameras = classifier.header.view.cameras
    classifier.judge({n: np.zeros(c["shape"], np.uint8) for n, c in cameras.items()})
    return classifier.judge


def view_of(env: Any, spec: Spec) -> View:
    """What an env's cameras show; without a config of its own, the shapes alone."""
    config = getattr(env.unwrapped, "config", None)
    if config is not None and hasattr(config, "contract"):
        return View.of(config)
    return View.of_spec(spec)


REWARDS.register("classifier")(ClassifierReward())
