"""What several baselines share: the interface, conditioning on z, networks."""
