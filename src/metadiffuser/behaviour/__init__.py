"""Soft actor-critic experts and the collection of episodes."""
