"""`serl`: the console command. Each verb is a module that is imported when it is asked for."""

from __future__ import annotations

import importlib
import logging
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from serl.errors import UserError, unknown_name

if TYPE_CHECKING:
    from argparse import Namespace


@dataclass(frozen=True)
class Verb:
    """One word after `serl`: the module with its `add_arguments` and `run`, and its help."""

    module: str
    help: str


VERBS = {
    "demo": Verb("launch.demo", "record demonstrations, train in simulation, test: one command"),
    "train": Verb("launch.train", "actor and learner of an experiment, both supervised"),
    "learner": Verb("launch.learner", "the learner alone, here or on another machine"),
    "actor": Verb("launch.actor", "the actor alone, next to the arm or the simulator"),
    "teleop": Verb("launch.teleop", "move an arm by hand: SpaceMouse, keyboard, gamepad"),
    "console": Verb("launch.console.verb", "move an arm, or watch a run, from a page in a browser"),
    "record": Verb("launch.record", "record demonstrations, scripted or by hand"),
    "evaluate": Verb("launch.evaluate", "test a trained policy from its checkpoint alone"),
    "replay-demo": Verb("launch.replay_demo", "play a stored episode back and compare"),
    "robot-server": Verb("launch.robot_server", "serve an arm, simulated or real, with its limits"),
    "robot": Verb("launch.robot", "an operator's words to a robot server: look, move, set, stop"),
    "cameras": Verb(
        "launch.cameras", "cameras: what is connected, what they show, what is cropped"
    ),
    "classifier": Verb("launch.classifier", "rewards from pictures: record, label, train, test"),
    "data": Verb("launch.data", "demonstrations: view, merge, split, trim, mend, import, export"),
    "weights": Verb("launch.weights", "weights of image trunks: list, import, fetch"),
    "list": Verb("launch.list", "tasks, agents, rewards, cameras, devices, backends ..., settings"),
    "doctor": Verb("launch.doctor", "check this machine, or the way to a learner or a robot"),
    "bench": Verb("launch.bench", "measure speed, the channel, experts, whole trainings"),
}

EXAMPLES = """\
examples:
  serl demo                                   pick up a cube, from nothing to a tested policy
  serl demo --resume                          go on where it was stopped
  serl train pick_cube_state --agent.discount 0.98
  serl train --env Pendulum-v1                any Gymnasium env by its id
  serl learner pick_cube_state --demos demos/pick_cube           two terminals: first this,
  serl actor pick_cube_state --learner-address 127.0.0.1:5488    then this
  serl list settings pick_cube_state          every setting that a flag can change

`serl VERB --help` tells more of a verb."""


@dataclass(frozen=True)
class Command:
    """A command line, parsed and not yet run."""

    verb: str
    args: Namespace
    call: Callable[[Namespace], int]

    def run(self) -> int:
        return self.call(self.args)


def parse(argv: Sequence[str]) -> Command:
    """Check a command line without running it.

    Raises:
        UserError: an unknown verb or flag, or a value out of range.
        SystemExit: after printing help.
    """
    if not argv:
        raise UserError("say what to do: `serl demo` is a start, `serl --help` lists all verbs.")
    if argv[0] in ("-h", "--help", "help"):
        print(help_text())
        raise SystemExit(0)
    if argv[0] == "--version":
        from launch.machine import version

        print(version())
        raise SystemExit(0)
    if argv[0] not in VERBS:
        raise unknown_name("verb", argv[0], VERBS)
    arguments = importlib.import_module("launch.arguments")
    module = importlib.import_module(VERBS[argv[0]].module)
    parser = arguments.Parser(argv[0], module.__doc__)
    module.add_arguments(parser)
    return Command(argv[0], parser.parse(argv[1:]), module.run)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; what a person can fix ends in one line and exit code 2."""
    argv = list(sys.argv[1:] if argv is None else argv)
    logging.basicConfig(
        level=os.environ.get("SERL_LOG", "WARNING").upper(),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        datefmt="%H:%M:%S",
    )
    try:
        return parse(argv).run()
    except UserError as error:
        verb = f" {argv[0]}" if argv and argv[0] in VERBS else ""
        print(f"serl{verb}: {' '.join(str(error).split())}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("serl: stopped.", file=sys.stderr)
        return 130


def help_text() -> str:
    """What `serl --help` prints."""
    width = max(map(len, VERBS))
    verbs = "\n".join(f"  {name:<{width}}  {verb.help}" for name, verb in VERBS.items())
    return (
        "usage: serl VERB [flags]\n\n"
        "Reinforcement learning on a robot arm, real or simulated: an actor moves it, a learner\n"
        f"trains its policy.\n\nverbs:\n{verbs}\n\n{EXAMPLES}"
    )


if __name__ == "__main__":
    sys.exit(main())
