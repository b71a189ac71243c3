"""What must hold of the installed wheel: run by tools/wheel_check.sh, outside the tree."""

import importlib.metadata
import sys
import sysconfig
from pathlib import Path

PACKAGES = ("serl", "robot_servers", "envs", "launch", "benchmarks", "examples")


def main() -> None:
    home = Path(sys.prefix)
    found = list(importlib.metadata.distributions(name="serl-suite", path=[_packages()]))
    there = {str(file) for wheel in found for file in wheel.files or ()}
    listed = Path("files")
    tracked = listed.read_text().split() if listed.exists() else []
    lost = [file for file in tracked if file not in there and not file.endswith((".png", ".npz"))]
    if lost:
        sys.exit(f"wheel-check: in the tree but not in the wheel: {', '.join(lost)}")
    for name in PACKAGES:
        module = importlib.import_module(name)
        where = Path(next(iter(module.__path__)))
        if home not in where.parents:
            sys.exit(f"wheel-check: {name} is imported from {where}, not from the wheel")

    from serl.agents.image_config import ImageConfig
    from serl.trunk import load_trunk

    trunk = load_trunk(ImageConfig(trunk="small"))  # its weights come with the wheel
    sys.modules["numba"] = None  # pyright: ignore[reportArgumentType]: compiling takes 20 s
    from envs.tasks.base import TASKS

    for name in TASKS:  # reads the arm and scene models from the wheel
        env = TASKS.get(name)().make()
        env.reset(seed=0)
        env.step(env.action_space.sample())
        env.close()
    stepped = ", ".join(TASKS)
    sys.stdout.write(
        f"wheel-check: {len(there)} files; weights of {trunk.name}; stepped {stepped}\n"
    )


def _packages() -> str:
    """This environment's own, not those that PYTHONPATH adds."""
    return sysconfig.get_path("purelib")


if __name__ == "__main__":
    main()
