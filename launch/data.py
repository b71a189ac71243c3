"""Sets of demonstrations: look at them, put them together, take them apart, mend, import, export.

examples:
  serl data info demos/pick_cube
  serl data view demos/pick_cube --out pick_cube.html --open
  serl data merge demos/monday demos/tuesday --into demos/both
  serl data split demos/both --share 0.8 --into demos/train demos/test
  serl data trim demos/both --dead --into demos/trimmed
  serl data export demos/both --to lerobot --out sets/both --video
  serl data import sets/theirs.pkl --from serl_pickle --into demos/theirs
  serl data convert demos/both --drop-camera side --resize 128x128 --into demos/mended
  serl data convert demos/both --task pick_cube --pixels      # does it fit, and if not, why"""

from __future__ import annotations

import re
from argparse import ArgumentTypeError, Namespace
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launch.arguments import Parser, add_experiment, number
from launch.experiments import Selection
from launch.robot import WordParser
from serl.errors import UserError


@dataclass(frozen=True)
class Word:
    """One verb after `serl data`."""

    help: str
    add: Callable[[Parser], None]
    run: Callable[[Namespace], int]


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
    if args.overrides and not hasattr(args, "experiment"):
        raise UserError(f"--{args.overrides[0][0]}: `{args.word}` takes no experiment settings.")
    return WORDS[args.word].run(args)


def _add_info(parser: Parser) -> None:
    parser.add_argument("set", type=Path, help="a folder of episodes, or one file")
    parser.add_argument("--episodes", action="store_true", help="a line for each episode too")


def _info(args: Namespace) -> int:
    from launch.data_info import report
    from serl.data.formats.native import open_set

    for line in report(open_set(args.set), each=args.episodes):
        print(line)
    return 0


def _add_view(parser: Parser) -> None:
    parser.add_argument("set", type=Path, help="a folder of episodes, or one file")
    parser.add_argument("--out", type=Path, help="the page; default <set>.html")
    parser.add_argument("--open", action="store_true", help="show it in the browser")
    parser.add_argument(
        "--megabytes", type=number(float, 0.1, 500), default=4.0, help="size of the page, about (4)"
    )


def _view(args: Namespace) -> int:
    from launch.data_view import write_page
    from serl.data.formats.native import open_set

    demos = open_set(args.set)
    out = args.out or Path(f"{demos.path.name.removesuffix('.npz')}.html")
    shown = write_page(demos, out, megabytes=args.megabytes)
    print(f"{out}: {shown}")
    if args.open:
        import webbrowser

        webbrowser.open(out.resolve().as_uri())
    return 0


def _add_merge(parser: Parser) -> None:
    parser.add_argument("sets", type=Path, nargs="+", help="sets of one spec, in order")
    _add_into(parser)


def _merge(args: Namespace) -> int:
    from launch.data_edit import merge

    return _say(merge(args.sets, args.into), args.into)


def _add_split(parser: Parser) -> None:
    parser.add_argument("set", type=Path)
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--share", type=number(float, 0.0, 1.0), help="share of the first, as 0.8")
    how.add_argument("--count", type=number(int, 1), help="how many are in the first")
    how.add_argument("--episodes", type=places, help="which are in the first, as 0-9,12")
    parser.add_argument("--shuffle", action="store_true", help="at random, not in order")
    parser.add_argument("--seed", type=number(int, 0), default=0, help="of --shuffle (0)")
    parser.add_argument(
        "--into", type=Path, nargs=2, required=True, metavar=("FIRST", "SECOND"), help="new folders"
    )


def _split(args: Namespace) -> int:
    from launch.data_edit import split

    chosen = args.share if args.count is None else args.count
    counts = split(
        args.set,
        tuple(args.into),
        first=chosen if args.episodes is None else args.episodes,
        seed=args.seed if args.shuffle else None,
    )
    for folder, count in zip(args.into, counts, strict=True):
        print(f"{count} episodes in {folder}")
    return 0


