"""A learner's checkpoints (orbax), and the policy alone as one safetensors file. No pickle.

A checkpoint is a folder named by its step: the state's leaves by path, and JSON with the caller's
counters, each leaf's shape and dtype, and a checksum. It appears under its name only when complete,
so a kill while saving leaves the previous one.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import safetensors.numpy
from flax.traverse_util import flatten_dict, unflatten_dict
from numpy.typing import NDArray

from serl.errors import CorruptFile, SpecMismatch, UserError
from serl.types import Spec, first_difference

log = logging.getLogger(__name__)

BEST = "best.json"
HEADER = "serl"
"""Key of a policy file's safetensors metadata that holds version, spec and meta as JSON."""
Leaves = dict[str, NDArray[Any]]


class Checkpoints:
    """The newest `keep` checkpoints of a run, and the best one.

    Args:
        folder: made on the first save; other files in it are left alone.
        keep: how many of the newest stay.
    """

    def __init__(self, folder: str | Path, keep: int = 3) -> None:
        self.folder = Path(folder).absolute()
        self.keep = keep
        self._orbax = ocp.AsyncCheckpointer(ocp.CompositeCheckpointHandler())
        self._swept = False
        self._trusted: set[int] = set()  # steps this object has written or read whole

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Wait for a save in progress. Raises what it raised."""
        self.wait()
        self._orbax.close()

    def save(self, step: int, state: Any, extra: Mapping[str, Any], best: bool = False) -> None:
        """Copy the state now and write it in the background; waits only for a previous save.

        Args:
            step: names the checkpoint; one that this object has already saved is not written again.
            state: any pytree of arrays; typed keys included.
            extra: JSON values: counters, generator states.
            best: from now on this is the best one.

        Raises:
            UserError: this save, or the one before it, could not be written.
        """
        self.wait()
        if step not in self._trusted:
            leaves = _leaves(state)
            document = {"extra": dict(extra), "leaves": _describe(leaves)}
            crc = _crc(leaves, document)
            self._start(step, leaves, {**document, "crc32": crc})
        if best:
            self._mark_best(step)
        self._thin_out(step)

    def wait(self) -> None:
        """Until nothing is being written. Raises UserError if it could not be."""
        try:
            self._orbax.wait_until_finished()
        except (OSError, ValueError) as error:
            raise _cannot_write(self.folder, error) from error

    def steps(self) -> list[int]:
        """Complete checkpoints, oldest first."""
        if not self.folder.is_dir():
            return []
        return sorted(int(p.name) for p in self.folder.iterdir() if p.is_dir() and _is_step(p.name))

    def latest(self) -> int | None:
        """Step of the newest complete checkpoint."""
        self.wait()
        return max(self.steps(), default=None)

    def best(self) -> int | None:
        """Step of the one last saved as best, if it is still there."""
        self.wait()
        step = self._best_step()
        return step if step in self.steps() else None

    def restore(self, step: int | None, like: Any) -> tuple[Any, dict[str, Any]]:
        """A state of `like`'s structure, and what was saved beside it.

        Args:
            step: which one; None is the newest, and where that is damaged the next older.
            like: a fresh state of the same agent.

        Raises:
            CorruptFile: the one asked for is damaged, or none is whole.
            SpecMismatch: it is of another agent or spec; names the first difference.
            UserError: there is no such checkpoint.
        """
        self.wait()
        candidates = self.steps()[::-1] if step is None else [step]
        if not candidates or not (self.folder / str(candidates[0])).is_dir():
            have = ", ".join(map(str, self.steps())) or "none"
            wanted = "no checkpoint" if step is None else f"no checkpoint {step}"
            raise UserError(f"{wanted} in {self.folder}; it holds: {have}.")
        for candidate in candidates:
            try:
                return self._read(candidate, like)
            except CorruptFile as error:
                if candidate == candidates[-1]:
                    raise
                log.warning("%s Going back to the one before it.", error)
        raise AssertionError("unreachable: the last candidate returns or raises")

    # Writing.

    def _start(self, step: int, leaves: Leaves, document: dict[str, Any]) -> None:
        path = self.folder / str(step)
        try:
            if not self._swept:
                self._sweep()
            shutil.rmtree(path, ignore_errors=True)  # of an earlier life, and perhaps damaged
            self.folder.mkdir(parents=True, exist_ok=True)
            args = ocp.args.Composite(
                state=ocp.args.PyTreeSave(leaves), document=ocp.args.JsonSave(document)
            )
            self._orbax.save(path, args=args)
        except (OSError, ValueError) as error:
            raise _cannot_write(self.folder, error) from error
        self._trusted.add(step)

    def _sweep(self) -> None:
        """Remove what a killed save left behind."""
        for path in self.folder.glob("*.orbax-checkpoint-tmp*"):
            shutil.rmtree(path, ignore_errors=True)
        self._swept = True

    def _mark_best(self, step: int) -> None:
        """Once the step is complete, so that a kill leaves the previous best."""
        self.wait()
        temporary = self.folder / f".{BEST}.{os.getpid()}"
        try:
            temporary.write_text(json.dumps({"step": step}))
            temporary.replace(self.folder / BEST)
        except OSError as error:
            raise _cannot_write(self.folder, error) from error

    def _best_step(self) -> int | None:
        file = self.folder / BEST
        try:
            return int(json.loads(file.read_text())["step"])
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            raise CorruptFile(f"{file} is damaged ({error}). Delete that one file.") from error

    def _thin_out(self, newest: int) -> None:
        """Delete all but the newest `keep` (one may still be being written) and the best."""
        older = [s for s in self.steps() if s != newest]
        best = self._best_step()
        for step in older[: max(0, len(older) - (self.keep - 1))]:
            if step != best:
                shutil.rmtree(self.folder / str(step), ignore_errors=True)

    # Reading.

    def _read(self, step: int, like: Any) -> tuple[Any, dict[str, Any]]:
        path = self.folder / str(step)
        try:
            read = self._orbax.restore(
                path,
                args=ocp.args.Composite(
                    state=ocp.args.PyTreeRestore(), document=ocp.args.JsonRestore()
                ),
            )
            leaves, document = read["state"], read["document"]
            crc, extra, described = document.pop("crc32"), document["extra"], document["leaves"]
            whole = crc == _crc(leaves, document)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise _damaged(path, str(error).split("\n")[0]) from error
        if not whole:
            raise _damaged(path, "its checksum is wrong")
        difference = first_difference(_describe(_leaves(like)), described)
        if difference:
            raise SpecMismatch(
                f"checkpoint {path} is of another agent or spec ({difference}). Use the experiment "
                "it was trained with."
            )
        self._trusted.add(step)
        return _state(leaves, like), extra


def _is_step(name: str) -> bool:
    return name.isdecimal()


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _leaves(state: Any) -> Leaves:
    """A copy of each array of a state by its path; typed keys as their words."""

    def plain(leaf: Any) -> NDArray[Any]:
        if _is_key(leaf):
            leaf = jax.random.key_data(leaf)
        return np.array(leaf)  # a copy: the next update may reuse the state's memory

    flat, _ = jax.tree.flatten_with_path(state)
    return {jax.tree_util.keystr(path, simple=True, separator="."): plain(x) for path, x in flat}


def _state(leaves: Leaves, like: Any) -> Any:
    """The arrays put back into `like`'s structure, on its devices."""

    def typed(path: Any, leaf: jax.Array) -> jax.Array:
        stored = leaves[jax.tree_util.keystr(path, simple=True, separator=".")]
        if _is_key(leaf):
            key = jax.random.wrap_key_data(jnp.asarray(stored), impl=jax.random.key_impl(leaf))
            return jax.device_put(key, leaf.sharding)
        return jax.device_put(stored, leaf.sharding)

    return jax.tree.map_with_path(typed, like)


