"""Reach a position from pixels with no reward but VICE's: a classifier trained along with the
policy from the last pictures of 20 demonstrations. The env neither pays nor ends at success."""

import dataclasses

from envs.tasks.reach import ReachConfig
from examples.reach_pixels.experiment import EXPERIMENT as REACH
from serl.agents.optimizer import OptimizerConfig
from serl.agents.vice import VICEConfig
from serl.experiment import BudgetConfig

ADAM = OptimizerConfig(lr=1e-3)

EXPERIMENT = dataclasses.replace(
    REACH,
    name="reach_vice",
    env=dataclasses.replace(ReachConfig().pixels(), reward="learned"),
    agent=VICEConfig(
        discount=0.96,
        tau=0.03,
        utd_ratio=2,
        num_critics=2,
        precision=REACH.agent.precision,
        image=REACH.agent.image,
        hidden=(128, 128),
        actor=ADAM,
        critic=ADAM,
        alpha=ADAM,
    ),
    replay=dataclasses.replace(REACH.replay, n_step=1),
    budget=BudgetConfig(wall_s=1200.0),
)