def _add_trim(parser: Parser) -> None:
    parser.add_argument("set", type=Path)
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--dead", action="store_true", help="steps at both ends that hardly move")
    how.add_argument("--steps", type=span, metavar="FROM:TO", help="keep these, as 5:-3 or 0:100")
    parser.add_argument(
        "--still", type=number(float, 0, 1), default=0.02, help="--dead: what hardly moves (0.02)"
    )
    _add_into(parser)


def _trim(args: Namespace) -> int:
    from launch.data_edit import trim

    notes = trim(args.set, args.into, steps=args.steps, still=args.still)
    return _say(notes, args.into)


def _add_export(parser: Parser) -> None:
    parser.add_argument("set", type=Path)
    parser.add_argument("--to", required=True, metavar="FORMAT", help="`serl list formats`")
    parser.add_argument("--out", type=Path, required=True, help="the new file or folder")
    parser.add_argument("--hz", type=number(float, 0.01), help="control rate, if the set has none")
    parser.add_argument("--video", action="store_true", help="lerobot: frames as video, smaller")
    parser.add_argument("--task", default="", help="the task in words, if the set has none")


def _export(args: Namespace) -> int:
    from serl.data.formats.base import Options
    from serl.data.formats.exchange import export_demos
    from serl.data.formats.native import open_set

    if args.video and args.to != "lerobot":
        raise UserError(f"--video goes with --to lerobot; {args.to} keeps frames as pictures.")
    demos = open_set(args.set)
    rate = args.hz or demos.control_hz
    options = Options(control_hz=rate, video=args.video, task=args.task)
    done = export_demos(demos, args.to, args.out, options)
    notes = (*map(str, demos.damaged), *done.notes)
    return _say(notes, args.out, f"{done.episodes} episodes, {done.steps} steps")


def _add_import(parser: Parser) -> None:
    parser.add_argument("file", type=Path, help="another project's file or folder")
    parser.add_argument(
        "--from", dest="form", metavar="FORMAT", help="default: by its look; `serl list formats`"
    )
    parser.add_argument(
        "--who",
        choices=["human", "policy", "scripted", "random"],
        default="human",
        help="who acted, where the file does not say (human)",
    )
    parser.add_argument("--name", default="", help="experiment to file them under")
    _add_into(parser)


def _import(args: Namespace) -> int:
    from serl.data.formats.base import detected
    from serl.data.formats.exchange import import_demos
    from serl.types import Source

    form = args.form or detected(args.file)
    who = Source[args.who.upper()]
    done = import_demos(args.file, form, args.into, who=who, experiment=args.name)
    return _say(done.notes, args.into, f"{done.episodes} episodes, {done.steps} steps")


def _add_convert(parser: Parser) -> None:
    parser.add_argument("set", type=Path, help="the set to convert, or to compare")
    add_experiment(parser)
    parser.add_argument("--into", type=Path, help="new folder; without it the set is only compared")
    parser.add_argument("--drop-camera", nargs="+", default=[], metavar="NAME")
    parser.add_argument("--rename", nargs="+", default=[], type=pair, metavar="OLD=NEW")
    parser.add_argument("--resize", nargs="+", default=[], type=size, metavar="[CAMERA=]WxH")
    parser.add_argument("--drop-state", nargs="+", default=[], metavar="FIELD")
    parser.add_argument("--state", nargs="+", default=[], metavar="FIELD", help="these, so ordered")
    parser.add_argument("--drop-extra", nargs="+", default=[], metavar="NAME")
    parser.add_argument(
        "--gripper", type=modes, metavar="FROM=TO", help="three_way=width or width=three_way"
    )
    parser.add_argument(
        "--hz", type=number(float, 0.01), help="say the rate, where the set is mute"
    )
    parser.add_argument(
        "--success-at-end", action="store_true", help="each last step is paid 1 and a termination"
    )
    parser.add_argument(
        "--adopt", action="store_true", help="the experiment's names, bounds and number types"
    )


