"""The actor alone: acts in the env, sends each step to the learner, tests the policy it gets.

While the learner is not there the actor says what it waits for; a step is on its own disk before
the next action, so nothing is lost when either side stops.

examples:
  serl actor pick_cube_state --learner-address 127.0.0.1:5488
  serl actor pick_cube_state --learner-address gpu.lan:5488 --token-file token --tls-ca ca.pem
  serl actor pick_cube_state --learner-address gpu.lan:5488 --no-evaluate
  serl actor pick_cube_state --device spacemouse --mode touch
  serl actor pick_cube_state --device browser
"""

from __future__ import annotations

from argparse import Namespace
from contextlib import ExitStack
from typing import Any

from launch.arguments import (
    Parser,
    add_experiment,
    add_run,
    add_security,
    add_supervised,
    address,
)
from launch.attending import add_person, attended, is_held
from launch.connection import client_security
from launch.console.beside import add_console, console_beside
from launch.experiments import need
from launch.processes import UNFINISHED, stop_on_signals
from launch.result import test_line
from launch.runs import Run, run_of_process
from launch.status import StatusTeller
from serl.metrics import read_status


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
    add_person(parser)
    add_console(parser)
    add_security(parser, server=False)
    add_supervised(parser)


def run(args: Namespace) -> int:
    stop = stop_on_signals(args.watch_fd)
    supervised = args.watch_fd is not None
    folder, experiment = run_of_process("actor", args)
    actor = need("serl.actor", "learner")
    with (
        StatusTeller(folder.status_path("actor"), quiet=supervised) as teller,
        attended(args, experiment) as (experiment, operator),
        ExitStack() as beside,
    ):

        def show(env: Any) -> None:
            """A console of this env, if one is asked for."""
            beside.enter_context(
                console_beside(args, env, operator, title=lambda: "actor", run=folder)
            )

        done = actor.run_actor(
            experiment,
            operator=operator,
            begins=operator is not None and is_held(operator.config),
            on_env=show,
            run_dir=folder.path,
            learner_address=args.learner_address,
            rpc=client_security(args),
            evaluate=not args.no_evaluate,
            wandb=args.wandb,
            on_status=teller,
            stop=stop,
        )
    if supervised:
        return 0 if done["finished"] or stop.is_set() else UNFINISHED
    print(account(folder, done))
    return 0


def account(folder: Run, done: dict[str, Any]) -> str:
    """What an actor did in its life, for the person who started it."""
    lines = [f"{done['env_steps']:,} env steps, {done['episodes']:,} episodes"]
    status = read_status(folder.status_path("actor")) or {}
    if status.get("episodes_in_window"):
        successes, episodes = status["success_last_20"], status["episodes_in_window"]
        lines[0] += f", {successes} of the last {episodes} succeeded"
    if folder.evaluation.is_file():
        lines.append(f"final test: {test_line(folder.read(folder.evaluation))}")
    unsent = done["unsent_records"]
    lines.append(
        f"{unsent:,} records are still in {folder.spool}; --resume --run-dir {folder.path} sends "
        "them"
        if unsent
        else "every record has reached the learner"
    )
    return "\n".join(lines)
