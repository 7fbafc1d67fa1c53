"""The child process of `run`."""
