"""One supervised run from its first demonstration to its report: what `demo` and `train` share."""

from __future__ import annotations

import dataclasses
import shlex
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launch.attending import without_terminal
from launch.experiments import Selection
from launch.live import LiveView
from launch.ports import free_port
from launch.processes import Child, Interrupts, as_invoked, interrupts, serl
from launch.report import write_report
from launch.result import make_result, summary
from launch.runs import Run, enter
from launch.supervisor import Stopped, Supervisor
from serl.errors import UserError
from serl.experiment import Experiment
from serl.timing import Every

VIDEO_EPISODES = 3
VIDEO_TIMEOUT_S = 300.0
SAVE_CLOCK_EVERY_S = 5.0


@dataclass(frozen=True, kw_only=True)
class Options:
    """Where a run's training begins. Kept with the run, so that it can go on."""

    record: int = 0
    """Demonstrations to record into the run's own folder, while the learner starts."""
    demos: Path | None = None
    """Folder of demonstrations that exist; not together with `record`."""
    init_from: Path | None = None
    with_data: bool = False

    def to_json(self) -> dict[str, Any]:
        raw = dataclasses.asdict(self)
        return {k: str(v.resolve()) if isinstance(v, Path) else v for k, v in raw.items()}

    @staticmethod
    def from_json(raw: dict[str, Any]) -> Options:
        paths = {k: Path(raw[k]) for k in ("demos", "init_from") if raw[k] is not None}
        return Options(**{**raw, **paths})

    def gone_on_with(self, given: Options) -> Options:
        """These, for the run that goes on. Raises UserError where `given` asks for others."""
        own, usual = self.to_json(), Options().to_json()
        for name, value in given.to_json().items():
            if value not in (usual[name], own[name]):
                raise UserError(
                    f"the run began with {name} {own[name]}, not {value}; that cannot change with "
                    "--resume. Start a new run without it."
                )
        return self


LEARNER_NICENESS = 10
"""A learner on the machine that keeps an arm's rate gives way to it."""


