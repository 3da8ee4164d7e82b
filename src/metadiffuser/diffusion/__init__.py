"""The conditional diffusion model: schedule, samplers, temporal U-Net, training."""
