"""The learner's side of seeing: the frozen trunk, the thread that encodes, and drawn batches.

Three ways to see, by `ImageConfig`: K crops of each frame are encoded once, in the background, and
their features kept (the default); with `crops` 0 the frames of each batch are encoded when it is
drawn; with `frozen` false the agent gets the frames and trains the trunk itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serl.channel.server import OfferedTrunk
from serl.data.demos import Episode
from serl.data.feature_cache import FeatureCache
from serl.data.mixing import Minibatches, encoded
from serl.data.replay import Replay
from serl.encoder import ROWS, Encoder
from serl.errors import SpecMismatch
from serl.goals import Goals, success_pictures
from serl.networks.augment import AugmentedCrops, suffix
from serl.pixels import FeatureLayout, images
from serl.run_folder import RunFolder


class Eyes:
    """What a learner needs to learn from cameras; without cameras, nothing at all.

    Args:
        trunk: a serl.trunk.FrozenTrunk; None where the agent needs none.
        image: the agent's ImageConfig; None where the spec has no cameras.
        file: of the trunk, for actors that lack it.
        seed: of the crops' augmentation, where there is any.
    """

    def __init__(
        self,
        agent: Any = None,
        image: Any = None,
        trunk: Any = None,
        file: Path | None = None,
        seed: int = 0,
    ) -> None:
        self.trunk = trunk
        self.trunk_name: str = agent.trunk_name if image is not None else ""
        self.stack: int = image.stack if image is not None else 1
        self.layout: FeatureLayout | None = None
        self.offer: OfferedTrunk | None = None
        self._encoder: Encoder | None = None
        self._cameras: tuple[str, ...] = ()
        self._wants_goals = hasattr(agent, "goal_spec")
        self._goals: Goals | None = None
        if trunk is None or image is None:
            return
        cameras = images(agent.spec)
        self._cameras = tuple(a.name for a in cameras)
        self._frame = cameras[0].shape
        shift_px = image.shift_px

        def encode(frames: NDArray[np.uint8], offsets: NDArray[Any]) -> NDArray[np.uint16]:
            return trunk.encode(frames, offsets, shift_px)

        self.encode = AugmentedCrops(encode, image.augment, shift_px, seed)
        """Features of crops, as bits: see `serl.data.features.Encode`. Its draws belong to the
        thread that encodes, `_encode_goals`' to the main one."""
        self._encode_goals = AugmentedCrops(encode, image.augment, shift_px, seed)
        self._shift_px = shift_px
        if file is not None:
            self.offer = OfferedTrunk(id=trunk.id, file=file)
        if image.crops:
            self.layout = FeatureLayout(
                trunk=trunk.id + suffix(image.augment),
                cameras=self._cameras,
                shape=agent.feature_shape,
                crops=image.crops if image.shift_px else 1,
                shift_px=image.shift_px,
                per_episode=image.stack > 1,
            )

    @staticmethod
    def of(agent: Any, run: RunFolder, seed: int) -> Eyes:
        """For an agent of this run. The run keeps the trunk it began with.

        Raises:
            SpecMismatch: the run's trunk is not the agent's.
        """
        if not images(agent.spec) or not hasattr(agent, "trunk_name"):
            return Eyes()
        image = agent.image
        if not run.trunk_name.exists():
            run.write(run.trunk_name, {"name": agent.trunk_name})
        if not agent.encodes:
            return Eyes(agent, image)
        from dataclasses import replace

        from serl.trunk import load_trunk, read_trunk, save_trunk

        if run.trunk.exists():
            trunk = read_trunk(run.trunk, image.precision)
        else:
            trunk = load_trunk(replace(image, trunk=agent.trunk_name), seed)
            save_trunk(trunk, run.trunk)
        if trunk.name != agent.trunk_name:
            raise SpecMismatch(
                f"{run.trunk} is a {trunk.name}, this experiment sees through {agent.trunk_name}. "
                "Resume the run with its own experiment, or start a new one."
            )
        return Eyes(agent, image, trunk, run.trunk, seed)

    @property
    def trunk_id(self) -> str:
        """Id of the frozen trunk; empty for none."""
        return self.trunk.id if self.trunk is not None else ""

    def open(self, stack: ExitStack, replays: Sequence[Replay]) -> None:
        """Encode what `replays` take in, the most important first, until `stack` is closed."""
        if self.layout is not None:
            self._encoder = stack.enter_context(Encoder(self.encode, replays))

    def compile(self) -> None:
        """Compile the trunk for the sizes that training encodes."""
        if self.trunk is not None:
            n = ROWS * len(self._cameras)
            self.encode(np.zeros((n, *self._frame), np.uint8), np.zeros((n, 2), np.int32))

    def remember(self, demos: Path, replay: Replay, episodes: Sequence[Episode]) -> None:
        """Take the features of demonstrations from their folder, or put them there once made."""
        if self.layout is None or self._encoder is None:
            return
        cache = FeatureCache(demos / "features", self.layout)
        cache.load(replay, episodes)
        self._encoder.add_cache(cache)

    def take_goals(self, demos: Replay, rng: np.random.Generator) -> None:
        """Encode the demonstrations' moments of success, for an agent that asks for them."""
        if self._wants_goals:
            pictures = success_pictures(demos.iter_episodes(), self._cameras)
            self._goals = Goals(pictures, self._encode_goals, self._shift_px, rng)

    def look(self, rng: np.random.Generator, batch: Minibatches) -> Minibatches:
        """A drawn batch as the agent's update takes it."""
        if self.trunk is not None and self.layout is None:
            batch = encoded(rng, batch, self._cameras, self.encode, self._shift_px)
        if self._goals is not None:
            goals = self._goals.draw(rng, batch["reward"].shape)
            batch = {**batch, "extra": {**batch["extra"], **goals}}
        return batch

    def check(self) -> None:
        """Raise what ended the encoder, if something did."""
        if self._encoder is not None:
            self._encoder.check()

    def metrics(self) -> dict[str, float]:
        """The encoder's; none without one."""
        return self._encoder.metrics() if self._encoder is not None else {}
