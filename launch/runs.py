"""Runs on disk: `runs/<experiment>/<stamp>/`, which are finished, and how long each has taken.

Beside what actor and learner keep there, `launch.json` says from which words the run was started
and how long it has been worked on, so that `--resume` needs no more than the folder.
"""

from __future__ import annotations

import dataclasses
import fcntl
import time
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from launch.experiments import Selection
from launch.machine import version
from serl.errors import CorruptFile, UserError, writing
from serl.experiment import Experiment
from serl.run_folder import RunFolder

RUNS = Path("runs")


class Run(RunFolder):
    """One run's folder, with what the commands keep there."""

    def __init__(self, path: str | Path) -> None:
        super().__init__(path)
        self.launch = self.path / "launch.json"
        self.logs = self.path / "logs"
        self.videos = self.path / "videos"
        self.result = self.path / "result.json"
        self.report = self.path / "report.html"

    @property
    def finished(self) -> bool:
        return self.result.is_file()

    @property
    def begun(self) -> bool:
        """Whether a learner has trained here, so that it must go on rather than start."""
        return self.version.is_file() or self.has_checkpoint

    @property
    def has_checkpoint(self) -> bool:
        """Whether a learner has something to go on from."""
        return self.checkpoints.is_dir() and any(p.is_dir() for p in self.checkpoints.iterdir())

    @property
    def about(self) -> dict[str, Any]:
        """launch.json: verb, name, seed, version, created_s, worked_s, selection, options."""
        return self.read(self.launch)

    @property
    def selection(self) -> Selection:
        """From which words the run was started."""
        return Selection.from_json(self.about["selection"])

    @property
    def worked_s(self) -> float:
        """How long commands have worked on this run, all sessions together."""
        return float(self.about["worked_s"])

    def go_on(self, verb: str, given: Selection) -> Selection:
        """The selection with the settings given now on top, stored for the next time.

        Raises:
            UserError: `verb` or something else given is not what the run was started with.
        """
        about, selection = self.about, self.selection
        if about["verb"] != verb:
            raise UserError(
                f"{self.path} was started with `serl {about['verb']}`; resume it with that verb."
            )
        difference = selection.difference(given)
        if difference:
            raise UserError(
                f"{self.path} was started with {difference}. Resume it without that word, or start "
                "a new run without --resume."
            )
        merged = dataclasses.replace(selection, overrides=selection.overrides + given.overrides)
        if given.overrides:
            experiment = merged.load()
            if self.config.is_file():
                self.open_as(experiment)  # refuses what would make it another problem
            self.write(self.launch, {**about, "selection": dataclasses.asdict(merged)})
        return merged

    def set_worked(self, seconds: float) -> None:
        self.write(self.launch, {**self.about, "worked_s": round(seconds, 3)})

    def status_path(self, role: str) -> Path:
        """Where the process `role` ('actor', 'learner', 'recorder') keeps its newest state."""
        return self.path / f"status-{role}.json"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One command at a time works on a run; the kernel lets go when the process dies."""
        path = self.path / "lock"
        with writing(path):
            file = path.open("w")
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UserError(
                    f"another command is working on {self.path}; wait for it or stop it."
                ) from None
            yield


def open_run(
    verb: str,
    name: str,
    seed: int,
    selection: Selection,
    *,
    options: dict[str, Any] | None = None,
    path: Path | None = None,
    resume: bool = False,
) -> Run:
    """The run a command works on: a new one, or with `resume` one that is not finished.

    Args:
        options: JSON values that the verb wants to find again when it goes on.
    """
    if not resume:
        return new_run(verb, name, seed, selection, options or {}, path)
    return newest_unfinished(verb, name, seed) if path is None else resumable(path)


def resumable(path: Path) -> Run:
    """The unfinished run in a folder."""
    if not (path / "launch.json").is_file():
        raise UserError(f"no run in {path} to resume (it holds no launch.json).")
    run = Run(path)
    if run.finished:
        raise UserError(f"{run.path} is finished; its result is in {run.result}.")
    return run


def new_run(
    verb: str,
    name: str,
    seed: int,
    selection: Selection,
    options: dict[str, Any],
    path: Path | None = None,
) -> Run:
    """A fresh folder; `path` where one was asked for."""
    if path is not None and (path / "launch.json").exists():
        raise UserError(f"{path} holds a run already; add --resume, or choose another --run-dir.")
    run = Run(_fresh_folder(RUNS / name) if path is None else path)
    about = {
        "verb": verb,
        "name": name,
        "seed": seed,
        "version": version(),
        "created_s": round(time.time(), 3),
        "worked_s": 0.0,
        "selection": dataclasses.asdict(selection.absolute()),
        "options": options,
    }
    run.write(run.launch, about)
    return run


def enter(
    verb: str,
    given: Selection,
    *,
    options: dict[str, Any] | None = None,
    path: Path | None = None,
    resume: bool = False,
) -> tuple[Run, Selection, Experiment]:
    """The run a command works on, with its experiment.

    A run that goes on does so as it was started, with the settings given now on top; its folder
    alone names it.
    """
    if resume and path is not None:
        run = resumable(path)
    else:
        experiment = given.load()
        name, seed = experiment.name, experiment.seed
        run = open_run(verb, name, seed, given, options=options, path=path, resume=resume)
        if not resume:
            return run, given, experiment
    selection = run.go_on(verb, given)
    return run, selection, selection.load()


def run_of_process(verb: str, args: Namespace) -> tuple[Run, Experiment]:
    """The run of an actor or learner: its supervisor's, else one of its own."""
    given = Selection.from_args(args)
    if args.watch_fd is not None:
        return Run(args.run_dir), given.load()
    run, _, experiment = enter(verb, given, path=args.run_dir, resume=args.resume)
    return run, experiment


