"""Pick up a cube in simulation, from state, with sparse reward and 20 demonstrations (RLPD).

Set for a laptop's two cores: small networks and four critics, one actor step per two critic steps.
What made the difference, found on tuning seeds (see the README here): three-step returns and a
target that follows at 0.03 instead of 0.005. An episode that times out bootstraps, so a place that
looks good and is not must be unlearned through the target, and at 0.005 that took most of the run.
"""

from envs.tasks.pick_cube import PickCubeConfig
from serl.agents.optimizer import OptimizerConfig
from serl.agents.sac import SACConfig
from serl.experiment import (
    BudgetConfig,
    EvaluationConfig,
    Experiment,
    PublishConfig,
    RatioConfig,
    ReplayConfig,
)

ADAM = OptimizerConfig(lr=1e-3)

EXPERIMENT = Experiment(
    name="pick_cube_state",
    env=PickCubeConfig(),
    agent=SACConfig(
        discount=0.96,
        tau=0.03,
        utd_ratio=2,
        num_critics=4,
        hidden=(128, 128),
        actor=ADAM,
        critic=ADAM,
        alpha=ADAM,
    ),
    demos=20,
    replay=ReplayConfig(n_step=3, start_records=300),
    ratio=RatioConfig(updates_per_step=2.0, error_buffer_steps=200),
    publish=PublishConfig(every_updates=50, every_s=0.5),
    evaluation=EvaluationConfig(gate_successes=20, trigger_successes=20, retry_episodes=5),
    budget=BudgetConfig(wall_s=480.0),
)
