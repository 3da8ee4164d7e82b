"""A family and a method from outside the metadiffuser package, found by the entry points in ``pyproject.toml``."""
