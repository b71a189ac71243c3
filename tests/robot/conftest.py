"""A connected cell with one cube, shared by the tests of a file."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import settings

from robot_servers.backends.mujoco import MujocoBackend
from robot_servers.control import se3
from robot_servers.types import ArmCommand, CartesianTarget, GripperTarget, SceneObject

settings.register_profile("no deadline", deadline=None)  # a busy machine is no failure
settings.load_profile("no deadline")

CUBE = """
<mujoco>
  <body name="cube" pos="0.5 0 0.02">
    <freejoint/>
    <geom type="box" size="0.02 0.02 0.02" mass="0.1"/>
  </body>
</mujoco>
"""


class Cell:
    """A backend with short words for what tests do."""

    def __init__(self, **options):
        self.backend = MujocoBackend(**options)
        self.backend.connect()
        self.backend.scene.load(CUBE)

    def reset(self, x=0.5, y=0.0, **properties):
        cube = SceneObject(
            name="cube", T_base_object=se3.pose(np.eye(3), [x, y, 0.02]), **properties
        )
        return self.backend.scene.reset([cube])[""]

    def go(self, T=None, width=None, seconds=1.0, period=0.05):
        """Command once, then let time pass; returns the last state."""
        self.backend.command(
            {
                "": ArmCommand(
                    target=None if T is None else CartesianTarget(T_base_tcp=T),
                    gripper=None if width is None else GripperTarget(width_m=width),
                )
            }
        )
        return self.wait(seconds, period)

    def wait(self, seconds, period=0.05):
        for _ in range(round(seconds / period)):
            state = self.backend.advance(period)[""]
        return state

    @staticmethod
    def down(x, y, z, yaw=0.0):
        """The gripper pointing down."""
        return se3.pose(se3.matrix_from_rpy([np.pi, 0, yaw]), [x, y, z])

    def grasp(self, x=0.5, y=0.0):
        """From above, close on the cube."""
        self.go(self.down(x, y, 0.12), 0.08, 2.0)
        self.go(self.down(x, y, 0.02), 0.08, 1.5)
        return self.go(self.down(x, y, 0.02), 0.0, 0.8)

    def cube(self):
        return self.backend.scene.object_poses()["cube"]


@pytest.fixture(scope="module")
def cell():
    cell = Cell()
    yield cell
    cell.backend.close()


@pytest.fixture
def make_cell():
    made = []

    def make(**options):
        made.append(Cell(**options))
        return made[-1]

    yield make
    for cell in made:
        cell.backend.close()


@pytest.fixture(scope="module", params=[0.001, 0.002], ids=["1 ms", "2 ms"])
def stepped_cell(request):
    """A cell of its own at each physics step."""
    cell = Cell(physics_dt_s=request.param)
    yield cell
    cell.backend.close()
