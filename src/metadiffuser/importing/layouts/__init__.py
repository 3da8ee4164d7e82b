"""One module for each family of layouts. Nothing in them unpickles, and no link is followed."""
