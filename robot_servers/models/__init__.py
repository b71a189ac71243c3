"""Robots as data: a description that needs no simulator, and an MJCF body built from it."""
