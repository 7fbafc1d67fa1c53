"""The command that `run` starts."""
