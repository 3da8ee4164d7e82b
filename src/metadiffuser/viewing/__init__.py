"""Rendered rollouts and the interactive viewer."""
