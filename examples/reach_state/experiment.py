"""Reach a pose in the air with all six displacements, from state: the dress rehearsal's task.

It observes nothing but the arm, so the same policy runs on any arm behind a robot server. It is
trained with 30 ms between a command and its effect, as a real arm has. Settings are
pick_cube_state's, but for a dense reward, which brings the last centimetre: with the sparse one,
tuning seeds 100 and 101 stayed at 95 and 89 of 100, hovering just outside; seed 102 came to 99.
"""

import dataclasses

from envs.tasks.reach import ReachConfig
from examples.pick_cube_state.experiment import EXPERIMENT as PICK_CUBE
from serl.experiment import BudgetConfig

EXPERIMENT = dataclasses.replace(
    PICK_CUBE,
    name="reach_state",
    env=ReachConfig(action_delay_s=0.03, reward="dense"),
    evaluation=dataclasses.replace(PICK_CUBE.evaluation, gate_passes=4),
    budget=BudgetConfig(wall_s=1200.0),
)
