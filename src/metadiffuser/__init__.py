"""MetaDiffuser: a diffusion model as conditional planner for offline meta-reinforcement learning."""

__version__ = "0.1.0"
