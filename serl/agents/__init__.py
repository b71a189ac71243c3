"""Learning agents, one per file, registered in serl.agents.base.AGENTS."""

from serl.device import configure_jax

configure_jax()
