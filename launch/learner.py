"""The learner alone: takes steps from actors, trains, gives policies out.

It needs the experiment's file, not its robot or simulator. Beyond this machine it listens only
with a token and TLS, or with a token and --insecure-lan on a network you trust.

examples:
  serl learner pick_cube_state --demos demos/pick_cube
  serl learner pick_cube_state --bind 0.0.0.0:5488 --token-file t --tls-cert c.pem --tls-key k.pem
  serl learner pick_cube_state --resume
"""

from __future__ import annotations

from argparse import Namespace

from launch.arguments import (
    Parser,
    add_experiment,
    add_run,
    add_security,
    add_supervised,
    address,
    number,
)
from launch.connection import server_security
from launch.experiments import Selection, need
from launch.processes import stop_on_signals
from launch.runs import run_of_process
from launch.status import StatusTeller
from launch.train import add_data, check_data


def add_arguments(parser: Parser) -> None:
    add_experiment(parser)
    add_run(parser)
    parser.add_argument(
        "--bind",
        type=address,
        default="127.0.0.1:5488",
        metavar="HOST:PORT",
        help="where to listen (127.0.0.1:5488); port 0 takes a free one",
    )
    add_data(parser)
    parser.add_argument(
        "--demos-expected", type=number(int, 0), default=0, help="wait until --demos holds so many"
    )
    add_security(parser, server=True)
    add_supervised(parser)


def run(args: Namespace) -> int:
    stop = stop_on_signals(args.watch_fd)
    supervised = args.watch_fd is not None
    init_from = check_data(args)
    selection = Selection.from_args(args)
    experiment = selection.load()
    folder = run_of_process("learner", args, selection, experiment)
    resume = folder.begun if supervised else args.resume
    learner = need("serl.learner", "learner")
    with StatusTeller(folder.status_path("learner"), quiet=supervised) as teller:
        learner.run_learner(
            experiment,
            run_dir=folder.path,
            demos=args.demos,
            bind=args.bind,
            rpc=server_security(args),
            demos_expected=args.demos_expected,
            resume=resume,
            init_from=init_from,
            with_data=args.with_data,
            wandb=args.wandb,
            on_status=teller,
            stop=stop,
        )
    return 0
