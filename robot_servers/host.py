"""What the robot PC itself brings to a control loop: kernel, scheduling, frequency governor."""

from __future__ import annotations

import os
import platform
from pathlib import Path

REALTIME = Path("/sys/kernel/realtime")
GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")


def host_facts() -> dict[str, str]:
    """For Describe and `serl doctor --robot`: each a few words, 'unknown' off Linux."""
    return {
        "real-time kernel": "yes" if realtime_kernel() else "no",
        "real-time priority": realtime_priority(),
        "governor": _read(GOVERNOR) or "unknown",
        "host": f"{platform.system()} {platform.release()}, {os.cpu_count()} cores",
    }


def realtime_kernel() -> bool:
    """PREEMPT_RT, by the kernel's own word."""
    return _read(REALTIME) == "1" or "PREEMPT_RT" in platform.version()


def realtime_priority() -> str:
    """The highest real-time priority that this process may give a thread: 'up to 99', 'none'."""
    try:
        import resource

        soft, _ = resource.getrlimit(resource.RLIMIT_RTPRIO)
    except (ImportError, AttributeError):  # no Linux
        return "unknown"
    if os.geteuid() == 0 or soft == resource.RLIM_INFINITY:
        return "up to 99"
    return f"up to {soft}" if soft > 0 else "none"


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
