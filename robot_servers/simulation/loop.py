"""Binds the control loop of `tick.py` to MuJoCo: compiled by numba, or in plain Python.

Compiled, the loop calls libmujoco's C functions by symbol, without going through Python and
without the interpreter's lock. numba keeps the machine code on disk; the key holds a digest of
every source file that is compiled in, because numba itself only watches the outermost one.
"""

# pyright: reportAttributeAccessIssue=false
# (mujoco ships no types for what its extension modules export)

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

from robot_servers.control import impedance, reference, rotation, small, wrench
from robot_servers.simulation import tick
from robot_servers.simulation.tick import Arms, Physics, run_ticks

Loop = Callable[[Physics, Arms, int], None]

MODULES = (rotation, small, reference, impedance, wrench, tick)
"""Modules whose functions run in the loop; a name means one function in all of them."""


def make_loop(compiled: bool) -> Loop:
    """`run_ticks` bound to MuJoCo; `compiled` needs numba."""
    return _compiled_loop() if compiled else _python_loop()


def numba_installed() -> bool:
    """Whether the compiled loop is to be had."""
    return importlib.util.find_spec("numba") is not None


def _python_loop() -> Loop:
    import mujoco

    def jacobian(physics: Any, site: int) -> None:
        J = physics.jacobian
        mujoco.mj_jacSite(physics.model, physics.data, J[:3], J[3:], site)

    bound = {
        "physics_step1": lambda physics: mujoco.mj_step1(physics.model, physics.data),
        "physics_step2": lambda physics: mujoco.mj_step2(physics.model, physics.data),
        "physics_external_forces": lambda physics: mujoco.mj_rnePostConstraint(
            physics.model, physics.data
        ),
        "physics_jacobian": jacobian,
        "physics_momentum": lambda physics: mujoco.mj_mulM(
            physics.model, physics.data, physics.momentum, physics.qvel
        ),
    }
    return _rebind_all(bound, lambda function: function)["run_ticks"]


def _compiled_loop() -> Loop:
    import numba

    options: dict[str, Any] = {
        "nogil": True,
        "error_model": "numpy",
        "no_cpython_wrapper": True,  # called from compiled code only: a quarter of the compile time
        "no_cfunc_wrapper": True,
    }
    jit = numba.njit(**options)
    functions = _rebind_all({k: jit(f) for k, f in _c_functions().items()}, jit)
    entry = _rebind(_entry(_source_digest()), {**globals(), "run_ticks": functions["run_ticks"]})
    return numba.njit(nogil=True, cache=True)(entry)


def _entry(digest: str) -> Loop:
    def advance(physics: Physics, arms: Arms, ticks: int) -> None:
        if len(digest) > 0:  # a free variable is part of numba's cache key
            run_ticks(physics, arms, ticks)

    return advance


def _c_functions() -> dict[str, Callable[..., None]]:
    """The physics functions as calls of libmujoco's symbols."""
    import llvmlite.binding
    from numba import types as nb

    llvmlite.binding.load_library_permanently(str(_mujoco_library()))
    at = nb.intp
    step1 = nb.ExternalFunction("mj_step1", nb.void(at, at))
    step2 = nb.ExternalFunction("mj_step2", nb.void(at, at))
    external_forces = nb.ExternalFunction("mj_rnePostConstraint", nb.void(at, at))
    jacobian = nb.ExternalFunction("mj_jacSite", nb.void(at, at, at, at, nb.int32))
    times_inertia = nb.ExternalFunction("mj_mulM", nb.void(at, at, at, at))

    def physics_step1(physics: Physics) -> None:
        step1(physics.model, physics.data)

    def physics_step2(physics: Physics) -> None:
        step2(physics.model, physics.data)

    def physics_external_forces(physics: Physics) -> None:
        external_forces(physics.model, physics.data)

    def physics_jacobian(physics: Physics, site: int) -> None:
        J = physics.jacobian
        linear, angular = J[:3].ctypes.data, J[3:].ctypes.data
        jacobian(physics.model, physics.data, linear, angular, site)

    def physics_momentum(physics: Physics) -> None:
        into, velocity = physics.momentum.ctypes.data, physics.qvel.ctypes.data
        times_inertia(physics.model, physics.data, into, velocity)

    return {
        "physics_step1": physics_step1,
        "physics_step2": physics_step2,
        "physics_external_forces": physics_external_forces,
        "physics_jacobian": physics_jacobian,
        "physics_momentum": physics_momentum,
    }


def _mujoco_library() -> Path:
    """The shared library inside the installed mujoco package."""
    import mujoco

    folder = Path(mujoco.__file__).parent
    for pattern in ("libmujoco.so*", "libmujoco*.dylib", "mujoco.dll"):
        for path in sorted(folder.glob(pattern)):
            return path
    raise RuntimeError(f"no MuJoCo library in {folder}")


def _rebind_all(
    bound: dict[str, Any], wrap: Callable[[Callable[..., Any]], Callable[..., Any]]
) -> dict[str, Any]:
    """Copies of all functions of `MODULES` that call each other's wrapped copies, and `bound`."""
    functions = dict(bound)
    scopes = []
    for module in MODULES:
        for name, function in vars(module).items():
            own = inspect.isfunction(function) and function.__module__ == module.__name__
            if own and name not in bound:
                scopes.append(dict(function.__globals__))
                functions[name] = wrap(_rebind(function, scopes[-1]))
    for scope in scopes:
        scope.update(functions)
    return functions


def _rebind(function: Callable[..., Any], scope: dict[str, Any]) -> Callable[..., Any]:
    """The same function, with `scope` in place of its module's globals."""
    assert isinstance(function, types.FunctionType)
    return types.FunctionType(
        function.__code__,
        scope,
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )


def _source_digest() -> str:
    sources = [inspect.getsource(module) for module in MODULES]
    sources.append(Path(__file__).read_text())
    return hashlib.sha256("".join(sources).encode()).hexdigest()
