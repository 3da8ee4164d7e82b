"""Episodes, their Minari store, windows and normalisation."""
