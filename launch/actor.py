"""The actor alone: acts in the env, sends each step to the learner, tests the policy it gets.

While the learner is not there the actor says what it waits for; a step is on its own disk before
the next action, so nothing is lost when either side stops.

examples:
  serl actor pick_cube_state --learner-address 127.0.0.1:5488
  serl actor pick_cube_state --learner-address gpu.lan:5488 --token-file token --tls-ca ca.pem
  serl actor pick_cube_state --learner-address gpu.lan:5488 --no-evaluate
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
)
from launch.connection import client_security
from launch.experiments import Selection, need
from launch.processes import stop_on_signals
from launch.runs import run_of_process
from launch.status import StatusTeller


def add_arguments(parser: Parser) -> None:
    add_experiment(parser)
    add_run(parser)
    parser.add_argument(
        "--learner-address",
        type=address,
        default="127.0.0.1:5488",
        metavar="HOST:PORT",
        help="where the learner listens (127.0.0.1:5488)",
    )
    parser.add_argument(
        "--no-evaluate",
        action="store_true",
        help="only collect: with several actors, one runs the gates and the final test",
    )
    add_security(parser, server=False)
    add_supervised(parser)


def run(args: Namespace) -> int:
    stop = stop_on_signals(args.watch_fd)
    supervised = args.watch_fd is not None
    selection = Selection.from_args(args)
    experiment = selection.load()
    folder = run_of_process("actor", args, selection, experiment)
    actor = need("serl.actor", "learner")
    with StatusTeller(folder.status_path("actor"), quiet=supervised) as teller:
        actor.run_actor(
            experiment,
            run_dir=folder.path,
            learner_address=args.learner_address,
            rpc=client_security(args),
            evaluate=not args.no_evaluate,
            wandb=args.wandb,
            on_status=teller,
            stop=stop,
        )
    return 0
