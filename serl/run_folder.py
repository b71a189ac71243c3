"""Where things lie in `runs/<experiment>/<stamp>/`, and who the run is."""

from __future__ import annotations

import json
import os
import uuid
from pathlib import Path
from typing import Any

from serl.errors import CorruptFile, SpecMismatch, UserError
from serl.experiment import Experiment
from serl.types import first_difference


class RunFolder:
    """The paths of one run, and its small JSON files.

    Args:
        path: the run's folder; made if need be.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"cannot make the run folder {path}: {error.strerror}.") from error
        self.config = self.path / "config.json"
        self.checkpoints = self.path / "checkpoints"
        self.replay = self.path / "replay"
        self.demo_replay = self.path / "demo_replay"
        self.demos = self.path / "demos"
        self.spool = self.path / "spool"
        self.policy = self.path / "checkpoints" / "policy.safetensors"
        self.evaluation = self.path / "evaluation.json"
        self.learner_result = self.path / "learner.json"
        self.actor_state = self.path / "actor.json"
        self.version = self.path / "version.json"
        self.base = self.path / "base.json"
        self.best_policy = self.path / "checkpoints" / "best.safetensors"
        self.actor_final = self.path / "actor_final.json"
        self.trunk = self.path / "trunk.safetensors"
        self.trunks = self.path / "trunks"
        self.trunk_name = self.path / "trunk.json"
        self.learner_final = self.path / "learner_final.json"

    def open_as(self, experiment: Experiment) -> str:
        """Write the contract and a new run id, or check that the folder holds the same experiment.

        Returns:
            the run id.

        Raises:
            SpecMismatch: the folder belongs to another experiment; names the first difference.
        """
        if self.config.exists():
            stored = self.read(self.config)
            difference = first_difference(experiment.contract(), stored["contract"])
            if difference:
                raise SpecMismatch(
                    f"run {self.path} was made with another experiment ({difference}). "
                    "Resume it with the file it was started from, or choose another --run-dir."
                )
            return stored["run_id"]
        run_id = uuid.uuid4().hex
        self.write(
            self.config,
            {
                "run_id": run_id,
                "name": experiment.name,
                "seed": experiment.seed,
                "hash": experiment.hash,
                "contract": experiment.contract(),
                "settings": experiment.settings(),
            },
        )
        return run_id

    def trunk_files(self, trunk: str) -> list[Path]:
        """Where the trunk of this id may lie: as its learner keeps it, or as its actor got it."""
        return [self.trunk, self.trunks / f"{trunk}.safetensors"]

    def read(self, file: Path) -> Any:
        """A JSON file of this run. Raises CorruptFile naming it."""
        try:
            return json.loads(file.read_text())
        except (OSError, ValueError) as error:
            raise CorruptFile(f"{file} cannot be read ({error}). Remove it, or the run.") from error

    def write(self, file: Path, value: Any) -> None:
        """Replace a JSON file atomically."""
        temporary = file.with_name(f".{file.name}.{os.getpid()}")
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps(value, indent=1))
            os.replace(temporary, file)
        except OSError as error:
            raise UserError(
                f"cannot write {file}: {error.strerror}. Make space, then resume."
            ) from error
