"""The learner needs the spec, not the robot: SERL's opened arm and mouse (D-S10, D-S11)."""

from __future__ import annotations

import os
import subprocess
import sys

from end_to_end.processes import ROOT

BLOCKED = ("mujoco", "hid", "easyhid", "pyrealsense2", "robot_servers", "pynput", "pygame")

SCRIPT = """
import importlib.abc, sys, threading
from pathlib import Path

class Blocker(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked!r}:
            raise ImportError(f"{{name}} is blocked in this test")

sys.meta_path.insert(0, Blocker())
from serl.experiment import load_experiment
from serl.learner import Learner

stop = threading.Event()

def on_status(status):
    if status["phase"].startswith("waiting for data"):
        print("phase:", status["phase"], flush=True)
        stop.set()

experiment = load_experiment("examples/pick_cube_state")
Learner(experiment, run_dir=Path(sys.argv[1]), on_status=on_status, stop=stop).run_until_done()
"""


def test_the_learner_starts_without_simulator_robot_devices_or_display(tmp_path):
    env = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY")}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(blocked=BLOCKED), str(tmp_path / "run")],
        cwd=ROOT,
        env={**env, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "waiting for data: 0 of" in done.stdout
