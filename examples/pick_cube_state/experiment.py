"""Pick up a cube in simulation, from state, with sparse reward and 20 demonstrations (RLPD)."""

from envs.tasks.pick_cube import PickCubeConfig
from serl.agents.sac import SACConfig
from serl.experiment import Experiment

EXPERIMENT = Experiment(
    name="pick_cube_state",
    env=PickCubeConfig(),
    agent=SACConfig(discount=0.97),
    demos=20,
)
