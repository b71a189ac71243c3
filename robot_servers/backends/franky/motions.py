"""franky's torque motions with our gains. All of them are torque motions, so that one preempts
another without the arm ever leaving control.

franky's own target filter is none and its damping by default is 2 sqrt(K): the reference comes from
our generator, and damping is always given (DESIGN decision 17).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from robot_servers.models.base import RobotModel
from robot_servers.types import Array, Gains

TICK_S = 0.001
"""Of libfranka's control loop."""

GAINS_TIME_CONSTANT_S = 0.008
"""franky's smoothing of new gains. The guard ramps them already; this hides its 5 ms steps, and
delays the damping of a braking arm by as much."""

JOINT_DAMPING_NM_S_PER_RAD = (50.0, 50.0, 50.0, 20.0, 20.0, 20.0, 10.0)
"""Of a joint move; HIL-SERL's reset. libfranka's example has up to 30 on the wrist: with a few
milliseconds of delay that swings up on franky-sim, whose wrist weighs 0.08 kg m^2."""

TORQUE_TIMEOUT_S = 0.05
"""Without a torque for this long the torque motion ends itself; franky's default."""

SMALLEST_CLIP = 1e-6
"""franky wants clips above zero."""


def shape_of(gains: Gains) -> tuple[object, ...]:
    """What of the gains cannot change inside a running motion: clips and the torque rate."""
    return (
        gains.translational_clip_m,
        gains.rotational_clip_rad,
        gains.torque_rate_nm_per_s,
    )


def impedance_motion(franky: Any, gains: Gains, model: RobotModel) -> Any:
    """Tracks Cartesian references; the elbow is drawn to the home posture in the nullspace.

    Posture spring as in `control.impedance.nullspace_torque`; the projection is franky's own.
    """
    stiffness, damping = posture(gains, len(model.description.q_home_rad))
    motion = franky.CartesianImpedanceTrackingMotion(
        translational_stiffness=gains.translational_stiffness_n_per_m,
        rotational_stiffness=gains.rotational_stiffness_nm_per_rad,
        translational_error_clip=np.maximum(gains.translational_clip_m, SMALLEST_CLIP),
        rotational_error_clip=np.maximum(gains.rotational_clip_rad, SMALLEST_CLIP),
        posture_task=franky.PostureTask(
            target=np.array(model.description.q_home_rad), stiffness=stiffness, damping=damping
        ),
        max_delta_tau=gains.torque_rate_nm_per_s * TICK_S,
        gains_time_constant=GAINS_TIME_CONSTANT_S,
        **joint_limits(model),
    )
    set_gains(franky, motion, gains)
    return motion


def set_gains(franky: Any, motion: Any, gains: Gains) -> None:
    """Stiffness and damping of a running impedance motion."""
    motion.set_gains(
        franky.CartesianImpedanceGains.isotropic(
            gains.translational_stiffness_n_per_m,
            gains.rotational_stiffness_nm_per_rad,
            gains.translational_damping_n_s_per_m,
            gains.rotational_damping_nm_s_per_rad,
        )
    )
    nullspace = motion.get_nullspace_gains()
    nullspace.posture_stiffness, nullspace.posture_damping = posture(gains, 7)
    motion.set_nullspace_gains(nullspace)


def posture(gains: Gains, joints: int) -> tuple[Array, Array]:
    """Stiffness k_n (k_1, 1, ...) and damping 2 sqrt(k_n) (2 sqrt(k_1), 1, ...), (n,) each."""
    k_n, k_1 = gains.nullspace_stiffness_nm_per_rad, gains.joint1_nullspace_factor
    stiffness, damping = np.full(joints, k_n), np.full(joints, 2.0 * np.sqrt(k_n))
    stiffness[0] *= k_1
    damping[0] *= 2.0 * np.sqrt(k_1)
    return stiffness, damping


def joint_motion(franky: Any, gains: Gains, model: RobotModel) -> Any:
    """Tracks our joint line. A torque motion, not franky's JointMotion, which plans by itself: so a
    joint reset can be stopped and left at any tick, within our limits, without leaving control."""
    return franky.JointImpedanceTrackingMotion(
        stiffness=np.array(model.joint_stiffness_nm_per_rad),
        damping=np.array(JOINT_DAMPING_NM_S_PER_RAD),
        max_delta_tau=gains.torque_rate_nm_per_s * TICK_S,
        gains_time_constant=GAINS_TIME_CONSTANT_S,
        **joint_limits(model),
    )


def torque_motion(franky: Any, gains: Gains, model: RobotModel, tau_nm: Array) -> Any:
    """Follows joint torques; ends itself when they stop coming."""
    return franky.SimpleTorqueMotion(
        initial_torque=tau_nm,
        signal_timeout=TORQUE_TIMEOUT_S,
        compensate_coriolis=True,
        max_delta_tau=gains.torque_rate_nm_per_s * TICK_S,
        **joint_limits(model),
    )


def joint_limits(model: RobotModel) -> dict[str, Array]:
    """Where franky's soft repulsion begins to push back."""
    return {
        "lower_joint_limits": np.array(model.description.q_min_rad),
        "upper_joint_limits": np.array(model.description.q_max_rad),
    }
