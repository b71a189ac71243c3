"""Weights of image trunks: which there are, and others' made usable.

examples:
  serl weights list
  serl weights fetch                           SERL's ResNet-10 from its release page
  serl weights import resnet10_params.pkl      the same file, already here; nothing in it is run
  serl train pick_cube_pixels --agent.image.trunk resnet10 --agent.image.weights serl
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

from launch.arguments import Parser
from launch.experiments import need
from serl.errors import UserError
from serl.weights import OURS, SUFFIX, imported


def add_arguments(parser: Parser) -> None:
    parser.add_argument("action", choices=["list", "import", "fetch"])
    parser.add_argument("file", nargs="?", type=Path, help="import: a .pkl of SERL's, or ours")
    parser.add_argument("--name", default="serl", help="what the set will be called; default serl")
    parser.add_argument("--url", help="fetch: from elsewhere than SERL's release page")


def run(args: Namespace) -> int:
    if args.action == "import" and args.file is None:
        raise UserError("say which file to import: serl weights import resnet10_params.pkl")
    if args.action != "import" and args.file is not None:
        raise UserError(f"`serl weights {args.action}` takes no file.")
    if args.url is not None and args.action != "fetch":
        raise UserError(f"`serl weights {args.action}` takes no --url.")
    if args.action == "list":
        for line in lines():
            print(line)
        return 0
    sets = need("serl.weights.serl_resnet10", "learner")
    if args.action == "import":
        out = sets.import_file(args.file, args.name)
    else:
        out = sets.fetch(args.url or sets.URL, args.name)
    print(f"{out}: use it with --agent.image.trunk {_trunk(out)} --agent.image.weights {args.name}")
    return 0


def lines() -> Iterator[str]:
    """Trunk, name of the set, size and file of every set."""
    ours = [("pretrained", path) for path in sorted(OURS.glob(f"*{SUFFIX}"))]
    for name, path in [*ours, *imported().items()]:
        size = path.stat().st_size / 1e6
        yield f"{_trunk(path):<10}  {name:<12}  {size:6.2f} MB  {path}"


def _trunk(path: Path) -> str:
    """What the file's header says."""
    import safetensors

    try:
        with safetensors.safe_open(path, framework="numpy") as file:  # type: ignore[no-untyped-call]
            return (file.metadata() or {}).get("trunk", "?")
    except (OSError, safetensors.SafetensorError):
        return "damaged"
