"""Rewards learned from pictures: record frames, label them, train a classifier, watch it judge.

examples:
  serl classifier record --task pick_cube --into frames/pick_cube
  serl classifier record --task pick_cube --into frames/pick_cube --by-hand
  serl classifier label frames/pick_cube
  serl classifier label frames/pick_cube --set 3:10-19=success
  serl classifier train frames/pick_cube --out pick_cube.safetensors
  serl classifier test pick_cube.safetensors --task pick_cube --out test.mp4
  serl train --task pick_cube --pixels --reward classifier:pick_cube.safetensors"""

from __future__ import annotations

import sys
import threading
from argparse import Namespace
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launch.arguments import Parser, add_experiment, number
from launch.experiments import Selection, need
from launch.robot import WordParser
from serl.errors import UserError


@dataclass(frozen=True)
class Word:
    """One verb after `serl classifier`."""

    help: str
    add: Callable[[Parser], None]
    run: Callable[[Namespace], int]
    takes_overrides: bool = False


def add_arguments(parser: Parser) -> None:
    parser.takes_overrides = True
    words = parser.add_subparsers(
        dest="word", required=True, metavar="WHAT", title="what", parser_class=WordParser
    )
    for name, word in WORDS.items():
        one = words.add_parser(name, help=word.help)
        one.description = word.help
        word.add(one)


def run(args: Namespace) -> int:
    word = WORDS[args.word]
    for flag in ("reward", "agent"):
        if getattr(args, flag, None) is not None:
            raise UserError(
                f"--{flag}: `classifier {args.word}` uses the env and its cameras alone; leave it "
                "out."
            )
    if args.overrides and not word.takes_overrides:
        raise UserError(f"--{args.overrides[0][0]}: `{args.word}` takes no experiment settings.")
    return word.run(args)


def _add_record(parser: Parser) -> None:
    add_experiment(parser)
    parser.add_argument("--into", type=Path, required=True, help="folder of the frames")
    parser.add_argument("--positives", type=number(int, 1), default=200, help="successes (200)")
    parser.add_argument("--negatives", type=number(int, 1), default=1000, help="failures (1000)")
    parser.add_argument(
        "--by-hand", action="store_true", help="label by keys: space, 0-9; n next episode, q ends"
    )
    parser.add_argument(
        "--classes", nargs="+", default=None, metavar="NAME", help="by hand; failure success"
    )
    parser.add_argument("--every", type=number(int, 1), default=2, help="by hand: each n-th step")
    parser.add_argument("--who", default="hand", help="by hand: who labels")
    parser.add_argument(
        "--expert", action="store_true", help="by hand: the task's expert moves the arm"
    )


def _record(args: Namespace) -> int:
    from launch import classifier_record as recorder

    env_config = recorder.for_frames(Selection.from_args(args).load_env())
    recorder.header_of(env_config)  # refuses an env without cameras before anything moves
    seed = args.seed or 0
    if args.by_hand:
        return _record_by_hand(args, env_config)
    if args.classes is not None:
        raise UserError("scripted frames are failure or success; --classes goes with --by-hand.")
    done = recorder.scripted(
        env_config,
        args.into,
        positives=args.positives,
        negatives=args.negatives,
        seed=seed,
        tell=lambda line: print(line, flush=True),
    )
    print(f"{done[0]} successes and {done[1]} failures in {args.into}")
    return 0


def _record_by_hand(args: Namespace, env_config: Any) -> int:
    from launch import classifier_record as recorder
    from serl.rewards.frames import CLASSES

    classes = tuple(args.classes or CLASSES)
    if len(set(classes)) < 2 or len(set(classes)) != len(classes) or len(classes) > 10:
        raise UserError(f"classes {classes}: give 2 to 10 different names.")
    named = ", ".join(f"{k} {name}" for k, name in enumerate(classes))
    with closing(env_config.make()) as env, recorder.Keys() as keys:
        act = recorder.expert_of(env_config, env, args.seed or 0).act if args.expert else None
        print(f"keys: space or {named}; n next episode; q ends.")
        counts = recorder.by_hand(
            env_config,
            args.into,
            pressed=keys.pressed,
            act=act,
            env=env,
            classes=classes,
            every=args.every,
            who=args.who,
            seed=args.seed or 0,
            tell=lambda line: print(f"\r{line}", end="", flush=True),
        )
    told = ", ".join(f"{n} {name}" for n, name in zip(counts, classes, strict=True))
    print(f"\n{told} in {args.into}")
    return 0


def _add_label(parser: Parser) -> None:
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="EPISODE:FROM-TO=LABEL",
        help="set labels of a range of frames and end; '-' leaves them out",
    )
    parser.add_argument("--port", type=number(int, 0, 65535), default=0)
    parser.add_argument("--who", default="hand", help="who labels")


def _label(args: Namespace) -> int:
    from launch.classifier_label import LabelServer, apply_ranges

    if args.set:
        print(f"{apply_ranges(args.folder, args.set, args.who)} frames labelled in {args.folder}")
        return 0
    with LabelServer(args.folder, args.port, args.who) as server:
        print(f"open {server.url} in a browser of this machine; Ctrl-C ends.", flush=True)
        threading.Event().wait()
    return 0


