"""Train: actor and learner of an experiment as two supervised processes.

examples:
  serl train pick_cube_state --demos demos/pick_cube
  serl train --env Pendulum-v1 --budget.env-steps 20000
  serl train pick_cube_state --init-from runs/pick_cube_state/2026-11-20_12-00-00 --with-data
  serl train pick_cube_state --demos demos/pick_cube --device spacemouse
  serl train pick_cube_state --resume
"""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path

from launch.arguments import Parser, add_experiment, add_run
from launch.attending import add_person, person_words
from launch.experiments import Selection
from launch.runs import find_run
from launch.session import Options, Session
from serl.errors import UserError
from serl.experiment import Experiment


def add_arguments(parser: Parser) -> None:
    add_experiment(parser)
    add_run(parser)
    add_data(parser)
    add_person(parser)


def add_data(parser: Parser) -> None:
    """Where training begins."""
    group = parser.add_argument_group("start")
    group.add_argument("--demos", type=Path, help="folder of demonstrations (`serl record`)")
    group.add_argument(
        "--init-from", metavar="RUN", help="begin with the networks of a run of equal spec"
    )
    group.add_argument(
        "--with-data", action="store_true", help="with --init-from: its demos and replay too"
    )


def check_data(args: Namespace) -> Path | None:
    """The folder of --init-from, if any. Raises UserError for flags that do not go together."""
    awaited = getattr(args, "demos_expected", 0) > 0
    if args.demos is not None and not args.demos.is_dir() and not awaited:
        raise UserError(f"no folder of demonstrations at {args.demos}; record some: `serl record`.")
    if args.with_data and args.init_from is None:
        raise UserError("--with-data takes the data of a run; name it with --init-from.")
    if args.init_from is not None and args.resume:
        raise UserError("--init-from begins a run and --resume goes on with one; choose.")
    return None if args.init_from is None else find_run(args.init_from).path


def warn_without_demos(experiment: Experiment) -> None:
    """One line, where the experiment counts on demonstrations and none were given."""
    share = experiment.replay.demo_fraction
    if experiment.demos and share:
        task = getattr(experiment.env, "task_name", experiment.name)
        print(
            f"warning: training without demonstrations, though {experiment.name} draws {share:.0%} "
            f"of each batch from them. To give them: `--demos demos/{task}` (`serl record`).",
            file=sys.stderr,
        )


def run(args: Namespace) -> int:
    init_from = check_data(args)
    session = Session.open(
        "train",
        Selection.from_args(args),
        Options(demos=args.demos, init_from=init_from, with_data=args.with_data),
        run_dir=args.run_dir,
        resume=args.resume,
        wandb=args.wandb,
        person=person_words(args),
    )
    if not (args.resume or args.demos or args.with_data):
        warn_without_demos(session.experiment)
    return session.carry_out()
