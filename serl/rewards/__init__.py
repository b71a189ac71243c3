"""Where rewards come from when not from the env; one source per file."""