def _add_train(parser: Parser) -> None:
    from serl.pixels import POOLINGS

    parser.add_argument("folder", type=Path, nargs="+", help="from `serl classifier record`")
    parser.add_argument("--out", type=Path, required=True, help="the classifier's .safetensors")
    parser.add_argument("--report", type=Path, help="HTML; default beside the classifier")
    parser.add_argument("--trunk", default="small", help="what looks at frames (small)")
    parser.add_argument("--weights", default="pretrained", help="its weights, as for agents")
    parser.add_argument(
        "--pooling",
        choices=POOLINGS,
        default="spatial_softmax",
        help="of feature maps; spatial_embeddings is SERL's",
    )
    parser.add_argument("--held-out", type=number(float, 0.05, 0.5), default=0.2)
    parser.add_argument("--precision", type=number(float, 0.5, 1.0), default=0.98)
    parser.add_argument("--crops", type=number(int, 1, 64), default=4)
    parser.add_argument("--steps", type=number(int, 1), default=600, help="at most so many")
    parser.add_argument("--seed", type=number(int, 0, 65535), default=0)
    parser.add_argument("--success", help="the class that is success; default the last")
    parser.add_argument("--lost", help="a class that ends an episode without reward")
    parser.add_argument(
        "--consecutive", type=number(int, 1, 1000), help="positives in a row; default the task's"
    )
    parser.add_argument(
        "--condition",
        action="append",
        default=[],
        metavar="'FIELD above X below Y'",
        help="what the state must say besides",
    )


def _train(args: Namespace) -> int:
    from serl.rewards.conditions import Condition
    from serl.rewards.frames import load_folders

    training = need("serl.rewards.training", "learner")
    from launch.classifier_report import write_classifier_report
    from serl.agents.image_config import ImageConfig
    from serl.rewards.model import save_classifier
    from serl.trunk import load_trunk

    episodes = load_folders(args.folder)
    classes = episodes[0].header.classes
    trained = training.train(
        episodes,
        load_trunk(ImageConfig(trunk=args.trunk, weights=args.weights), args.seed),
        training.TrainConfig(
            held_out=args.held_out,
            precision=args.precision,
            crops=args.crops,
            steps=args.steps,
            pooling=args.pooling,
            seed=args.seed,
        ),
        success=_class(args.success, classes),
        lost=_class(args.lost, classes),
        consecutive=args.consecutive,
        conditions=tuple(Condition.parse(text) for text in args.condition),
        tell=lambda line: print(line, flush=True),
    )
    report = args.report or args.out.with_suffix(".html")
    write_classifier_report(trained, report, args.out.stem)
    print(f"held out, at 0.5: {trained.at_half.text()}\nreport {report}")
    if trained.at_threshold is None:
        raise UserError(
            f"no threshold reaches a held-out precision of {args.precision:g}, so no classifier "
            f"was written. Look at the misclassified frames in {report}: mend labels, or record "
            "more."
        )
    kept = save_classifier(trained.classifier, args.out)
    print(f"held out, at the threshold: {trained.at_threshold.text()}")
    print(f"classifier {args.out} ({kept.version}); use it with --reward classifier:{args.out}")
    return 0


def _class(name: str | None, classes: tuple[str, ...]) -> int | None:
    from launch.classifier_label import label_of

    if name == "-":
        raise UserError(f"class '-' is no class; the classes are {', '.join(classes)}.")
    return None if name is None else label_of(name, classes)


def _add_test(parser: Parser) -> None:
    parser.add_argument("model", type=Path, help="from `serl classifier train`")
    add_experiment(parser)
    parser.add_argument("--episodes", type=number(int, 1), default=9)
    parser.add_argument("--out", type=Path, help=".mp4 of all frames or .png of some")
    parser.add_argument(
        "--still", action="store_true", help="the arm holds; move things by hand and watch"
    )


def _test(args: Namespace) -> int:
    from launch.classifier_record import for_frames
    from launch.classifier_test import run_test
    from serl.rewards.model import load_classifier

    if args.out is not None and args.out.suffix not in (".mp4", ".png"):
        raise UserError(f"--out {args.out} must end in .mp4 or .png.")
    need("jax", "learner")
    tested = run_test(
        for_frames(Selection.from_args(args).load_env()),
        load_classifier(args.model),
        episodes=args.episodes,
        seed=args.seed or 0,
        out=args.out,
        still=args.still,
        tell=lambda text: print(text, end="", flush=True) if sys.stdout.isatty() else None,
    )
    print(tested.text())
    if args.out is not None:
        print(f"pictures {args.out}")
    return 0


WORDS = {
    "record": Word("record frames of success and failure", _add_record, _record, True),
    "label": Word("look at frames and change their labels", _add_label, _label),
    "train": Word("train a classifier on labelled frames", _add_train, _train),
    "test": Word("watch a classifier judge whole episodes", _add_test, _test, True),
}
