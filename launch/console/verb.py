"""The console in the browser: move a simulated or real arm from a page, or watch a run.

Ctrl-C, or Stop on the page, ends it; the arm holds where it is. Beside other loops the console is
a flag: `serl teleop|record|actor ... --console`.

examples:
  serl console
  serl console --task pick_cube --pixels
  serl console --task pick_cube --backend grpc://127.0.0.1:5600
  serl console --run runs/pick_cube_state/2026-01-31_12-00-00
  serl console --port 0.0.0.0:8765 --console-token-file token --console-insecure-lan
"""

from __future__ import annotations

from argparse import Namespace

from launch import teleop
from launch.arguments import Parser, add_experiment, number
from launch.console.beside import access, add_console, show_page
from launch.processes import stop_on_signals
from launch.teleop_hand import add_hand


def add_arguments(parser: Parser) -> None:
    add_experiment(parser)
    parser.add_argument("--run", metavar="RUN", help="watch this run's folder; nothing moves")
    parser.add_argument("--open", action="store_true", help="open the page in a browser here")
    parser.add_argument("--for-s", type=number(float, 0), help="end by itself after this long [s]")
    add_hand(parser)
    add_console(parser, flag="--port", always=True)


def run(args: Namespace) -> int:
    if args.run is not None:
        return watch(args)
    args.device, args.window = "browser", False
    return teleop.run(args)


def watch(args: Namespace) -> int:
    """Show a run until told to stop."""
    from launch.console.run_feed import RunFeed
    from launch.console.server import Console
    from launch.runs import find_run

    allowed = access(args)
    assert allowed is not None
    stop = stop_on_signals()
    with Console(RunFeed(find_run(args.run)), allowed, tell=print) as console:
        print(f"console  {console.url}", flush=True)
        show_page(console.url, args.open, print)
        stop.wait(args.for_s)
    return 0
