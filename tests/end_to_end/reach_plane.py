"""Reach from pixels in a plane, seen by one camera: small enough for a test on two cores."""

import dataclasses

from envs.tasks.reach import ReachConfig
from examples.reach_pixels.experiment import EXPERIMENT as REACH
from serl.experiment import BudgetConfig

_ENV = ReachConfig().pixels()
_IMAGE = dataclasses.replace(REACH.agent.image, embeddings=4, bottleneck=64)

EXPERIMENT = dataclasses.replace(
    REACH,
    name="reach_plane",
    env=dataclasses.replace(
        _ENV,
        cameras=_ENV.cameras[:1],
        arms=(dataclasses.replace(_ENV.arms[0], start_noise_m=(0.0, 0.05, 0.05)),),
        action=dataclasses.replace(_ENV.action, axes=("y", "z")),
        spread_m=(0.001, 0.3, 0.24),
        episode_s=1.5,
    ),
    agent=dataclasses.replace(REACH.agent, batch_size=128, image=_IMAGE),
    demos=12,
    evaluation=dataclasses.replace(REACH.evaluation, trigger_successes=21, final_episodes=60),
    budget=BudgetConfig(updates=3000, wall_s=220.0),
)
