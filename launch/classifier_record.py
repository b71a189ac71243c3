"""Recording frames of success and failure: scripted, with the simulator's word for it, or by hand.

Scripted episodes are made to fail in many ways, for a classifier learns what it is shown: the
expert finishes, wanders about with success in hand, lets go, never grasps, stops half-way, or is
drowned in noise. The env runs with reward 'learned', so that frames after success exist.
"""

from __future__ import annotations

import dataclasses
import math
import os
import select
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serl.errors import UserError
from serl.rewards.frames import CLASSES, Episode, Header, View, list_episodes, save_episode
from serl.rewards.frames import load_episode as load
from serl.seeds import Purpose, episode_seed

KINDS = ("expert", "wander", "stop", "drop", "open", "noisy", "wander", "stop", "random")
"""How scripted episodes go, in turn."""

POSITIVES_PER_EPISODE, NEGATIVES_PER_EPISODE = 3, 12
"""At most so many frames of an episode are kept: frames of one episode look alike."""

NEAR_STEPS = 10
"""Failures this near to a success, in steps, are near misses: a third of the failures kept."""

UNSURE_STEPS = 2
"""Frames this near to where success begins or ends are left out, as a person would who cannot tell
a cube at 9.5 cm from one at 10.5 cm by eye."""

UNSURE_LIFT = 0.85
"""Failures whose lift has come this far are left out for the same reason, however long it stays."""


def for_frames(env_config: Any) -> Any:
    """The env to record from: with cameras, and going on after success."""
    if not env_config.contract().get("cameras") and hasattr(env_config, "pixels"):
        env_config = env_config.pixels()
    if hasattr(env_config, "weights") and "learned" in env_config.weights():
        env_config = dataclasses.replace(env_config, reward="learned")
    return env_config


def header_of(env_config: Any, **known: Any) -> Header:
    """What every episode recorded from this env says of itself."""
    state = next((a for a in env_config.spec().observation if a.name == "state"), None)
    hold_s, hz = getattr(env_config, "hold_s", 0.0), getattr(env_config, "control_hz", 0.0)
    return Header(
        view=View.of(env_config),
        state=state,
        hold_steps=max(2, math.ceil(1.5 * hold_s * hz)),
        pose_frame=getattr(env_config, "pose_frame", ""),
        **known,
    )


class Script:
    """One scripted episode: the expert, and what goes wrong with it.

    Args:
        kind: one of KINDS.
        grips: columns of the action that are grippers.
    """

    def __init__(
        self, kind: str, expert: Any, size: int, grips: list[int], rng: np.random.Generator
    ) -> None:
        self.kind, self._expert, self._grips, self._rng = kind, expert, grips, rng
        self._drift = np.zeros(size)
        self._grip = np.ones(len(grips))
        self._patience = int(rng.integers(1, 15))
        """Steps of success before it does something else."""
        self._stop_at = int(rng.integers(5, 45))
        self._let_go = int(rng.integers(3, 25))
        self._step = self._held = 0

    def act(self, holds: bool) -> NDArray[np.float32]:
        """The next action; `holds`: the task's condition is met now."""
        self._step += 1
        self._held += holds
        if self.kind == "random":
            return self._wander(-1.0 if self._rng.random() < 0.5 else 1.0)
        if self.kind == "stop" and self._step > self._stop_at:
            return self._filled(np.zeros_like(self._drift), self._grip)
        if self.kind in ("wander", "drop") and self._held > self._patience:
            dropped = self.kind == "drop" and self._held > self._patience + self._let_go
            self._held += self.kind == "drop"  # time runs on when success is lost
            return self._wander(1.0 if dropped else None)
        action = np.array(self._expert.act(), np.float64)
        self._grip = action[self._grips].copy()
        if self.kind == "noisy":
            noise = 0.6 * self._rng.standard_normal(action.shape)
            action = self._filled(action + noise, self._grip)
        if self.kind == "open":
            action[self._grips] = 1.0
        return np.clip(action, -1.0, 1.0).astype(np.float32)

    def _wander(self, grip: float | None) -> NDArray[np.float32]:
        """Smooth random moves; None keeps the gripper as it is."""
        self._drift = 0.85 * self._drift + 0.35 * self._rng.standard_normal(self._drift.shape)
        grips = self._grip if grip is None else np.full(len(self._grips), grip)
        return self._filled(self._drift, grips)

    def _filled(self, move: NDArray[Any], grip: NDArray[Any]) -> NDArray[np.float32]:
        action = np.array(move, np.float64)
        action[self._grips] = grip
        return np.clip(action, -1.0, 1.0).astype(np.float32)


