"""What a number was measured on: machine, cores, versions."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any


def version() -> str:
    """Our version, as installed."""
    try:
        return importlib.metadata.version("serl-suite")
    except importlib.metadata.PackageNotFoundError:
        return "0 (not installed)"


def machine() -> dict[str, Any]:
    """Name, processor, usable cores, memory and the versions that decide speed. JSON values."""
    return {
        "name": platform.node() or "unknown",
        "cpu": cpu_name(),
        "cores": usable_cores(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "versions": {
            name: found
            for name in ("jax", "flax", "mujoco", "numba", "numpy", "grpcio")
            if (found := _installed(name))
        },
    }


def summary() -> str:
    """The machine in one line, for the head of a table."""
    about = machine()
    versions = ", ".join(f"{name} {number}" for name, number in about["versions"].items())
    return (
        f"{about['name']}: {about['cpu']}, {about['cores']} cores, {about['memory_gb']} GB; "
        f"Python {about['python']}, {versions}"
    )


def usable_cores() -> int:
    """Cores this process may use, which a container may have cut."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpu_name() -> str:
    """The processor's own name where the system tells it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
