"""Cameras: what is connected, what they show, and which part of it the agent sees.

A camera is KIND:ADDRESS: realsense:SERIAL, opencv:/dev/video0 or video:FILE. Where there is a
display a window opens; elsewhere a file is written.

examples:
  serl cameras list
  serl cameras view --camera realsense:130322270735
  serl cameras view --task pick_cube --pixels
  serl cameras crop realsense:130322270735
  serl cameras crop opencv:/dev/video0 --size 640x480 --numbers 80 0 480 480 --name wrist"""

from __future__ import annotations

import re
import time
from argparse import ArgumentTypeError, Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launch.arguments import Parser, add_experiment, number
from launch.experiments import Selection
from launch.robot import Word, WordParser
from serl.errors import UserError, writing

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from envs.cameras.base import Camera

SETTLE_S = 1.0
"""Before a single picture is taken: automatic exposure has then found its value [s]."""
LIMIT_S = 2.0
"""A person who looks bears an older frame than an agent."""


def add_arguments(parser: Parser) -> None:
    words = parser.add_subparsers(
        dest="word", required=True, metavar="WHAT", title="what", parser_class=WordParser
    )
    for name, word in WORDS.items():
        one = words.add_parser(name, help=word.help)
        one.description = word.help
        word.add(one)
    parser.takes_overrides = True


def run(args: Namespace) -> int:
    if args.overrides and args.word != "view":
        raise UserError(f"`serl cameras {args.word}` takes no experiment settings.")
    return WORDS[args.word].run(args)


def camera_name(text: str) -> str:
    """KIND:ADDRESS; the address may be left out where there is only one."""
    if not re.fullmatch(r"[a-z_0-9]+(:.*)?", text):
        raise ArgumentTypeError(
            f"{text!r} is not KIND:ADDRESS, such as realsense:130322270735 or opencv:/dev/video0"
        )
    return text


def size(text: str) -> tuple[int, int]:
    """WIDTHxHEIGHT."""
    match = re.fullmatch(r"(\d{1,4})x(\d{1,4})", text)
    if not match:
        raise ArgumentTypeError(f"{text!r} is not WIDTHxHEIGHT, such as 640x480")
    return int(match[1]), int(match[2])


def _list(args: Namespace) -> int:
    from envs.cameras.base import CAMERAS, told_modes

    for kind in CAMERAS:
        print(f"{kind}:")
        try:
            found = CAMERAS.get(kind).found()
        except UserError as error:  # one kind's library is missing; the others still list
            print(f"  ({error})")
            continue
        for camera in found:
            print(f"  {camera.kind}:{camera.address}  {camera.about}")
            if camera.modes:
                print(f"      {told_modes(camera.modes)}")
        if not found:
            print("  (any file: video:FILE)" if kind == "video" else "  (none)")
    return 0


def _view(args: Namespace) -> int:
    selection = Selection.from_args(args)
    if (args.camera is None) == selection.is_empty:
        raise UserError("say what to look at: an experiment, or --camera KIND:ADDRESS.")
    if args.camera is not None:
        with _opened(args) as camera:
            return _show(lambda: camera.newest(LIMIT_S).rgb, camera.name, args.out)
    with _seen(selection) as look:
        return _show(look, "what the agent sees", args.out)


def _crop(args: Namespace) -> int:
    from envs.cameras.view import crop, resize
    from launch.window import Window, can_show
    from serl.rewards.pictures import png

    with _opened(args) as camera:
        time.sleep(SETTLE_S)
        frame = camera.newest(LIMIT_S).rgb
        snippet = _snippet(args, camera)
        box: Any = args.numbers
        if box is None and can_show():
            with Window(f"{camera.name}: drag a rectangle, then Enter") as window:
                while window.open and not window.done:
                    window.show(camera.newest(LIMIT_S).rgb, _told(window.box))
                    time.sleep(0.03)
                if not window.done or window.box is None:
                    raise UserError("no rectangle was drawn; nothing is cropped.")
                box = window.box
        if box is None:
            return _write_page(args.out or Path("crop.html"), frame, snippet)
    part = crop(frame, tuple(box), args.name)
    out = args.out or Path("crop.png")
    with writing(out):
        out.write_bytes(png(resize(part, 128, 128)))
    print(snippet.replace("{crop}", str(tuple(box))))
    if part.shape[0] != part.shape[1]:
        print(f"# {_told(tuple(box))}: not square, so a square observation stretches it")
    print(f"# {out} shows it as the agent sees it")
    return 0


