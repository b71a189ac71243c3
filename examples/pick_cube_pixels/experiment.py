"""Pick up a cube from two 128 x 128 cameras and proprioception, on two CPU cores."""

import dataclasses

from envs.tasks.pick_cube import PickCubeConfig
from examples.pick_cube_state.experiment import EXPERIMENT as STATE
from serl.agents.optimizer import OptimizerConfig
from serl.agents.sac import SACConfig
from serl.experiment import BudgetConfig, RatioConfig

ADAM = OptimizerConfig(lr=5e-4)

EXPERIMENT = dataclasses.replace(
    STATE,
    name="pick_cube_pixels",
    env=PickCubeConfig().pixels(),
    agent=SACConfig(
        discount=0.96,
        tau=0.02,
        utd_ratio=2,
        num_critics=2,
        hidden=(256, 256),
        actor=ADAM,
        critic=ADAM,
        alpha=ADAM,
    ),
    ratio=RatioConfig(updates_per_step=2.0, error_buffer_steps=200),
    budget=BudgetConfig(wall_s=1500.0),
)
