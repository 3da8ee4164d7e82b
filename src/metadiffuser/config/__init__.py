"""The parameter file: its types, how it is read, and which values go together."""