def _describe(leaves: Leaves) -> dict[str, str]:
    return {name: f"{leaf.dtype} {list(leaf.shape)}" for name, leaf in leaves.items()}


def _crc(leaves: Leaves, document: Mapping[str, Any]) -> int:
    crc = zlib.crc32(json.dumps(document, sort_keys=True).encode())
    for name in sorted(leaves):
        crc = zlib.crc32(np.ascontiguousarray(leaves[name]).data, zlib.crc32(name.encode(), crc))
    return crc


def _damaged(path: Path, why: str) -> CorruptFile:
    return CorruptFile(f"checkpoint {path} is damaged ({why}). Delete it, or use another.")


def _cannot_write(folder: Path, error: Exception) -> UserError:
    why = str(error).split("\n")[0]
    return UserError(f"cannot write a checkpoint to {folder} ({why}). Make space, then resume.")


# The policy alone.


@dataclass(frozen=True, kw_only=True)
class StoredPolicy:
    """What a policy file holds."""

    version: int
    params: dict[str, Any]
    """Nested dicts of arrays, as Agent.policy_params."""
    spec: Spec
    meta: dict[str, Any]


def save_policy(
    path: str | Path,
    *,
    version: int,
    params: Mapping[str, Any],
    spec: Spec,
    meta: Mapping[str, Any],
) -> None:
    """One safetensors file, written atomically; version, spec and meta (JSON) in its header."""
    document = json.dumps({"version": version, "spec": spec.to_json(), "meta": dict(meta)})
    leaves = flatten_dict({"params": params}, sep="/")
    data = safetensors.numpy.save(
        {name: np.ascontiguousarray(leaf) for name, leaf in leaves.items()}, {HEADER: document}
    )
    file = Path(path)
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(data)
        temporary.replace(file)
    except OSError as error:
        raise UserError(f"cannot write policy {file}: {error.strerror}. Make space.") from error


def load_policy(path: str | Path, spec: Spec | None = None) -> StoredPolicy:
    """Inverse of `save_policy`.

    Args:
        spec: where given, the policy must be of this one.

    Raises:
        UserError: no such file.  CorruptFile: damaged.  SpecMismatch: names the first difference.
    """
    file = Path(path)
    if not file.is_file():
        raise UserError(f"no policy file at {file}; give a run's policy.safetensors.")
    try:
        with safetensors.safe_open(file, framework="numpy") as opened:
            document = json.loads(opened.metadata()[HEADER])
            leaves = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        stored = StoredPolicy(
            version=int(document["version"]),
            params=unflatten_dict(leaves, sep="/")["params"],
            spec=Spec.from_json(document["spec"]),
            meta=document["meta"],
        )
    except (safetensors.SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise CorruptFile(f"policy {file} is damaged ({error}). Save it again.") from error
    if spec is not None:
        there, here = json.loads(stored.spec.to_json()), json.loads(spec.to_json())
        difference = first_difference(here, there, "spec")
        if difference:
            raise SpecMismatch(
                f"policy {file} is of another experiment ({difference}). Use the experiment it "
                "was trained with."
            )
    return stored
