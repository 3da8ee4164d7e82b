"""Planning by guided denoising: condition mixing, the dual guide, the batched agent."""
