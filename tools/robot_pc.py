"""Imports everything a robot PC may run, and fails when that takes more than the base install.

Run by tools/robot_pc.sh under the robot PC's Python, from an installed wheel.
"""

import importlib
import pkgutil
import sys

ROOMS = (
    "robot_servers",
    "serl.types",
    "serl.registry",
    "serl.rpc",
    "serl.errors",
    "serl.data.demos",
    "serl.channel.client",
    "launch.main",
)
FOREIGN = ("jax", "flax", "mujoco", "gymnasium", "numba")


def main() -> None:
    count = 0
    for room in ROOMS:
        package = importlib.import_module(room)
        count += 1
        for module in pkgutil.walk_packages(getattr(package, "__path__", []), f"{room}."):
            importlib.import_module(module.name)
            count += 1
    loaded = [name for name in FOREIGN if name in sys.modules]
    if loaded:
        sys.exit(f"robot-pc: importing on the robot PC loaded {', '.join(loaded)}")
    sys.stdout.write(f"robot-pc: Python {sys.version.split()[0]}, {count} modules, no JAX\n")


if __name__ == "__main__":
    main()
