"""Compile quickly: these tests compile more than they compute."""

import jax

jax.config.update("jax_disable_most_optimizations", True)
