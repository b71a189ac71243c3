"""Frames of the simulated cell, without a window.

The OpenGL context is our own choice, made at the first frame: EGL (a GPU, or Mesa in software),
then OSMesa. `import mujoco` alone never needs OpenGL. MUJOCO_GL=egl or osmesa restricts the choice.
"""

# pyright: reportAttributeAccessIssue=false
# (mujoco ships no types for what its extension modules export)

from __future__ import annotations

import importlib
import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serl.errors import UserError, unknown_name

CONTEXTS = ("egl", "osmesa")

QUALITY = {True: (28, 16, 4), False: (12, 6, 1)}
"""Slices and stacks of a round shape, and quads of a flat one, by `pretty`. The plain one draws a
128 x 128 frame of the pick-cube cell in under half the time, and shows it as well at that size."""

SHOWN_GROUPS = (0, 1, 2)
"""Geom groups drawn; collision shapes are in group 3."""


class Camera:
    """Renders one model; keeps one context for as long as the size and quality stay the same."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._key: tuple[int, int, bool] | None = None
        self._gl: Any = None
        self._context: Any = None
        self._scene: Any = None

    def render(
        self, data: Any, lock: Any, camera: str, height: int, width: int, pretty: bool
    ) -> NDArray[np.uint8]:
        """One RGB frame (height, width, 3) of `data`, which is read under `lock` alone: drawing
        takes up to a second, and physics in real time must not wait for it."""
        import mujoco

        names = [self._model.camera(i).name for i in range(self._model.ncam)]
        if camera not in names:
            raise unknown_name("camera", camera, names)
        self._prepare(height, width, pretty)
        self._gl.make_current()
        view = mujoco.MjvCamera()
        view.type = mujoco.mjtCamera.mjCAMERA_FIXED
        view.fixedcamid = names.index(camera)
        with lock:
            mujoco.mjv_updateScene(
                self._model,
                data,
                self._options,
                None,
                view,
                mujoco.mjtCatBit.mjCAT_ALL.value,
                self._scene,
            )
        rect = mujoco.MjrRect(0, 0, width, height)
        frame = np.empty((height, width, 3), dtype=np.uint8)
        mujoco.mjr_render(rect, self._scene, self._context)
        mujoco.mjr_readPixels(frame, None, rect, self._context)
        return np.ascontiguousarray(frame[::-1])

    def close(self) -> None:
        """Free the context."""
        if self._gl is not None:
            self._gl.make_current()
            self._context.free()
            self._gl.free()
        self._gl = self._context = self._scene = self._key = None

    def _prepare(self, height: int, width: int, pretty: bool) -> None:
        import mujoco

        if self._key == (height, width, pretty):
            return
        self.close()
        limits = self._model.vis.global_
        if not (0 < width <= limits.offwidth and 0 < height <= limits.offheight):
            raise UserError(
                f"a frame of {width} x {height} is not to be had; "
                f"the largest is {limits.offwidth} x {limits.offheight}."
            )
        quality = self._model.vis.quality
        quality.offsamples = 8 if pretty else 0
        quality.numslices, quality.numstacks, quality.numquads = QUALITY[pretty]
        self._gl = make_context(width, height)
        self._gl.make_current()
        self._context = mujoco.MjrContext(self._model, mujoco.mjtFontScale.mjFONTSCALE_100.value)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._context)
        self._options = mujoco.MjvOption()
        for group in range(len(self._options.geomgroup)):
            self._options.geomgroup[group] = group in SHOWN_GROUPS
        self._scene = mujoco.MjvScene(self._model, maxgeom=1000)
        flags = self._scene.flags
        flags[mujoco.mjtRndFlag.mjRND_SHADOW] = pretty
        flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = pretty
        flags[mujoco.mjtRndFlag.mjRND_HAZE] = pretty
        self._key = (height, width, pretty)


def make_context(width: int, height: int) -> Any:
    """The first OpenGL context this machine offers. Raises UserError when there is none."""
    wanted = os.environ.get("MUJOCO_GL", "").lower()
    reasons = []
    for name in (wanted,) if wanted in CONTEXTS else CONTEXTS:
        try:
            module = importlib.import_module(f"mujoco.{name}")
            return module.GLContext(width, height)
        except (ImportError, AttributeError, OSError, RuntimeError) as error:
            reasons.append(f"{name}: {' '.join(str(error).split())[:120]}")
    raise UserError(
        f"no OpenGL to draw with ({'; '.join(reasons)}); "
        "on Debian or Ubuntu: apt-get install libegl1 libgl1-mesa-dri"
    )
