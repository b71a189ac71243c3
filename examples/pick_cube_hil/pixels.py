"""As experiment.py beside this file, from two cameras and what the arm feels of itself.

Settings are pick_cube_pixels'. The grasp critic shares the critics' heads and teaches them too.
"""

import dataclasses

from examples.pick_cube_hil.experiment import EXPERIMENT as STATE
from examples.pick_cube_pixels.experiment import EXPERIMENT as PIXELS

EXPERIMENT = dataclasses.replace(
    STATE,
    name="pick_cube_hil_pixels",
    env=STATE.env.pixels(),
    agent=dataclasses.replace(
        STATE.agent,
        num_critics=PIXELS.agent.num_critics,
        precision=PIXELS.agent.precision,
        image=PIXELS.agent.image,
    ),
    budget=PIXELS.budget,
)
