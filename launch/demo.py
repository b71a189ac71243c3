"""Record demonstrations with the scripted expert, train in simulation and test: one command.

examples:
  serl demo
  serl demo --seed 3 --budget.wall-s 300
  serl demo --task reach
  serl demo --resume
"""

from __future__ import annotations

from argparse import Namespace

from launch.arguments import Parser, add_experiment, add_run, number
from launch.attending import add_person, person_words
from launch.experiments import Selection
from launch.session import Options, Session

DEFAULT = "pick_cube_state"


def add_arguments(parser: Parser) -> None:
    add_experiment(parser)
    add_run(parser)
    parser.add_argument(
        "--demos", type=number(int, 0, 10_000), help="how many to record; default the experiment's"
    )
    add_person(parser)


def run(args: Namespace) -> int:
    named_by_folder = args.resume and args.run_dir is not None
    selection = Selection.from_args(args, default=None if named_by_folder else DEFAULT)
    demos = args.demos or 0
    if args.demos is None and not args.resume:
        demos = selection.load().demos
    session = Session.open(
        "demo",
        selection,
        Options(record=demos),
        run_dir=args.run_dir,
        resume=args.resume,
        wandb=args.wandb,
        person=person_words(args),
    )
    return session.carry_out()
