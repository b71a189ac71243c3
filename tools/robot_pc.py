"""Imports everything a robot PC may run, and fails when that takes more than the base install.

Run by tools/robot_pc.sh under the robot PC's Python, from an installed wheel.
"""

import importlib
import pkgutil
import sys

ROOMS = ("robot_servers", "serl.types", "serl.registry", "serl.rpc", "serl.errors")
RECORDING = (
    "serl.data.demos",
    "serl.channel.client",
    "envs.devices",
    "envs.cameras",
    "launch.main",
)
FOREIGN = ("jax", "flax", "mujoco", "gymnasium", "numba")


def main() -> None:
    count = 0
    for room in (*ROOMS, *RECORDING):
        if not _exists(room):
            continue  # envs.devices and envs.cameras come with later parts
        package = importlib.import_module(room)
        count += 1
        for module in pkgutil.walk_packages(getattr(package, "__path__", []), f"{room}."):
            importlib.import_module(module.name)
            count += 1
    loaded = [name for name in FOREIGN if name in sys.modules]
    if loaded:
        sys.exit(f"robot-pc: importing on the robot PC loaded {', '.join(loaded)}")
    sys.stdout.write(f"robot-pc: Python {sys.version.split()[0]}, {count} modules, no JAX\n")


def _exists(module: str) -> bool:
    """Whether a module is part of this version; a module that fails to import is not 'missing'."""
    parent, _, name = module.rpartition(".")
    if not parent:
        return True
    path = importlib.import_module(parent).__path__
    return any(found.name == name for found in pkgutil.iter_modules(path))


if __name__ == "__main__":
    main()
