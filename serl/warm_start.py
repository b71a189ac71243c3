"""Starting an experiment from another run: its networks and, if asked, its data."""

from __future__ import annotations

import shutil
from typing import Any

from serl.checkpoint import Checkpoints
from serl.errors import SpecMismatch, UserError, writing
from serl.experiment import Experiment
from serl.run_folder import RunFolder
from serl.types import first_difference


def has_other_agent(source: RunFolder, experiment: Experiment) -> bool:
    """The run's agent is of another kind: its data may be taken, its networks not."""
    if not source.config.exists():
        return False
    theirs = source.read(source.config)["contract"]["agent"]["type"]
    return bool(theirs != type(experiment.agent).__name__)


def check_equal(source: RunFolder, experiment: Experiment, *, data_only: bool = False) -> None:
    """Refuse a run of another spec or, unless only its data is wanted, agent.

    Raises:
        SpecMismatch: names the first difference.
        UserError: there is no run.
    """
    if not source.config.exists():
        raise UserError(f"--init-from {source.path}: no run there; `serl list runs` shows them.")
    theirs, ours = source.read(source.config)["contract"], experiment.contract()
    for part in ("spec",) if data_only else ("spec", "agent"):
        difference = first_difference(ours[part], theirs[part], part)
        if difference:
            raise SpecMismatch(
                f"--init-from {source.path} has another {part} ({difference}). "
                "Only a run of equal spec and agent can be started from; with --with-data, another "
                "kind of agent takes the data alone."
            )


def networks_of(source: RunFolder, fresh: Any) -> Any:
    """`fresh` with the other run's newest networks, optimisers and temperature; its own key.

    Raises:
        UserError: the other run has no checkpoint.
    """
    with Checkpoints(source.checkpoints) as checkpoints:
        if checkpoints.latest() is None:
            raise UserError(f"--init-from {source.path} holds no checkpoint yet.")
        state, _ = checkpoints.restore(None, fresh)
    return state.replace(key=fresh.key)


def take_trunk(source: RunFolder, target: RunFolder) -> None:
    """Copy the frozen trunk that the other run's networks have learned to see through."""
    for name in ("trunk", "trunk_name"):
        theirs, ours = getattr(source, name), getattr(target, name)
        if theirs.exists() and not ours.exists():
            with writing(ours):
                shutil.copyfile(theirs, ours)


def take_data(source: RunFolder, target: RunFolder) -> None:
    """Copy the other run's replay and demos, before the target opens its own.

    Each appears whole or not at all, and one that is there is left alone, so a start that was
    killed can be made again.
    """
    for name in ("replay", "demo_replay"):
        theirs, ours = getattr(source, name), getattr(target, name)
        if ours.exists() or not theirs.exists():
            continue
        partial = ours.with_name(f".{name}.partial")
        try:
            shutil.rmtree(partial, ignore_errors=True)
            shutil.copytree(theirs, partial)
            partial.rename(ours)
        except (OSError, shutil.Error) as error:
            raise UserError(
                f"cannot copy {theirs}: {error}. Make space, then start again."
            ) from error