def scripted(
    env_config: Any,
    folder: Path,
    *,
    positives: int,
    negatives: int,
    seed: int = 0,
    tell: Callable[[str], None] = lambda line: None,
) -> tuple[int, int]:
    """Record until `folder` holds so many frames of each; returns how many it holds.

    A second call goes on where the first stopped: every episode is written whole or not at all.

    Raises:
        UserError: the task has no expert, no simulator says what is true, or success hardly ever
            comes.
    """
    with closing(env_config.make()) as env:
        return _scripted(env_config, env, folder, positives, negatives, seed, tell)


def _scripted(
    env_config: Any,
    env: Any,
    folder: Path,
    positives: int,
    negatives: int,
    seed: int,
    tell: Callable[[str], None],
) -> tuple[int, int]:
    expert = expert_of(env_config, env, seed)
    if not knows_truth(env):
        raise UserError(
            "scripted frames are labelled by a simulator's truth, and this env has none; record "
            "with --by-hand."
        )
    spec = env_config.spec()
    grips = [k for k, name in enumerate(spec.action.fields) if name.endswith("gripper")]
    have, attempt = _already_there(folder)
    limit = attempt + 50 + (positives + negatives) // 2
    while have[1] < positives or have[0] < negatives:
        if attempt >= limit:
            raise UserError(
                f"{have[1]} of {positives} successes and {have[0]} of {negatives} failures after "
                f"{attempt} scripted episodes. Check the task's expert, or record by hand."
            )
        rng = np.random.default_rng([seed, attempt, 7])
        script = Script(KINDS[attempt % len(KINDS)], expert, spec.action.shape[0], grips, rng)
        start = episode_seed(Purpose.DEMO, seed, attempt, lane=1)
        obs, label = _play(env, expert, script, start)
        kept = choose(label, positives - have[1], negatives - have[0], rng)
        if len(kept):
            about = {"kind": script.kind, "attempt": attempt}
            header = header_of(env_config, recorder="script", seed=start, details=about)
            save_episode(folder, episode_of(header, obs, label, ["task"] * len(label), kept))
            have = (have[0] + int((label[kept] == 0).sum()), have[1] + int(label[kept].sum()))
        attempt += 1
        tell(f"episode {attempt} ({script.kind}): {have[1]} successes, {have[0]} failures")
    return have[1], have[0]


