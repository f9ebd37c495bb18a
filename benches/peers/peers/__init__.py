"""Engines of other projects and the worker's own, measured side by side on the same inputs."""
