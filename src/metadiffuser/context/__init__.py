"""Task representations: the context encoder with its reward and dynamics models."""