def choose(
    label: NDArray[np.int64], positives: int, negatives: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Which frames of an episode to keep, in order: not too many, and near misses among them."""
    turns = np.flatnonzero(np.diff(label == 1))  # between this step and the next
    steps = np.arange(len(label))
    sure = np.array([np.abs(turns + 0.5 - k).min(initial=np.inf) > UNSURE_STEPS for k in steps])
    good, bad = np.flatnonzero((label == 1) & sure), np.flatnonzero((label == 0) & sure)
    near = bad[[np.abs(good - k).min(initial=1 << 30) <= NEAR_STEPS for k in bad]]
    some = _draw(good, min(positives, POSITIVES_PER_EPISODE), rng)
    wanted = min(negatives, NEGATIVES_PER_EPISODE)
    close = _draw(near, wanted // 3, rng)
    rest = _draw(np.setdiff1d(bad, close), wanted - len(close), rng)
    return np.sort(np.concatenate([some, close, rest]))


def episode_of(
    header: Header,
    obs: list[dict[str, Any]],
    label: NDArray[np.int64],
    by: list[str],
    kept: NDArray[np.int64],
) -> Episode:
    """Some frames of an episode as they are stored."""
    width = header.state.shape[0] if header.state else 0
    state = np.zeros((len(kept), width), np.float32)
    if width:
        state[:] = [obs[k]["state"] for k in kept]
    return Episode(
        header=header,
        step=kept.astype(np.int32),
        frames={name: np.stack([obs[k][name] for k in kept]) for name in header.view.cameras},
        state=state,
        label=label[kept],
        by=tuple(by[k] for k in kept),
    )


def knows_truth(env: Any) -> bool:
    """A simulator under the env says what is true."""
    return getattr(getattr(env.unwrapped, "backend", None), "scene", None) is not None


def expert_of(env_config: Any, env: Any, seed: int) -> Any:
    """The task's expert. Raises UserError without one, and on a real arm, whose expert is blind."""
    if not hasattr(env_config, "expert"):
        raise UserError(
            f"{type(env_config).__name__} has no scripted expert, so nothing moves by itself: "
            "record with --by-hand, test with --still."
        )
    if getattr(env.unwrapped, "backend", None) is not None and not knows_truth(env):
        raise UserError(
            "the scripted expert needs a simulator's truth and this arm is real: record with "
            "--by-hand, test with --still."
        )
    return env_config.expert(env, noise=0.1, seed=seed)


def unsure(env: Any) -> bool:
    """Too near to a success for an eye to tell: where a task says how far a lift has come."""
    lift = env.unwrapped.outcome.terms.get("lift", 0.0)
    return UNSURE_LIFT <= lift < 1.0


def condition_holds(env: Any) -> bool:
    """The simulator's truth of this moment, without the time it has to hold."""
    outcome = env.unwrapped.outcome
    fraction = outcome.fields.get("hold_fraction")
    return bool(outcome.success) if fraction is None else float(fraction) > 0.0


class Keys:
    """Key presses from a terminal, without waiting for them; use with `with`."""

    def __init__(self, fd: int | None = None) -> None:
        self._fd = sys.stdin.fileno() if fd is None else fd
        self._before: Any = None

    def __enter__(self) -> Keys:
        import termios
        import tty

        if not os.isatty(self._fd):
            raise UserError("labelling by keys needs a terminal; run this in one.")
        self._before = termios.tcgetattr(self._fd)
        tty.setcbreak(self._fd)
        return self

    def __exit__(self, *_: object) -> None:
        import termios

        termios.tcsetattr(self._fd, termios.TCSADRAIN, self._before)

    def pressed(self) -> str:
        """Everything pressed since the last call."""
        keys = ""
        while select.select([self._fd], [], [], 0.0)[0]:
            keys += os.read(self._fd, 64).decode(errors="ignore")
        return keys


def by_hand(
    env_config: Any,
    folder: Path,
    *,
    pressed: Callable[[], str],
    act: Callable[[], NDArray[np.float32]] | None = None,
    env: Any = None,
    classes: tuple[str, ...] = CLASSES,
    every: int = 2,
    who: str = "hand",
    seed: int = 0,
    pace: bool = True,
    tell: Callable[[str], None] = lambda line: None,
) -> list[int]:
    """Record while a person says what is seen: keys 0-9 choose the class of the coming frames,
    space changes between failure and success, n begins a new episode, q ends.

    Returns frames per class. Frames of an episode in progress are kept when it ends, also by q, by
    Ctrl-C, which is as q, and by an error of the env.

    Args:
        act: the next action; None: the arm holds, and a hand moves the object.
        every: keep every so many steps.
        pace: keep to the control rate, so that a person can follow.
    """
    env = env if env is not None else env_config.make()
    spec, label, counts, attempt = env_config.spec(), 0, [0] * len(classes), 0
    still = np.zeros(spec.action.shape, np.float32)
    period_s = 1.0 / getattr(env_config, "control_hz", 10.0)
    over = False
    while not over:
        obs, _ = env.reset(seed=episode_seed(Purpose.DEMO, seed, attempt, lane=2))
        seen, said, ended = [obs], [label], False
        try:
            while not ended:
                began = time.monotonic()
                for key in pressed():
                    label = _label_of(key, label, len(classes))
                    ended, over = ended or key in "nq", over or key == "q"
                obs, _, terminated, truncated, info = env.step(still if act is None else act())
                ended = ended or terminated or truncated
                if not info.get("interrupted"):  # a frame from before is not what is seen now
                    seen.append(obs)
                    said.append(label)
                tell(f"episode {attempt}, step {len(seen) - 1}: {classes[label]}   {counts}")
                if pace and not getattr(env_config, "is_realtime", False):
                    time.sleep(max(0.0, period_s - (time.monotonic() - began)))
        except KeyboardInterrupt:
            over = True
        finally:
            kept = np.arange(0, len(said), every)
            labels = np.array(said, np.int64)
            header = header_of(env_config, classes=classes, recorder=who)
            frames = seen[: len(said)]
            save_episode(folder, episode_of(header, frames, labels, [who] * len(said), kept))
        for k in kept:
            counts[labels[k]] += 1
        attempt += 1
    return counts


def _label_of(key: str, label: int, classes: int) -> int:
    if key == " ":
        return 0 if label == classes - 1 else classes - 1
    return int(key) if key.isdigit() and int(key) < classes else label


def _play(
    env: Any, expert: Any, script: Script, seed: int
) -> tuple[list[dict[str, Any]], NDArray[np.int64]]:
    """One episode to its time limit: observations and their labels, -1 where an eye cannot tell."""
    obs, _ = env.reset(seed=seed)
    expert.reset()
    seen, holds, over = [obs], condition_holds(env), False
    labels = [int(holds)]
    while not over:
        obs, _, terminated, truncated, _ = env.step(script.act(holds))
        holds = condition_holds(env)
        seen.append(obs)
        labels.append(int(holds) if holds or not unsure(env) else -1)
        over = terminated or truncated
    return seen, np.array(labels, np.int64)


def _already_there(folder: Path) -> tuple[tuple[int, int], int]:
    """(failures, successes) stored, and the next attempt's number."""
    if not folder.is_dir():
        return (0, 0), 0
    episodes = [load(path) for path in list_episodes(folder)]
    labels = np.concatenate([e.label for e in episodes]) if episodes else np.zeros(0)
    attempts = [int(e.header.details.get("attempt", -1)) for e in episodes]
    return (int((labels == 0).sum()), int((labels == 1).sum())), max(attempts, default=-1) + 1


def _draw(values: NDArray[np.int64], count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    return rng.choice(values, min(count, len(values)), replace=False)
