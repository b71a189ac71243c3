"""SERL's two grippers as its HTTP clients know them: positions, commands, per flavour.

    gripper_pos    Franka hand              Robotiq
    serl           opening [m]              0 (open) to 255 (closed)
    hil-serl       0 (closed) to 1 (open)   0 (closed) to 1 (open)

/move_gripper takes 0 to 255 of the driver's own: on the Franka hand p / 2550 m of opening, on the
Robotiq the position register, which closes as it grows.
"""

from __future__ import annotations

from typing import Literal

from robot_servers.types import GripperDescription, GripperTarget

Flavour = Literal["serl", "hil-serl"]
FLAVOURS: tuple[Flavour, ...] = ("serl", "hil-serl")

FRANKA_M_PER_COUNT = 1.0 / 2550.0
FRANKA_CLOSE_N = 130.0
"""SERL's grasp force; beyond what the hand can hold, so it means 'as hard as it may'."""
FRANKA_SLOW_M_PER_S = 0.1
ROBOTIQ_COUNTS = 255.0
ROBOTIQ_CLOSE_FORCE = {"serl": 150.0 / ROBOTIQ_COUNTS, "hil-serl": 30.0 / ROBOTIQ_COUNTS}
"""Part of the largest force, from the force register."""
ROBOTIQ_SLOW = 50.0 / ROBOTIQ_COUNTS
"""Part of the largest speed."""


def is_robotiq(gripper: GripperDescription) -> bool:
    return "robotiq" in gripper.name.lower() or "2f" in gripper.name.lower()


def position(width_m: float, gripper: GripperDescription, flavour: Flavour) -> float:
    """`gripper_pos` of an opening."""
    part = min(max(width_m / gripper.width_max_m, 0.0), 1.0)
    if flavour == "hil-serl":
        return part
    return ROBOTIQ_COUNTS * (1.0 - part) if is_robotiq(gripper) else width_m


def opened(gripper: GripperDescription) -> GripperTarget:
    """As far as it goes: HIL-SERL's Robotiq stops at register 175, from where its own client
    never closes again (D-S17)."""
    return GripperTarget(width_m=gripper.width_max_m, speed_m_per_s=gripper.speed_max_m_per_s)


def closed(gripper: GripperDescription, flavour: Flavour, *, slow: bool = False) -> GripperTarget:
    """Grasp whatever is between the fingers."""
    fast = gripper.speed_max_m_per_s
    if is_robotiq(gripper):
        force = ROBOTIQ_CLOSE_FORCE[flavour] * gripper.force_max_n
        return GripperTarget(
            width_m=0.0, force_n=force, speed_m_per_s=fast * ROBOTIQ_SLOW if slow else fast
        )
    return GripperTarget(
        width_m=0.0,
        force_n=min(FRANKA_CLOSE_N, gripper.force_max_n),
        speed_m_per_s=min(fast, FRANKA_SLOW_M_PER_S) if slow else fast,
    )


def moved(counts: float, gripper: GripperDescription) -> GripperTarget:
    """/move_gripper: 0 to 255, clamped."""
    counts = min(max(counts, 0.0), ROBOTIQ_COUNTS)
    if is_robotiq(gripper):
        width = gripper.width_max_m * (1.0 - counts / ROBOTIQ_COUNTS)
    else:
        width = min(counts * FRANKA_M_PER_COUNT, gripper.width_max_m)
    return GripperTarget(width_m=width, speed_m_per_s=gripper.speed_max_m_per_s)
