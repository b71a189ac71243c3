"""Reach a position from two cameras that look across the workspace at right angles.

Settings are pick_cube_pixels'. What is learned fastest from pixels: the study of crops uses it.
"""

import dataclasses

from envs.tasks.reach import ReachConfig
from examples.pick_cube_pixels.experiment import EXPERIMENT as PICK_CUBE
from serl.experiment import BudgetConfig

EXPERIMENT = dataclasses.replace(
    PICK_CUBE,
    name="reach_pixels",
    env=ReachConfig().pixels(),
    budget=BudgetConfig(wall_s=900.0),
)
