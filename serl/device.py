"""Settings of JAX that hold for every process, made before its first use of a device."""

from __future__ import annotations

import os
from pathlib import Path

import jax


def configure_jax() -> None:
    """Take GPU memory as needed, and keep compiled functions for the next run.

    Called on import of `serl.agents`. What the user's environment already says wins.
    """
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        jax.config.update("jax_compilation_cache_dir", str(Path(cache) / "serl" / "jax"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
