"""What there is, by kind: tasks, agents, cameras, weights, runs ...; an experiment's settings.

examples:
  serl list
  serl list tasks
  serl list weights
  serl list settings pick_cube_state
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable

from launch.arguments import Parser, add_experiment
from launch.experiments import Selection, examples, need, tasks
from launch.overrides import leaves
from launch.result import test_line
from launch.runs import Run, all_runs
from serl.errors import UserError


def add_arguments(parser: Parser) -> None:
    parser.add_argument("kind", nargs="?", choices=[*KINDS, "settings"], help="what; default all")
    add_experiment(parser)


def run(args: Namespace) -> int:
    selection = Selection.from_args(args)
    if args.kind == "settings":
        for path, kind, value in leaves(selection.load()):
            print(f"--{path} {value!r}  ({kind})")
        return 0
    if selection != Selection():
        raise UserError("only `serl list settings` takes an experiment.")
    for kind in [args.kind] if args.kind else KINDS:
        print(f"{kind}:")
        try:
            lines = KINDS[kind]()
        except UserError as error:  # one kind's extra is missing; the others still list
            lines = [f"({error})"]
        for line in lines or ["(none)"]:
            print(f"  {line}")
    return 0


def _agents() -> list[str]:
    return need("serl.agents.base", "learner").AGENTS.names()


def _trunks() -> list[str]:
    return need("serl.networks.trunk", "learner").TRUNKS.names()


def _rewards() -> list[str]:
    need("serl.rewards.network", "learner")
    from serl.rewards.base import REWARDS

    return REWARDS.names()


def _cameras() -> list[str]:
    from envs.cameras.base import CAMERAS

    return CAMERAS.names()


def _devices() -> list[str]:
    from envs.devices.base import DEVICES

    return DEVICES.names()


def _backends() -> list[str]:
    from robot_servers.backends.base import BACKENDS

    return BACKENDS.names()


def _grippers() -> list[str]:
    from robot_servers.grippers.base import GRIPPERS

    return GRIPPERS.names()


def _formats() -> list[str]:
    from serl.data.formats.base import FORMATS

    width = max(map(len, FORMATS.names()))
    return [f"{name:<{width}}  {FORMATS.get(name).about}" for name in FORMATS]


def _weights() -> list[str]:
    from launch.weights import lines

    return list(lines())


def _runs() -> list[str]:
    return [_run_line(run) for run in all_runs()]


def _run_line(run: Run) -> str:
    about = run.about
    state = test_line(run.read(run.result)) if run.finished else "not finished"
    return f"{run.path}  {about['verb']}, seed {about['seed']}: {state}"


KINDS: dict[str, Callable[[], list[str]]] = {
    "tasks": lambda: tasks().names(),
    "agents": _agents,
    "trunks": _trunks,
    "weights": _weights,
    "rewards": _rewards,
    "cameras": _cameras,
    "devices": _devices,
    "backends": _backends,
    "grippers": _grippers,
    "formats": _formats,
    "examples": examples,
    "runs": _runs,
}
