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
from typing import Any

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
from launch.experiments import need
from launch.processes import UNFINISHED, stop_on_signals
from launch.result import make_result, test_line
from launch.runs import Run, run_of_process
from launch.status import StatusTeller
from launch.train import add_data, check_data, warn_without_demos
from serl.experiment import Experiment


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
    folder, experiment = run_of_process("learner", args)
    if not (supervised or args.resume or args.demos or args.with_data):
        warn_without_demos(experiment)
    resume = folder.begun if supervised else args.resume
    learner = need("serl.learner", "learner")
    with StatusTeller(folder.status_path("learner"), quiet=supervised) as teller:
        done = learner.run_learner(
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
    if supervised:
        return 0 if done["final"] or stop.is_set() else UNFINISHED
    print(conclude(folder, experiment, done))
    return 0


def conclude(folder: Run, experiment: Experiment, done: dict[str, Any]) -> str:
    """Keep the result, if the policy was tested, and say how far the run has come."""
    ended = f"; ended: {done['ended']}" if done["ended"] else ""
    lines = [f"{done['updates']:,} updates, {done['env_steps']:,} env steps"]
    lines[0] += f", policy version {done['policy_version']}{ended}"
    if done["final"]:
        result = make_result(experiment, done["final"], done, done["wall_s"])
        folder.write(folder.result, result)
        lines += [f"final test: {test_line(result)}", f"result {folder.result}"]
    else:
        lines.append(f"no final test yet; go on with --resume --run-dir {folder.path}")
    return "\n".join(lines)
