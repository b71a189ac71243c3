"""Starting an experiment from another run: its networks and, if asked, its data."""

from __future__ import annotations

import shutil
from typing import Any

from serl.checkpoint import Checkpoints
from serl.errors import CorruptFile, SpecMismatch, UserError
from serl.experiment import Experiment
from serl.run_folder import RunFolder
from serl.types import first_difference


def networks_of(source: RunFolder, fresh: Any, experiment: Experiment) -> Any:
    """`fresh` with the other run's newest networks, optimisers and temperature; its own key.

    Raises:
        SpecMismatch: the other run's spec or agent differs; names the first difference.
        UserError: the other run has no checkpoint.
    """
    if not source.config.exists():
        raise UserError(f"--init-from {source.path}: no run there; `serl list runs` shows them.")
    theirs, ours = source.read(source.config)["contract"], experiment.contract()
    for part in ("spec", "agent"):
        difference = first_difference(ours[part], theirs[part], part)
        if difference:
            raise SpecMismatch(
                f"--init-from {source.path} has another {part} ({difference}). "
                "Only a run of equal spec and agent can be started from."
            )
    with Checkpoints(source.checkpoints) as checkpoints:
        if checkpoints.latest() is None:
            raise UserError(f"--init-from {source.path} holds no checkpoint yet.")
        state, _ = checkpoints.restore(None, fresh)
    return state.replace(key=fresh.key)


def take_data(source: RunFolder, target: RunFolder) -> None:
    """Copy the other run's replay and demos, before the target opens its own.

    Raises:
        UserError: the target already holds data.
    """
    for name in ("replay", "demo_replay"):
        theirs, ours = getattr(source, name), getattr(target, name)
        if ours.exists():
            raise UserError(f"{ours} exists; --with-data fills a new run only.")
        if theirs.exists():
            try:
                shutil.copytree(theirs, ours)
            except OSError as error:
                raise CorruptFile(
                    f"cannot copy {theirs}: {error}. Make space, or omit it."
                ) from error
