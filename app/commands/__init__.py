"""One module per command: a settings dataclass whose docstrings are the help, and `run` that imports what it needs."""
