"""From an env's config to what it sees through: the simulated scene, or real cameras."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from envs.cameras.scene import SceneCameras
from serl.errors import UserError

if TYPE_CHECKING:
    from envs.config import RobotEnvConfig


def make_cameras(config: RobotEnvConfig, scene: Any) -> Any:
    """What gives `frames(stamp)`, `metrics()`, `trouble()` and `close()`.

    Args:
        scene: the backend's simulated scene, or None on hardware.
    """
    if not config.cameras:
        return SceneCameras(None, ())
    if config.camera_devices:
        from envs.cameras.rig import CameraRig

        return CameraRig(config.cameras, config.camera_devices, limit_s=config.frame_limit_s)
    if scene is None:
        raise UserError(
            f"cameras {', '.join(c.name for c in config.cameras)} have no device: robot "
            f"{config.robot!r} is no simulator. Set env.camera_devices; `serl cameras list` shows "
            "what is connected."
        )
    return SceneCameras(scene, config.cameras)
