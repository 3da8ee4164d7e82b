"""Settings that act at test time only, chosen on training tasks for each method, family and training seed."""
