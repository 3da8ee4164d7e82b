"""Other people's data: read, checked, and kept as one file until the pipeline asks for it."""
