"""Any Gymnasium environment with continuous spaces, by its id."""

from __future__ import annotations

import difflib
import functools
import json
from dataclasses import dataclass, field
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from serl.errors import UserError
from serl.types import ArraySpec, Spec, canonical_json

Float32 = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class GymEnv:
    """A Gymnasium env as an experiment sees it: dict observations, actions within +-1."""

    id: str = "Pendulum-v1"
    """An id in Gymnasium's registry; 'module:id' imports the module first."""
    kwargs: dict[str, Any] = field(default_factory=dict)
    """Arguments for `gymnasium.make`: JSON values."""

    def spec(self) -> Spec:
        """From the env's spaces; it is made once and closed."""
        return _spec_of(self.id, canonical_json(self.kwargs))

    def contract(self) -> dict[str, Any]:
        return {"gym_id": self.id, "kwargs": dict(self.kwargs)}

    def make(self, *, render: bool = False) -> gymnasium.Env[Any, Any]:
        """The env, its time limit included; `render` for frames from `env.render()`."""
        env = _make(self.id, self.kwargs, render=render)
        return ScaledBox(env, self.id)


class ScaledBox(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Actions from +-1 to the env's own range; observations as a dict, float64 as float32.

    Info: `executed_action` is the action within +-1 that the env got, `requested_action` the one
    that was asked for, `success` what the env says of it (`is_success`, `success`), if it does.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], name: str) -> None:
        super().__init__(env)
        box = _action_box(env, name)
        self._shape, self._dtype = box.shape, box.dtype
        self._low = box.low.astype(np.float64).ravel()
        self._high = box.high.astype(np.float64).ravel()
        self._boxes = _observation_boxes(env, name)
        self._is_dict = isinstance(env.observation_space, spaces.Dict)
        self.action_space = spaces.Box(-1.0, 1.0, (self._low.size,), np.float32)
        self.observation_space = spaces.Dict(
            {key: _as_float32(box) for key, box in self._boxes.items()}
        )

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        obs, info = self.env.reset(seed=seed, options=options)
        return self._named(obs), info

    def step(
        self, action: NDArray[Any]
    ) -> tuple[dict[str, NDArray[Any]], float, bool, bool, dict[str, Any]]:
        wish = np.asarray(action, np.float64)
        if wish.shape != self._low.shape or not np.isfinite(wish).all():
            raise UserError(
                f"action {wish.tolist()} must be {self._low.size} finite numbers within -1 to 1. "
                "The env was not stepped; check what chose the action."
            )
        executed = np.clip(wish, -1.0, 1.0)
        own = self._low + 0.5 * (executed + 1.0) * (self._high - self._low)
        obs, reward, terminated, truncated, info = self.env.step(
            own.reshape(self._shape).astype(self._dtype)
        )
        info = dict(info)
        info["executed_action"] = executed.astype(np.float32)
        info["requested_action"] = wish.astype(np.float32)
        said = info.get("is_success", info.get("success"))
        if said is not None:
            info["success"] = bool(said)
        return self._named(obs), float(reward), bool(terminated), bool(truncated), info

    def _named(self, obs: Any) -> dict[str, NDArray[Any]]:
        raw = obs if self._is_dict else {"state": obs}
        named = {key: np.array(raw[key], _float32_of(box)) for key, box in self._boxes.items()}
        for key, value in named.items():
            if value.dtype.kind == "f" and not np.isfinite(value).all():
                at = int(np.flatnonzero(~np.isfinite(value.ravel()))[0])
                raise UserError(
                    f"observation {key!r}[{at}] is {value.ravel()[at]}; every value must be "
                    "finite. The environment itself returned it."
                )
        return named


@functools.lru_cache(maxsize=32)
def _spec_of(env_id: str, kwargs_json: str) -> Spec:
    env = _make(env_id, json.loads(kwargs_json))
    try:
        boxes = _observation_boxes(env, env_id)
        actions = _action_box(env, env_id)
    finally:
        env.close()
    size = int(np.prod(actions.shape))
    return Spec(
        observation=tuple(_array_spec(key, box) for key, box in boxes.items()),
        action=ArraySpec(name="action", shape=(size,), dtype="float32", low=-1.0, high=1.0),
    )


def _make(env_id: str, kwargs: dict[str, Any], *, render: bool = False) -> gymnasium.Env[Any, Any]:
    """`gymnasium.make`, its ways to fail in one line each."""
    mode = {"render_mode": "rgb_array"} if render else {}
    try:
        return gymnasium.make(env_id, **mode, **kwargs)
    except gymnasium.error.DependencyNotInstalled as error:
        raise UserError(f"env {env_id!r} needs a package: {_one_line(error)}") from error
    except gymnasium.error.UnregisteredEnv as error:
        raise _unknown_id(env_id) from error
    except (gymnasium.error.Error, ModuleNotFoundError, TypeError) as error:
        raise UserError(f"env {env_id!r} cannot be made: {_one_line(error)}") from error


def _unknown_id(env_id: str) -> UserError:
    near = difflib.get_close_matches(env_id, list(gymnasium.registry), n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
    return UserError(
        f"no Gymnasium env named {env_id!r}.{hint} {len(gymnasium.registry)} are registered; an "
        "env of another package is named 'module:id'."
    )


def _action_box(env: gymnasium.Env[Any, Any], name: str) -> spaces.Box:
    space = env.action_space
    if not isinstance(space, spaces.Box) or space.dtype is None or space.dtype.kind != "f":
        raise UserError(
            f"env {name!r} has actions {space}; only a continuous Box can be trained. "
            "Choose an env with continuous actions."
        )
    if not (np.isfinite(space.low).all() and np.isfinite(space.high).all()):
        raise UserError(f"env {name!r} has unbounded actions {space}; they must be finite.")
    return space


def _observation_boxes(env: gymnasium.Env[Any, Any], name: str) -> dict[str, spaces.Box]:
    space = env.observation_space
    parts = dict(space.spaces) if isinstance(space, spaces.Dict) else {"state": space}
    boxes: dict[str, spaces.Box] = {}
    for key, part in parts.items():
        if not isinstance(part, spaces.Box):
            raise UserError(
                f"env {name!r} observes {key!r} as {part}; only a Box, or a Dict of Boxes, can be "
                "trained. Choose another env or wrap it."
            )
        boxes[key] = part
    return boxes


def _float32_of(box: spaces.Box) -> np.dtype[Any]:
    dtype = np.dtype(box.dtype)
    return np.dtype(np.float32) if dtype.kind == "f" else dtype


def _as_float32(box: spaces.Box) -> spaces.Box:
    dtype = _float32_of(box)
    return spaces.Box(box.low.astype(dtype), box.high.astype(dtype), box.shape, dtype.type)


def _array_spec(key: str, box: spaces.Box) -> ArraySpec:
    return ArraySpec(name=key, shape=box.shape, dtype=_float32_of(box).name)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
