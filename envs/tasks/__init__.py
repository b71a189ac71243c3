"""Tasks, one file each; `envs.tasks.base.TASKS` finds them."""
