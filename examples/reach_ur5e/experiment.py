"""reach_state on an arm of six joints: a UR5e-like model, no gripper, no elbow to spare.

What it shows: nothing outside robot_servers/models knows how many joints an arm has.
"""

import dataclasses

from envs.tasks.reach import ReachConfig
from examples.reach_state.experiment import EXPERIMENT as REACH

ARM = dataclasses.replace(ReachConfig().arms[0], robot="ur5e")

EXPERIMENT = dataclasses.replace(
    REACH, name="reach_ur5e", env=dataclasses.replace(REACH.env, arms=(ARM,))
)
