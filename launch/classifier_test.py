"""A classifier at work: its probability on the picture, and how often it is right."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from launch.classifier_record import KINDS, Script, condition_holds, expert_of, knows_truth
from serl.errors import writing
from serl.rewards.classifier import check_fits
from serl.rewards.conditions import all_hold
from serl.rewards.figures import Rates, rates
from serl.rewards.frames import View
from serl.rewards.model import Classifier
from serl.rewards.pictures import beside, montage, png, with_bar
from serl.seeds import Purpose, episode_seed

SCALE = 2
"""Each pixel becomes this many, squared, in films."""

MONTAGE = 64
"""Frames of a PNG."""


@dataclass(frozen=True, kw_only=True)
class Tested:
    """What a classifier said of whole episodes."""

    frames: int
    by_frame: Rates | None
    """Against the simulator's word for each frame; None where nobody knows."""
    judged: int
    """Episodes that would have been paid: N in a row above the threshold, conditions met."""
    judged_true: int
    """Of these, those whose success was true when it was paid."""
    true: int
    """Episodes with a true success at any time."""
    episodes: int

    def text(self) -> str:
        """For a person."""
        if self.by_frame is None:
            return (
                f"{self.frames} frames, {self.judged} of {self.episodes} episodes judged successes"
            )
        return (
            f"{self.frames} frames: {self.by_frame.text()}\n{self.episodes} episodes: "
            f"{self.judged} judged successes, {self.judged_true} of them true; {self.true} truly "
            "succeeded"
        )


def run_test(
    env_config: Any,
    classifier: Classifier,
    *,
    episodes: int,
    seed: int = 0,
    out: Path | None = None,
    still: bool = False,
    tell: Callable[[str], None] = lambda line: None,
) -> Tested:
    """Judge scripted episodes of fresh seeds (`still`: the arm holds, a person moves things).

    Args:
        env_config: with cameras, and going on after success (`classifier_record.for_frames`).
        out: an .mp4, or a .png of frames spread over the episodes, with the probability below.
    """
    header, spec = classifier.header, env_config.spec()
    check_fits(header, View.of(env_config), getattr(env_config, "pose_frame", ""))
    holds = all_hold(spec, header.conditions)
    grips = [k for k, name in enumerate(spec.action.fields) if name.endswith("gripper")]
    size = spec.action.shape[0]
    said, truth, counts = [], [], np.zeros(3, int)
    with ExitStack() as stack:
        env = stack.enter_context(closing(env_config.make()))
        expert = None if still else expert_of(env_config, env, seed)
        knows = knows_truth(env)
        show = stack.enter_context(_Show(out, getattr(env_config, "control_hz", 10.0)))
        for number in range(episodes):
            obs, _ = env.reset(seed=episode_seed(Purpose.DEMO, seed, number, lane=3))
            kind = KINDS[number % len(KINDS)]
            script = None
            if expert is not None:
                expert.reset()
                rng = np.random.default_rng([seed, number, 11])
                script = Script(kind, expert, size, grips, rng)
            run, paid, paid_true, truly, over = 0, False, False, False, False
            while not over:
                held = knows and condition_holds(env)
                action = script.act(held) if script else np.zeros(size, np.float32)
                obs, _, terminated, truncated, info = env.step(action)
                p = float(classifier.judge(obs)[header.success])
                now = knows and condition_holds(env)
                said.append(p)
                truth.append(now)
                run = run + 1 if p >= header.threshold and holds(obs) else 0
                if run >= header.consecutive and not paid:
                    paid, paid_true = True, now
                truly = truly or bool(info.get("success", False))
                over = terminated or truncated
                show.add(beside([obs[name] for name in header.view.cameras]), p, header.threshold)
                mark = " success" if paid else ""
                tell(f"\repisode {number} {'still' if still else kind:<7} p {p:5.3f}{mark}")
            counts += (paid, paid and paid_true, truly)
            tell("\n")
    by_frame = rates(np.array(said), np.array(truth), header.threshold) if knows else None
    judged, judged_true, true = counts.tolist()
    return Tested(
        frames=len(said),
        by_frame=by_frame,
        judged=judged,
        judged_true=judged_true,
        true=true,
        episodes=episodes,
    )


class _Show:
    """An mp4 of every frame, or a PNG of some; None shows nothing."""

    def __init__(self, out: Path | None, fps: float) -> None:
        self._out, self._film, self._kept, self._seen = out, None, [], 0
        if out is not None and out.suffix == ".mp4":
            from launch.video import Film

            self._film = Film(out, fps)

    def add(self, frame: NDArray[np.uint8], p: float, threshold: float) -> None:
        if self._out is None:
            return
        shown = with_bar(frame, p, threshold)
        if self._film is not None:
            self._film.add(shown.repeat(SCALE, axis=0).repeat(SCALE, axis=1))
            return
        self._kept.append((self._seen, shown))
        self._seen += 1
        if len(self._kept) > 2 * MONTAGE:
            self._kept = self._kept[::2]

    def __enter__(self) -> _Show:
        return self

    def __exit__(self, *_: object) -> None:
        if self._film is not None:
            self._film.close()
        elif self._out is not None and self._kept:
            every = -(-len(self._kept) // MONTAGE)
            with writing(self._out):
                self._out.write_bytes(png(montage([f for _, f in self._kept][::every])))