def newest_unfinished(verb: str, name: str, seed: int) -> Run:
    """The newest run of this experiment and seed without a result."""
    for run in reversed(all_runs(RUNS / name)):
        about = run.about
        if not run.finished and about["verb"] == verb and about["seed"] == seed:
            return run
    raise UserError(
        f"no unfinished run of {name!r} with seed {seed} under {RUNS}/; start one without "
        "--resume, or name it with --run-dir."
    )


def all_runs(root: Path | None = None) -> list[Run]:
    """Every run below `root` (runs/), oldest first; a folder with a damaged launch.json is none."""
    found = []
    for file in sorted((RUNS if root is None else root).rglob("launch.json")):
        run = Run(file.parent)
        try:
            found.append((run.about["created_s"], run))
        except (CorruptFile, KeyError):
            continue
    return [run for _, run in sorted(found, key=lambda row: row[0])]


def find_run(text: str) -> Run:
    """The run that the path `text` is, or lies in (a checkpoint, a demo, a video)."""
    path = Path(text)
    if not path.exists() and (RUNS / text).exists():
        path = RUNS / text
    if not path.exists():
        near = ", ".join(str(run.path) for run in all_runs()[-3:]) or "none"
        raise UserError(f"no run or checkpoint at {text}. Newest runs: {near}.")
    for folder in (path.resolve(), *path.resolve().parents):
        if (folder / "launch.json").is_file():
            return Run(folder)
    raise UserError(
        f"{text} is not in a run's folder (no launch.json there or above it), so its experiment is "
        "not known; name it: --task NAME, --env GYM_ID or an experiment file."
    )


def _fresh_folder(root: Path) -> Path:
    """runs/<name>/<stamp>, made now; a second run within one second gets a number."""
    stamp = time.strftime("%Y-%m-%d_%H-%M-%S")
    for suffix in ("", *(f"-{k}" for k in range(2, 100))):
        path = root / (stamp + suffix)
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise UserError(f"cannot make {path}: {error.strerror}.") from error
        return path
    raise UserError(f"a hundred runs started within one second under {root}.")
