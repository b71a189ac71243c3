"""One look at a model: colours as the cell's plain frames have them, and what each pixel shows."""

# pyright: reportAttributeAccessIssue=false
# (mujoco ships no types for what its extension modules export)

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robot_servers.simulation.render import QUALITY, SHOWN_GROUPS, make_context

Array = NDArray[Any]

PX = 128
"""Height and width of a frame."""
SEGMENTS_PX = 16
"""Of the maps of classes and depth: averages over squares."""
SEEN_PX = 64
"""Of the picture those are averages of."""
CLASSES = ("cube", "goal", "hand", "arm", "thing")
HAND = ("hand", "left_finger", "right_finger")


@dataclass(frozen=True)
class Sight:
    """What one camera sees."""

    frame: Array
    """(PX, PX, 3) uint8."""
    segments: Array
    """Share of each square that each of CLASSES covers, in 1/255: (n, n, 5) uint8."""
    depth_m: Array
    """Mean depth of each square, at most 3: (n, n)."""
    T_base_camera: Array
    """(4, 4); a camera looks along its -z, its y is up."""
    focal_px: float


class Eye:
    """Owns an OpenGL context for one model; settings are those of robot_servers' plain frames."""

    def __init__(self, model: Any) -> None:
        import mujoco

        self._mj, self._model = mujoco, model
        quality = model.vis.quality
        quality.offsamples = 0
        quality.numslices, quality.numstacks, quality.numquads = QUALITY[False]
        self._gl = make_context(PX, PX)
        self._gl.make_current()
        self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100.value)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._context)
        self._options = mujoco.MjvOption()
        for group in range(len(self._options.geomgroup)):
            self._options.geomgroup[group] = group in SHOWN_GROUPS
        self._scene = mujoco.MjvScene(model, maxgeom=1000)
        flag = mujoco.mjtRndFlag
        for name in (flag.mjRND_SHADOW, flag.mjRND_REFLECTION, flag.mjRND_HAZE):
            self._scene.flags[name] = False
        self._classes = _geom_classes(model)

    def look(self, data: Any, camera: str) -> Sight:
        """What `camera` sees of `data`."""
        mj, index = self._mj, self._model.cam(camera).id
        view = mj.MjvCamera()
        view.type, view.fixedcamid = mj.mjtCamera.mjCAMERA_FIXED, index
        mj.mjv_updateScene(
            self._model, data, self._options, None, view, mj.mjtCatBit.mjCAT_ALL.value, self._scene
        )
        T = np.eye(4)
        T[:3, :3], T[:3, 3] = data.cam_xmat[index].reshape(3, 3), data.cam_xpos[index]
        frame, _ = self._draw(PX)
        segments, depth = self._segments()
        fovy = math.radians(float(self._model.cam_fovy[index]))
        return Sight(frame, segments, depth, T, PX / 2 / math.tan(fovy / 2))

    def close(self) -> None:
        self._gl.make_current()
        self._context.free()
        self._gl.free()

    def _draw(self, px: int) -> tuple[Array, Array]:
        rect = self._mj.MjrRect(0, 0, px, px)
        rgb = np.empty((px, px, 3), np.uint8)
        z = np.empty((px, px), np.float32)
        self._mj.mjr_render(rect, self._scene, self._context)
        self._mj.mjr_readPixels(rgb, z, rect, self._context)
        return rgb[::-1], z[::-1]

    def _segments(self) -> tuple[Array, Array]:
        """Classes and depth, averaged over squares."""
        flags, flag = self._scene.flags, self._mj.mjtRndFlag
        flags[flag.mjRND_SEGMENT] = flags[flag.mjRND_IDCOLOR] = True
        rgb, z = self._draw(SEEN_PX)
        flags[flag.mjRND_SEGMENT] = flags[flag.mjRND_IDCOLOR] = False
        wide = rgb.astype(np.int32)
        number = wide[..., 0] + (wide[..., 1] << 8) + (wide[..., 2] << 16)
        table = np.zeros(self._scene.ngeom + 2, np.int64)
        geom_type = int(self._mj.mjtObj.mjOBJ_GEOM)
        for geom in self._scene.geoms[: self._scene.ngeom]:
            if geom.segid >= 0 and geom.objtype == geom_type:
                table[geom.segid + 1] = self._classes[geom.objid]
        shown = table[np.minimum(number, len(table) - 1)]  # 0 is none of CLASSES
        one_hot = shown[..., None] == np.arange(1, len(CLASSES) + 1)
        share = np.round(_squares(one_hot.astype(np.float32)) * 255).astype(np.uint8)
        limits, extent = self._model.vis.map, self._model.stat.extent
        near, far = limits.znear * extent, limits.zfar * extent
        depth = near / np.maximum(1.0 - z * (1.0 - near / far), 1e-6)
        return share, _squares(np.minimum(depth, 3.0)[..., None])[..., 0]


def _squares(x: Array) -> Array:
    """(SEEN_PX, SEEN_PX, C) averaged to (SEGMENTS_PX, SEGMENTS_PX, C)."""
    k = SEEN_PX // SEGMENTS_PX
    return x.reshape(SEGMENTS_PX, k, SEGMENTS_PX, k, -1).mean(axis=(1, 3))


def _geom_classes(model: Any) -> Array:
    """1 + index in CLASSES of each geom, 0 for the rest."""
    classes = np.zeros(model.ngeom, np.int64)
    base = model.body("base").id
    for geom in range(model.ngeom):
        body = int(model.geom_bodyid[geom])
        name = model.body(body).name
        if name in ("cube", "goal"):
            kind = name
        elif name in HAND:
            kind = "hand"
        elif name.startswith("thing"):
            kind = "thing"
        elif model.body_rootid[body] == base:
            kind = "arm"
        else:
            continue
        classes[geom] = CLASSES.index(kind) + 1
    return classes