def _convert(args: Namespace) -> int:
    from launch.data_convert import Mend, convert
    from launch.data_fit import refuse_misfit

    if args.agent is not None or args.reward is not None:
        raise UserError("a set is compared with the env alone; leave --agent and --reward out.")
    selection = Selection.from_args(args)
    env_config = None if selection.is_empty else selection.load_env()
    mend = Mend(
        drop_cameras=tuple(args.drop_camera),
        rename=dict(args.rename),
        resize=dict(args.resize),
        drop_state=tuple(args.drop_state),
        state=tuple(args.state),
        drop_extras=tuple(args.drop_extra),
        gripper=args.gripper,
        control_hz=args.hz,
        success_at_end=args.success_at_end,
        adopt=_spec_to_adopt(env_config) if args.adopt else None,
    )
    if args.into is None:
        if env_config is None:
            raise UserError("say --into FOLDER, or an experiment to compare the set with.")
        for note in refuse_misfit(args.set, env_config, mend):
            print(note)
        print(f"{args.set} fits the experiment.")
        return 0
    return _say(convert(args.set, args.into, mend, env_config), args.into)


def _spec_to_adopt(env_config: Any) -> Any:
    if env_config is None:
        raise UserError("--adopt goes with an experiment, whose names and bounds are taken.")
    return env_config.spec()


def _add_into(parser: Parser) -> None:
    parser.add_argument("--into", type=Path, required=True, help="a new folder")


def _say(notes: tuple[str, ...], out: Path, what: str = "") -> int:
    from serl.data.formats.native import is_set, open_set

    for note in notes:
        print(note)
    if not what and is_set(out):
        demos = open_set(out)
        what = f"{len(demos)} episodes, {sum(h.steps for h in demos.headers)} steps"
    print(f"{out}: {what}")
    return 0


def places(text: str) -> tuple[int, ...]:
    """'0-9,12' as numbers.

    >>> places("0-2,5")
    (0, 1, 2, 5)
    """
    found: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"(\d{1,7})(?:-(\d{1,7}))?", part.strip())
        if match is None:
            raise ArgumentTypeError(f"{part!r} is no episode and no range of them, as 0-9,12")
        found += range(int(match[1]), int(match[2] or match[1]) + 1)
    return tuple(dict.fromkeys(found))


def span(text: str) -> tuple[int | None, int | None]:
    """'5:-3' as (5, -3); an empty side is open."""
    match = re.fullmatch(r"(-?\d{1,7})?:(-?\d{1,7})?", text)
    if match is None:
        raise ArgumentTypeError(f"{text!r} is not FROM:TO, as 5:-3")
    return int(match[1]) if match[1] else None, int(match[2]) if match[2] else None


def pair(text: str) -> tuple[str, str]:
    """'old=new'."""
    old, equals, new = text.partition("=")
    if not (old and equals and new):
        raise ArgumentTypeError(f"{text!r} is not OLD=NEW")
    return old, new


def size(text: str) -> tuple[str, tuple[int, int]]:
    """'front=128x96' as ('front', (96, 128)); without a name it holds for every camera."""
    name, _, rest = text.rpartition("=")
    match = re.fullmatch(r"([1-9]\d{0,3})x([1-9]\d{0,3})", rest)
    if match is None:
        raise ArgumentTypeError(f"{text!r} is not WIDTHxHEIGHT, as 128x128 or front=128x128")
    return name, (int(match[2]), int(match[1]))


def modes(text: str) -> tuple[str, str]:
    """'three_way=width' or the other way."""
    known = ("three_way", "width")
    old, new = pair(text)
    if sorted((old, new)) != sorted(known):
        raise ArgumentTypeError(f"{text!r} is neither three_way=width nor width=three_way")
    return old, new


WORDS = {
    "info": Word(
        "what is in a set: lengths, outcomes, actions, dead time, cameras", _add_info, _info
    ),
    "view": Word("a page with cameras, actions and rewards on a timeline", _add_view, _view),
    "merge": Word("several sets as one", _add_merge, _merge),
    "split": Word("one set as two, by number, share or episode", _add_split, _split),
    "trim": Word("cut steps off both ends of each episode", _add_trim, _trim),
    "export": Word("a set in another project's format", _add_export, _export),
    "import": Word("another project's file as a set", _add_import, _import),
    "convert": Word("mend what keeps a set from fitting an experiment", _add_convert, _convert),
}