def _snippet(args: Namespace, camera: Any) -> str:
    """The lines for `cameras` and `camera_devices` of an env, {crop} where the numbers go."""
    kind, _, address = args.camera.partition(":")
    across, down, fps = camera.width, camera.height, camera.fps
    exposure = f", exposure_us={args.exposure_us}" if args.exposure_us else ""
    return (
        f"CameraConfig(name={args.name!r}, frame_px=({across}, {down}), crop={{crop}})\n"
        f"DeviceConfig(name={args.name!r}, kind={kind!r}, address={address!r}, "
        f"width={across}, height={down}, fps={fps}{exposure})"
    )


def _write_page(out: Path, frame: NDArray[np.uint8], snippet: str) -> int:
    from launch.crop_page import crop_page

    with writing(out):
        out.write_text(crop_page(frame, snippet))
    print(
        f"no display here: open {out} in a browser, drag a rectangle, copy the lines it shows; "
        "or give --numbers X Y WIDTH HEIGHT."
    )
    return 0


def _show(look: Callable[[], NDArray[np.uint8]], title: str, out: Path | None) -> int:
    """In a window until it is closed; without a display, or with --out, in a file."""
    from launch.window import Window, can_show
    from serl.rewards.pictures import png

    if out is None and can_show():
        with Window(title) as window:
            while window.open:
                window.show(look())
                time.sleep(0.03)
        return 0
    time.sleep(SETTLE_S)
    picture = look()
    out = out or Path("view.png")
    with writing(out):
        out.write_bytes(png(picture))
    print(f"{out}: {title}, {picture.shape[1]} x {picture.shape[0]} px")
    return 0


@contextmanager
def _opened(args: Namespace) -> Iterator[Any]:
    """The camera that was named, connected."""
    from envs.cameras.base import CAMERAS

    kind, _, address = args.camera.partition(":")
    width, height = args.size
    camera: Camera = CAMERAS.get(kind)(
        address, width=width, height=height, fps=args.fps, exposure_us=args.exposure_us
    )
    camera.connect()
    try:
        yield camera
    finally:
        camera.close()


@contextmanager
def _seen(selection: Selection) -> Iterator[Callable[[], NDArray[np.uint8]]]:
    """What an experiment's agent sees, side by side; of a simulated scene, one drawing of it."""
    from envs.cameras.make import make_cameras
    from serl.rewards.pictures import beside

    config: Any = selection.load_env()
    cameras = getattr(config, "cameras", ())
    if not cameras:
        raise UserError("this experiment has no cameras. --pixels gives a task of ours its own.")
    if config.camera_devices:
        rig = make_cameras(config, None)
        try:
            yield lambda: beside(list(rig.frames(time.monotonic_ns()).values()))
        finally:
            rig.close()
        return
    env = config.make()
    try:
        obs, _ = env.reset(seed=0)
        picture = beside([obs[array.name] for array in config.spec().observation if _image(array)])
        yield lambda: picture
    finally:
        env.close()


def _image(array: Any) -> bool:
    return array.dtype == "uint8" and len(array.shape) == 3


def _told(box: tuple[int, ...] | None) -> str:
    if box is None:
        return ""
    return f"x {box[0]}, y {box[1]}, {box[2]} x {box[3]} px"


def _add_camera(parser: Parser) -> None:
    parser.add_argument(
        "--size", type=size, default=(0, 0), metavar="WxH", help="of the frame; default its own"
    )
    parser.add_argument("--fps", type=number(int, 1, 1000), default=0, help="default its own")
    parser.add_argument(
        "--exposure-us", type=number(int, 0, 10_000_000), default=0, help="fixed exposure [us]"
    )
    parser.add_argument("--out", type=Path, help="the file to write")


def _add_view(parser: Parser) -> None:
    add_experiment(parser)
    parser.add_argument(
        "--camera", type=camera_name, metavar="KIND:ADDRESS", help="one camera, whole"
    )
    _add_camera(parser)


def _add_crop(parser: Parser) -> None:
    parser.add_argument("camera", type=camera_name, metavar="KIND:ADDRESS")
    parser.add_argument(
        "--numbers",
        type=number(int, 0, 10_000),
        nargs=4,
        metavar=("X", "Y", "WIDTH", "HEIGHT"),
        help="the part that the agent sees, instead of by mouse [pixels]",
    )
    parser.add_argument("--name", default="wrist", help="of the camera in the config (wrist)")
    _add_camera(parser)


WORDS = {
    "list": Word("what is connected, with serial numbers and modes", lambda parser: None, _list),
    "view": Word("show what cameras show: an experiment's, or one", _add_view, _view),
    "crop": Word("choose the part that the agent sees; prints the config", _add_crop, _crop),
}
