"""Pick up a cube from state with HIL-SERL's agent: SAC moves the arm, a double DQN the gripper.

Settings are pick_cube_state's; what differs is the gripper. It is told to close, to stay or to open
instead of a number that a threshold cuts, and telling it the opposite of what its fingers show
costs 0.02, which only the grasp critic pays (HIL-SERL's penalty). A class tried at random may open
the hand in mid-carry, so a gate is tried from 18 of 20 training successes on.
"""

import dataclasses

from envs.config import ActionConfig
from envs.tasks.pick_cube import PickCubeConfig
from examples.pick_cube_state.experiment import ADAM
from examples.pick_cube_state.experiment import EXPERIMENT as STATE
from serl.agents.grasp import GraspConfig
from serl.agents.hybrid_sac import HybridSACConfig
from serl.experiment import EvaluationConfig

ACTION = ActionConfig(translation_step_m=0.025, gripper="three_way", grasp_penalty=0.02)

EXPERIMENT = dataclasses.replace(
    STATE,
    name="pick_cube_hil",
    env=PickCubeConfig(action=ACTION),
    agent=HybridSACConfig(
        discount=0.96,
        tau=0.03,
        utd_ratio=2,
        num_critics=4,
        hidden=(128, 128),
        actor=ADAM,
        critic=ADAM,
        alpha=ADAM,
        grasp=GraspConfig(hidden=(128, 128), epsilon=0.01, optimizer=ADAM),
    ),
    evaluation=EvaluationConfig(gate_successes=19, trigger_successes=18, retry_episodes=5),
)
