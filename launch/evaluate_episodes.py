"""What a test keeps of each episode: a film, and the episode itself as a demonstration is kept."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from serl.data.demos import EpisodeMeta, save_episode
from serl.errors import UserError
from serl.evaluation import EpisodeResult
from serl.records import RecordBuilder, Records
from serl.types import Source

if TYPE_CHECKING:
    from serl.experiment import Experiment


class Keeper:
    """Records episodes and saves those that were not broken off; a `Recorder` of serl.evaluation.

    Args:
        folder: as `serl record` makes; None keeps nothing.
    """

    def __init__(self, folder: Path | None, experiment: Experiment, version: int) -> None:
        self._folder, self._experiment, self._version = folder, experiment, version
        self._spec = experiment.env.spec()
        self._builder = RecordBuilder(self._spec)
        self._rows: list[Records] = []
        self._episode = 0

    def begin(self, obs: Any, info: Any) -> None:
        self._rows = [self._builder.first(self._episode, obs, info)]

    def step(
        self, action: Any, obs: Any, reward: float, terminated: bool, truncated: bool, info: Any
    ) -> None:
        self._rows.append(
            self._builder.step(
                action=action,
                obs=obs,
                reward=reward,
                terminated=terminated,
                truncated=truncated,
                info=info,
                source=Source.POLICY,
                policy_version=self._version,
            )
        )

    def keep(self, episode: EpisodeResult) -> None:
        """The episode just recorded has ended; failures are kept too."""
        if self._folder is None:
            return
        meta = EpisodeMeta(
            experiment=self._experiment.name,
            task=getattr(self._experiment.env, "task_name", ""),
            actor=f"policy version {self._version}",
            success=episode.success,
            outcome="success" if episode.success else "failure",
            seed=episode.seed,
            details={"human_steps": episode.human_steps, "interventions": episode.interventions},
        )
        rows = np.concatenate(self._rows)
        save_episode(self._folder, rows, self._spec, meta, keep_failures=True)
        self._episode += 1


class Camera:
    """Films an evaluation as far as the machine can: without OpenGL the evaluation goes on."""

    def __init__(self, path: Path, fps: float) -> None:
        from launch.video import Film

        self.path = path
        self.failure: UserError | None = None
        self._film = Film(path, fps)

    def __call__(self, env: Any) -> None:
        """Add what the env shows now."""
        from gymnasium.error import DependencyNotInstalled

        if self.failure is None:
            try:
                self._film.film(env)
            except UserError as error:
                self.failure = error
            except DependencyNotInstalled as error:
                self.failure = UserError(str(error))

    def __enter__(self) -> Camera:
        return self

    def __exit__(self, *_: object) -> None:
        self._film.close()


class EachFilm:
    """One mp4 per episode, named by its seed and how it ended."""

    def __init__(self, folder: Path, fps: float) -> None:
        self._folder, self._fps = folder, fps
        self._camera: Camera | None = None

    def begin(self) -> None:
        """A new episode; what was filmed of one that was broken off is replaced."""
        self.close()
        self._camera = Camera(self._folder / "unfinished.mp4", self._fps)

    def __call__(self, env: Any) -> None:
        if self._camera is not None:
            self._camera(env)

    def end(self, episode: EpisodeResult) -> None:
        """Keep the film of this one."""
        camera = self._camera
        self.close()
        if camera is not None and camera.path.is_file():
            word = "success" if episode.success else "failure"
            camera.path.replace(self._folder / f"seed_{episode.seed}_{word}.mp4")

    def close(self) -> None:
        camera, self._camera = self._camera, None
        if camera is not None:
            camera.__exit__()