@dataclass(frozen=True, kw_only=True)
class Session:
    """What is to be done in one run."""

    run: Run
    selection: Selection
    experiment: Experiment
    options: Options
    wandb: bool = False
    person: tuple[str, ...] = ()
    """Words for the actor: who stands beside it."""

    @staticmethod
    def open(
        verb: str,
        selection: Selection,
        options: Options,
        *,
        run_dir: Path | None,
        resume: bool,
        wandb: bool,
        person: tuple[str, ...] = (),
    ) -> Session:
        """A new run, or one that goes on as it was started, with the settings given now on top."""
        run, selection, experiment = enter(
            verb, selection, options=options.to_json(), path=run_dir, resume=resume
        )
        if resume:
            options = Options.from_json(run.about["options"]).gone_on_with(options)
        return Session(
            run=run,
            selection=selection,
            experiment=experiment,
            options=options,
            wandb=wandb,
            person=person,
        )

    def carry_out(self) -> int:
        """Train, test, film and report; returns the exit code."""
        print(f"run  {self.run.path}")
        with self.run.locked(), interrupts() as asked:
            if not self.run.evaluation.is_file():
                try:
                    self._train(asked)
                except Stopped:
                    print(f"Stopped; nothing is lost. Go on with:\n  {self.how_to_resume()}")
                    return 130
            if not self.run.evaluation.is_file():
                print(
                    f"The final test is missing (no {self.run.evaluation}), so there is no result "
                    f"yet. Nothing is lost; go on with:\n  {self.how_to_resume()}",
                    file=sys.stderr,
                )
                return 1
            result = self._result()
            self.run.write(self.run.result, result)
            video = self._film(asked)
            write_report(self.run, result, video)
        print(summary(self.run, result, video))
        return 0

    def how_to_resume(self) -> str:
        """The command line that goes on; the folder knows the rest."""
        words = [*as_invoked(), self.run.about["verb"], "--run-dir", str(self.run.path), "--resume"]
        words += without_terminal(self.person)
        return shlex.join([*words, *(["--wandb"] if self.wandb else [])])

    def _train(self, asked: Interrupts) -> None:
        """Supervise the processes until the final test is over, counting the time."""
        for role in ("recorder", "learner", "actor"):
            self.run.status_path(role).unlink(missing_ok=True)  # what a session before this left
        clock = Clock(self.run)
        with LiveView(self.run, self.experiment.budget, clock.worked_s) as view:

            def tick() -> None:
                view()
                clock.tick()

            children = self._children()
            supervisor = Supervisor(children, interrupts=asked, on_tick=tick, on_message=view.say)
            try:
                supervisor.run(until=children[-1])
            finally:
                clock.stop(at_s=self._evaluation().get("finished_wall_s"))

    def _children(self) -> list[Child]:
        """Recorder, learner and actor, which start together; the learner awaits the recorder."""
        address = f"127.0.0.1:{free_port()}"
        chosen = self.selection.argv()
        common = ["--run-dir", self.run.path, *(["--wandb"] if self.wandb else [])]
        learner = serl("learner", *chosen, *common, "--bind", address)
        actor = serl("actor", *chosen, *common, "--learner-address", address, *self.person)
        start = self.options
        if start.record:
            learner += ["--demos", str(self.run.demos), "--demos-expected", str(start.record)]
        elif start.demos is not None:
            learner += ["--demos", str(start.demos)]
        if start.init_from is not None:
            learner += ["--init-from", str(start.init_from)]
            learner += ["--with-data"] if start.with_data else []
        first: list[Child] = []
        if start.record:
            recorder = serl("record", *chosen, "--into", self.run.demos, "--demos", start.record)
            recorder += ["--status", str(self.run.status_path("recorder"))]
            first = [self._child("recorder", recorder, may_end=True)]
        env = self.experiment.env
        shared = first[0] if first and getattr(env, "is_remote", False) else None
        yields = LEARNER_NICENESS if getattr(env, "is_realtime", False) else 0
        return [
            *first,
            self._child("learner", learner, niceness=yields),
            self._child("actor", actor, after=shared),  # one arm, one commander at a time
        ]

    def _child(self, name: str, argv: list[str], **how: Any) -> Child:
        return Child(name, argv, self.run.logs / f"{name}.log", **how)

    def _evaluation(self) -> dict[str, Any]:
        file = self.run.evaluation
        return self.run.read(file) if file.is_file() else {}

    def _result(self) -> dict[str, Any]:
        file = self.run.learner_result
        learner = self.run.read(file) if file.is_file() else {}
        return make_result(self.experiment, self._evaluation(), learner, self.run.worked_s)

    def _film(self, asked: Interrupts) -> Path | None:
        """A few episodes of the tested policy as an mp4, by a process whose end does no harm."""
        path = self.run.videos / "policy.mp4"
        if path.is_file() or asked.stop or not self.run.policy.is_file():
            return path if path.is_file() else None
        argv = serl("evaluate", self.run.path, "--episodes", VIDEO_EPISODES, "--video", path)
        print(f"filming {VIDEO_EPISODES} episodes ...", flush=True)
        child = self._child("film", [*argv, "--film-only"])
        child.start()
        deadline = time.monotonic() + VIDEO_TIMEOUT_S
        while child.running and not asked.stop and time.monotonic() < deadline:
            time.sleep(0.05)
        child.stop(hurry=lambda: asked.hurry)
        if path.is_file():
            return path
        reason = " ".join(child.last_lines(1)) or "it did not end in time"
        print(f"no video: {reason.removeprefix('serl evaluate: ')}")
        return None


class Clock:
    """Counts the time commands work on a run, over all sessions, so that a kill loses little."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._before_s = run.worked_s
        self._begin_unix_s = time.time()
        self._begin_ns = time.monotonic_ns()
        self._save = Every(SAVE_CLOCK_EVERY_S)

    def worked_s(self) -> float:
        return self._before_s + (time.monotonic_ns() - self._begin_ns) / 1e9

    def tick(self) -> None:
        """Store the time now and then."""
        if self._save():
            self._run.set_worked(self.worked_s())

    def stop(self, at_s: float | None) -> None:
        """Store the time; `at_s`, Unix time, is when the work was done if that was before now."""
        worked_s = self.worked_s()
        if at_s is not None and at_s >= self._begin_unix_s:
            worked_s = min(worked_s, self._before_s + at_s - self._begin_unix_s)
        self._run.set_worked(worked_s)
