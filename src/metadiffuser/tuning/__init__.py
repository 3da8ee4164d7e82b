"""The same number of settings of every method, tried on training tasks that are held out (docs/tuning.md)."""
