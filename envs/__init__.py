"""Environments: arms and tasks behind Gymnasium. Importing this registers every task's id."""

from envs.tasks.base import TASKS

TASKS.discover()
