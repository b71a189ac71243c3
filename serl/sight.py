"""What a policy sees of an observation: its cameras' features, and stacks of past frames.

Each frame goes through the frozen trunk once: the features that the policy acts on are the ones
that travel to the replay as crop 0.
"""

from __future__ import annotations

import dataclasses
import logging
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from serl.errors import UserError
from serl.pixels import FEATURE, TRUNK_NUMBER, check_frames, images, trunk_number

if TYPE_CHECKING:
    from serl.trunk import FrozenTrunk

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Seen:
    """One observation as the policy sees it."""

    obs: dict[str, NDArray[Any]]
    """For `Agent.act_with`: bfloat16 features (h, w, C) or frames of each camera, the other arrays
    as they are; with T frames a leading axis (T, ...), oldest first."""
    extras: dict[str, Any] = field(default_factory=dict)
    """For the record of this observation: features as bits, and the trunk's number."""
    blind: bool = False
    """It should show features, but there is no trunk yet: nothing can act on it."""


class Sight:
    """Turns the observations of one episode after another into what the policy sees.

    Args:
        agent: a serl.agents.base.Agent.
        trunk: what its features are made with; None where it needs none, or has none yet.
    """

    def __init__(self, agent: Any, trunk: FrozenTrunk | None = None) -> None:
        self.encodes = bool(getattr(agent, "encodes", False))
        self.trunk: FrozenTrunk | None = None
        spec = getattr(agent, "spec", None)
        self._images = images(spec) if spec is not None else ()
        self._stack = agent.config.image.stack if self._images else 1
        self._blank: dict[str, NDArray[np.uint16]] = {}
        self._sends = False
        """Whether features travel with the record."""
        if self.encodes:
            self._sends = any(a.name == TRUNK_NUMBER for a in agent.record_spec.extras)
            self._blank = {a.name: np.zeros(agent.feature_shape, np.uint16) for a in self._images}
        self._past: deque[dict[str, NDArray[Any]]] = deque(maxlen=self._stack)
        """The last T observations as shown, and below the frames they show: for another trunk."""
        self._frames: deque[dict[str, NDArray[Any]]] = deque(maxlen=self._stack)
        if trunk is not None:
            self.use(trunk)

    def use(self, trunk: FrozenTrunk) -> None:
        """See through this trunk from now on; compiled here, not at the next step."""
        self.trunk = trunk
        self._encode({a.name: np.zeros(a.shape, np.uint8) for a in self._images})
        self._past.clear()
        self._past.extend({**obs, **_features(self._encode(obs))} for obs in self._frames)

    def begin(self) -> None:
        """A new episode: what came before is forgotten."""
        self._past.clear()
        self._frames.clear()

    def see(self, obs: Mapping[str, NDArray[Any]]) -> Seen:
        """The next observation of the episode. Raises UserError for a frame of another shape."""
        if not self._images:
            return Seen(dict(obs))
        check_frames(self._images, obs)
        shown = dict(obs)
        extras: dict[str, Any] = {}
        if self.encodes:
            number = trunk_number(self.trunk.id) if self.trunk is not None else 0
            bits = self._encode(obs) if self.trunk is not None else self._blank
            if self._sends:
                extras.update({FEATURE + name: value for name, value in bits.items()})
                extras[TRUNK_NUMBER] = np.uint64(number)
            shown.update(_features(bits))
            if self._stack > 1:
                self._frames.append({name: np.array(value) for name, value in obs.items()})
            if self.trunk is None:
                return Seen(shown, extras, blind=True)
        return Seen(self._stacked(shown), extras)

    def _encode(self, obs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.uint16]]:
        """Every camera's features as bits, in one call."""
        assert self.trunk is not None
        names = [a.name for a in self._images]
        bits = self.trunk.encode(np.stack([np.asarray(obs[name]) for name in names]))
        return dict(zip(names, bits, strict=True))

    def _stacked(self, shown: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """The last T observations; before an episode's first, that one is repeated."""
        if self._stack == 1:
            return shown
        self._past.append(shown)
        while len(self._past) < self._stack:
            self._past.appendleft(self._past[0])
        return {name: np.stack([past[name] for past in self._past]) for name in shown}


def _features(bits: Mapping[str, NDArray[np.uint16]]) -> dict[str, NDArray[Any]]:
    """bfloat16, of their bits."""
    return {name: value.view(ml_dtypes.bfloat16) for name, value in bits.items()}


def image_config(config: Any) -> Any:
    """The ImageConfig of an agent's config; None where it has none."""
    return getattr(config, "image", None)


def with_trunk(config: Any, name: str | None) -> Any:
    """An agent's config that says which trunk "auto" is; unchanged where it says so itself."""
    image = image_config(config)
    if not name or image is None or image.trunk != "auto":
        return config
    return dataclasses.replace(config, image=dataclasses.replace(image, trunk=name))


def find_trunk(agent: Any, seed: int, wanted: str, files: Sequence[Path], who: str) -> FrozenTrunk:
    """The trunk of this id: from one of `files`, or as the agent's config makes it here.

    Args:
        who: needs it, as an error begins: 'policy runs/x/policy.safetensors'.
    """
    from serl.trunk import read_trunk

    for file in files:
        if file.is_file():
            found = read_trunk(file, wanted.partition("-")[2])
            if found.id == wanted:
                return found
            log.warning("%s is trunk %s, not %s", file, found.id, wanted)
    made = own_trunk(agent, seed)
    if made is not None and made.id == wanted:
        return made
    places = " or ".join(map(str, files))
    raise UserError(
        f"{who} sees through trunk {wanted}, which is not at {places}, nor among this machine's "
        "weights; copy trunk.safetensors from the folder of the learner's run there."
    )


def own_trunk(agent: Any, seed: int) -> FrozenTrunk | None:
    """The trunk as the agent's config names it, if this machine has it."""
    from serl.trunk import load_trunk

    config = with_trunk(agent.config, agent.trunk_name)
    try:
        return load_trunk(config.image, seed)
    except UserError as error:
        log.info("%s", error)
        return None
